"""How spend is usually divided among customers, keys, models: what an incident's division is compared with."""

from __future__ import annotations

from typing import Final
from zlib import crc32

import msgspec

HALF_LIFE_S: Final = 86_400.0
KEPT: Final = 16
"""Values per dimension."""
DIMENSIONS: Final = ("model", "customer", "api_key", "feature", "provider", "workflow")
"""`workflow` in scopes alone, of which there are few: a workflow's own state has none of it."""
_KNOWN_SPANS: Final = 3
_FORGOTTEN: Final = 1e-6
"""Share of the spend below which a value is not kept."""


class UsualShares(msgspec.Struct, array_like=True):
    """Spend on calls by dimension and value, halving in weight per day; at most 1.2 kB, however long the names.

    Values are known by a checksum alone: whoever is asked about has a name already, and a name of 200 characters
    would cost more than all the numbers. Two values that share a checksum (one pair in four billion) share a past.

    Only the `KEPT` largest values have an entry. One without is at most as large as the smallest that has one,
    and at most what the entries leave over; that bound is what it is taken for, so that nobody looks new who may
    only be small.
    """

    until: float = 0.0
    spans: int = 0
    spent: float = 0.0
    """Decayed nano-dollars of all calls, with or without the labels: a statistic, nothing is billed from it."""
    values: dict[str, dict[int, float]] = {}

    @property
    def known(self) -> bool:
        """Whether enough spans of some minutes were learnt to compare with."""
        return self.spans >= _KNOWN_SPANS and self.spent > 0

    def learn(self, shares: dict[str, dict[str, list[int]]], spent: int, now: float) -> None:
        """Add some minutes of spend.

        Parameters
        ----------
        shares
            Dimension to value to [calls, nano-dollars, share of these that is charges].
        spent : int
            Nano-dollars of all calls in the same time.
        now : float
            Epoch seconds.
        """
        if spent <= 0:
            return
        fade = 0.5 ** (max(now - self.until, 0.0) / HALF_LIFE_S) if self.spans else 0.0
        self.until = max(self.until, now)
        self.spans = min(self.spans + 1, _KNOWN_SPANS)
        self.spent = self.spent * fade + spent
        least = self.spent * _FORGOTTEN
        for dimension in DIMENSIONS:
            kept = {key: weight * fade for key, weight in self.values.get(dimension, {}).items()}
            for value, (calls, cost, charged) in shares.get(dimension, {}).items():
                if calls and cost > charged:
                    key = _key(value)
                    kept[key] = kept.get(key, 0.0) + (cost - charged)
            if kept:
                ranked = sorted(kept.items(), key=lambda item: (-item[1], item[0]))[:KEPT]
                self.values[dimension] = {key: weight for key, weight in ranked if weight >= least}

    def share(self, dimension: str, value: str) -> float:
        """Usual share of all spend on calls, 0 to 1."""
        if self.spent <= 0:
            return 0.0
        kept = self.values.get(dimension, {})
        weight = kept.get(_key(value))
        if weight is None:
            if len(kept) < KEPT:
                return 0.0
            weight = min(self.spent - sum(kept.values()), *kept.values())
        return min(max(weight / self.spent, 0.0), 1.0)


def _key(value: str) -> int:
    return crc32(value.encode("utf-8", "surrogatepass"))
