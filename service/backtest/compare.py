"""Two lists of incidents side by side: what one has and the other has not, and what both tell differently."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from service.backtest.incident import Incident, in_order

MONTH_S: Final = 30 * 86_400.0
SAME_S: Final = 0.0005
"""Times are told to the millisecond."""
_APART_S: Final = 900.0
"""What begins so soon after the other's end is taken for the same incident, told later."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One incident as both tell it."""

    live: Incident
    candidate: Incident

    @property
    def later_s(self) -> float:
        """How much later the candidate tells it; negative: earlier."""
        return self.candidate.told - self.live.told

    @property
    def differences(self) -> list[str]:
        """What people would notice, in words."""
        live, candidate = self.live, self.candidate
        found = []
        if abs(self.later_s) > SAME_S:
            found.append("later" if self.later_s > 0 else "earlier")
        if live.severity != candidate.severity:
            found.append(f"{live.severity} → {candidate.severity}")
        if live.kind != candidate.kind:
            found.append(f"{live.kind} → {candidate.kind}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "differences": self.differences,
            "later_s": round(self.later_s, 3),
            "live": self.live.to_dict(),
            "candidate": self.candidate.to_dict(),
        }


@dataclass(frozen=True)
class Comparison:
    """What would change. Lists are in the order in which things were told.

    Attributes
    ----------
    gained, lost : list of Incident
        Told by the candidate alone, and by the live configuration alone.
    changed, unchanged : list of Pair
    """

    gained: list[Incident] = field(default_factory=list)
    lost: list[Incident] = field(default_factory=list)
    changed: list[Pair] = field(default_factory=list)
    unchanged: list[Pair] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Nobody would be told anything else, nor at another time."""
        return not (self.gained or self.lost or self.changed)


def compare(live: Sequence[Incident], candidate: Sequence[Incident]) -> Comparison:
    """Pair the incidents of two configurations.

    The same fingerprint is the same incident. Of the others, those of one workflow that overlap in time are, the
    nearest in time first: a more sensitive setting sees an incident begin elsewhere, and gives it another name.
    """
    of_candidate = {incident.fingerprint: incident for incident in candidate}
    pairs = [Pair(i, of_candidate.pop(i.fingerprint)) for i in live if i.fingerprint in of_candidate]
    named = {pair.live.fingerprint for pair in pairs}
    rest: dict[str, list[Incident]] = defaultdict(list)
    for incident in of_candidate.values():
        rest[incident.key].append(incident)
    near = [
        (abs(one.told - other.told), one.told, one.fingerprint, other.fingerprint, one, other)
        for one in live
        if one.fingerprint not in named
        for other in rest.get(one.key, ())
        if _overlap(one, other)
    ]
    taken: set[str] = set()
    for *_, one, other in sorted(near, key=lambda n: n[:4]):
        if one.fingerprint in taken or other.fingerprint in taken:
            continue
        taken |= {one.fingerprint, other.fingerprint}
        pairs.append(Pair(one, other))
    pairs.sort(key=lambda p: (min(p.live.told, p.candidate.told), p.live.key, p.live.fingerprint))
    paired = named | taken
    return Comparison(
        gained=in_order(i for i in of_candidate.values() if i.fingerprint not in paired),
        lost=in_order(i for i in live if i.fingerprint not in paired),
        changed=[pair for pair in pairs if pair.differences],
        unchanged=[pair for pair in pairs if not pair.differences],
    )


def _overlap(one: Incident, other: Incident) -> bool:
    # A launch and a dearer call at the same time are two things; costs of one kind or the other may be one.
    if ("data_quality" in (one.kind, other.kind) or "launch" in (one.kind, other.kind)) and (
        one.kind != other.kind
    ):
        return False
    return one.started <= other.ends() + _APART_S and other.started <= one.ends() + _APART_S


@dataclass(frozen=True, slots=True)
class Watch:
    """How much was watched: workflows, and the time each was, summed.

    Attributes
    ----------
    since, until : float
        Epoch seconds: what was told in between is compared.
    workflow_months : float
        Of 30 days.
    """

    since: float
    until: float
    workflows: int
    workflow_months: float

    def per_month(self, pages: int) -> float | None:
        """Pages per workflow and month; None when nothing was watched."""
        return pages / self.workflow_months if self.workflow_months > 0 else None


def watched(first_calls: Sequence[float], since: float, until: float) -> Watch:
    """`first_calls`: of each workflow, epoch seconds. Each is watched from then on."""
    spans = [until - max(first, since) for first in first_calls if first < until]
    return Watch(since, until, len(spans), sum(max(span, 0.0) for span in spans) / MONTH_S)
