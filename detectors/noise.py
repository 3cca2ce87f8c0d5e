"""How far each ratio usually strays, per time scale: sampling noise, and what is left without it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Self

from scipy.special import stdtrit

from detectors.decay import number
from detectors.ratios import FACTORS

_STRAY: Final[tuple[float, ...]] = (0.15, 0.3, 0.3, 0.12, 0.04, 0.4, 0.06)
"""Prior standard deviation of each log ratio over hours, pooled over workflows of recorded traffic."""
_LEAST_STRAY: Final[tuple[float, ...]] = (0.08, 0.08, 0.08, 0.05, 0.01, 0.08, 0.01)
_PER_TRACE: Final[tuple[float, ...]] = (0.6, 0.5, 0.5, 0.3, 0.02, 1.2, 0.05)
"""Prior variance of the log ratio of a single trace."""
_PRIOR_BLOCKS: Final = 5.0
_MOST_BLOCKS: Final = 80.0
_PRIOR_TRACES: Final = 10.0
_MOST_TRACES: Final = 1_500.0
_FREEDOM: Final = 0.5
"""Degrees of freedom per stretch: neighbours are alike, and ratios stray with heavier tails than a Gaussian's."""
_CLIP: Final = 16.0
"""A square beyond so many times the variance counts as that: one incident widens the scale, it does not ruin it."""
_MONTH_S: Final = 2_592_000.0
_SHARES: Final = 12.0
"""Parts the page budget is divided into. Scales and factors overlap: it is fewer than there are of them."""


class Noise:
    """Variances of the residuals of seven ratios at several time scales.

    The square of a residual over w traces is a² + c / w: `stray` holds a² per scale and factor, learnt as a mean of
    independent stretches (as long as the scale) that begins as `_PRIOR_BLOCKS` of the pooled prior; `per_trace`
    holds c per factor.

    References
    ----------
    Shrinkage to a pooled prior: Efron & Morris (1973). Clipping: Huber (1964).
    """

    __slots__ = ("_seen", "blocks", "per_trace", "scales", "stray")

    def __init__(self, scales: Sequence[float]) -> None:
        self.scales = tuple(scales)
        self.stray = [[s * s for s in _STRAY] for _ in scales]
        self.blocks = [_PRIOR_BLOCKS] * len(scales)
        self.per_trace = list(_PER_TRACE)
        self._seen = [_PRIOR_TRACES] * len(FACTORS)

    def variance(self, h: int, f: int, traces: float) -> float:
        """Of a residual at scale `h` over so many traces (one at least is taken)."""
        least = _LEAST_STRAY[f]
        return max(self.stray[h][f], least * least) + self.per_trace[f] / max(traces, 1.0)

    def threshold(self, h: int, budget: float) -> float:
        """Standard deviations that `budget` false pages a month allow: Student's t, more while little is known."""
        return _quantile(round(budget, 6), self.scales[h], int(_FREEDOM * self.blocks[h]))

    def learn_stray(self, h: int, residuals: Sequence[float], traces: float, elapsed: float) -> None:
        """One more look, `elapsed` seconds after the last: it counts as the share of a stretch that is new."""
        step = min(elapsed / self.scales[h], 1.0) * traces / (traces + 1.0)
        self.blocks[h] = min(self.blocks[h] + step, _MOST_BLOCKS)
        weight = step / self.blocks[h]
        row = self.stray[h]
        for f, x in enumerate(residuals):
            square = min(x * x, _CLIP * self.variance(h, f, traces + 1.0))
            row[f] += weight * (max(square - self.per_trace[f] / (traces + 1.0), 0.0) - row[f])

    def learn_trace(self, f: int, square: float, least: float) -> None:
        """The squared residual of one trace, or of a few times their number."""
        self._seen[f] = min(self._seen[f] + 1.0, _MOST_TRACES)
        c = self.per_trace[f]
        self.per_trace[f] = c + (min(square, 9.0 * max(c, least)) - c) / self._seen[f]

    def dump(self) -> list[Any]:
        return [[list(row) for row in self.stray], list(self.blocks), list(self.per_trace), list(self._seen)]

    @classmethod
    def load(cls, plain: Any, scales: Sequence[float]) -> Self:
        stray, blocks, per_trace, seen = plain
        loaded = cls(scales)
        loaded.stray = [_row(row, len(FACTORS)) for row in stray]
        loaded.blocks = _row(blocks, len(scales))
        loaded.per_trace = _row(per_trace, len(FACTORS))
        loaded._seen = _row(seen, len(FACTORS))
        if len(loaded.stray) != len(scales) or min(loaded.blocks) < 1.0 or min(loaded._seen) < 1.0:
            raise ValueError(f"expected {len(scales)} scales")
        return loaded


def _row(plain: Any, length: int) -> list[float]:
    if not isinstance(plain, list) or len(plain) != length:
        raise ValueError(f"expected {length} numbers")
    return [number(v, least=0.0) for v in plain]


@lru_cache(maxsize=8_192)
def _quantile(budget: float, scale: float, blocks: int) -> float:
    chance = max(budget / _SHARES * scale / _MONTH_S, 1e-12)
    return -float(stdtrit(float(max(blocks, 3)), min(chance, 0.4))) if math.isfinite(chance) else math.inf
