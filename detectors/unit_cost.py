"""Cost per trace and calls per trace against the workflow's own usual, with a money gate."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from detectors.decay import DecayedSums, FadingMoments, number
from detectors.lmdi import decompose
from detectors.protocol import Contribution, Score, Window

HALF_LIVES: Final = (180.0, 2_700.0)
"""Seconds. The short one sees a change within minutes, the long one a smaller change within the hour."""
_FACTORS: Final = ("cost_per_trace", "calls_per_trace")
_TRAFFIC_BINS: Final = 6
_TRAFFIC_EDGES: Final = (4.0, 16.0, 64.0, 256.0, 1_024.0)
_TAU: Final = 0.07
_SHRINK: Final = 20.0
_MEMORY: Final = 10_000.0
_USUAL_HALF_LIFE: Final = 86_400.0
_GATE_HALF_LIFE: Final = 28_800.0
_NOW_HALF_LIFE: Final = 45.0
_STILL: Final = 0.5
"""Share (of logs) of what a scale sees that the last minute must still show."""
_RATIO_SUMS: Final = 3  # traces, calls, cost
_ALL_SUMS: Final = 5  # and reference, reference of output


@dataclass(frozen=True, slots=True)
class UnitCostParams:
    """Tunables. Money in nano-dollars."""

    z: float = 6.0
    min_excess_nanos: int = 500_000_000
    min_excess_seconds: float = 900.0
    warm_windows: float = 60.0


class UnitCost:
    """Log cost per trace and log calls per trace, in scales that widen when traffic is thin.

    A launch multiplies traces and leaves both ratios alone; a loop, a grown context or a dearer model moves at
    least one. Over exponential sums at two half-lives, x = log(num/den) and z = (x - mu) / s(w), where mu fades
    over days, and s(w)^2 is the larger of the variance seen at such traffic w and 0.07^2 + 1/w: what w traces
    can reveal at all. It speaks only if, beyond z, the excess X = sum of C (1 - e^-(x - mu - s)) since hours
    exceeds a floor in dollars and some minutes of the usual spend. What a scale sees counts only while every
    shorter one, and the last minute, still shows half of it: an incident that is over is not told for as long as
    it is remembered.

    Does not work well when a workflow mixes tenants of very different size (their mix moves the ratio), when
    there are fewer than about 60 active windows to learn from, and for changes smaller than the mix's own
    spread: s(w) then hides them.

    Cost: about 15 us per window, 0.6 kB of state.

    References
    ----------
    The floor 1/w is the variance of the log of a mean of w exponential costs (delta method).
    """

    name: ClassVar[str] = "unit_cost"

    def __init__(self, params: UnitCostParams | None = None) -> None:
        self.params = params or UnitCostParams()
        self._recent = [DecayedSums(half_life, _RATIO_SUMS) for half_life in HALF_LIVES]
        self._now = DecayedSums(_NOW_HALF_LIFE, _RATIO_SUMS)
        self._usual = DecayedSums(_USUAL_HALF_LIFE, _ALL_SUMS)
        self._excess = DecayedSums(_GATE_HALF_LIFE, 1)
        self._since: float | None = None
        n = len(_FACTORS) * len(HALF_LIVES)
        self._level = [FadingMoments() for _ in range(n)]
        self._spread = [[FadingMoments() for _ in range(_TRAFFIC_BINS)] for _ in range(n)]

    def learn(self, window: Window, *, frozen: bool = False) -> None:
        if window.calls <= 0 or window.traces <= 0:
            return
        ratios = _ratio_values(window)
        if self._warm():
            sums, _ = self._recent[0].peek(window.end, ratios, window.seconds)
            self._excess.add(window.end, (self._excess_of(window, sums),), window.seconds)
            if self._excess.sums[0] <= 0.0:
                self._excess.sums[0], self._since = 0.0, None
            elif self._since is None:
                self._since = window.start
        for recent in (*self._recent, self._now):
            recent.add(window.end, ratios, window.seconds)
        if frozen:
            # Time goes on for the usual too, at its own rate: neither the incident's spend nor silence counts.
            self._usual.skip(window.end)
            return
        self._usual.add(window.end, _values(window), window.seconds)
        for h, recent in enumerate(self._recent):
            bin_ = bisect_right(_TRAFFIC_EDGES, recent.sums[0])
            for f, x in enumerate(_logs(recent.sums)):
                at = h * len(_FACTORS) + f
                level = self._level[at]
                residual = x - level.mean if level.count else 0.0
                level.add(x, _MEMORY, clip=3.0, floor=_TAU)
                self._spread[at][bin_].add(residual, _MEMORY, clip=4.0, floor=_TAU)

    def score(self, window: Window) -> Score:
        gate = self._gate()
        if window.calls <= 0 or window.traces <= 0 or not self._warm():
            return Score(0.0, self.params.z, gate_nanos=gate, ready=self._warm())
        best, factor, over = 0.0, "", 0.0
        ratios = _ratio_values(window)
        least = [math.inf] * len(_FACTORS)
        for f, x in enumerate(_logs(self._now.peek(window.end, ratios, window.seconds)[0])):
            least[f] = x - self._level[f].mean
        for h, recent in enumerate(self._recent):
            sums, _ = recent.peek(window.end, ratios, window.seconds)
            if h == 0:
                over = self._excess_of(window, sums)
            for f, x in enumerate(_logs(sums)):
                above = x - self._level[h * len(_FACTORS) + f].mean
                if least[f] < _STILL * above:
                    continue
                least[f] = min(least[f], above)
                z = above / self._scale(h, f, sums[0])
                if z > best:
                    best, factor = z, _FACTORS[f]
        excess, _ = self._excess.peek(window.end, (over,), window.seconds)
        return Score(
            value=best,
            threshold=self.params.z,
            usual_nanos=max(0, window.cost_nanos - round(over)),
            excess_nanos=max(0, round(excess[0])),
            gate_nanos=gate,
            factor=factor,
            since=window.start if self._since is None else self._since,
        )

    def explain(self, window: Window) -> Sequence[Contribution]:
        """LMDI of the window's spend against the usual spend of as many seconds."""
        if self._usual.seconds <= 0 or self._usual.sums[1] <= 0 or window.calls <= 0:
            return []
        share = window.seconds / self._usual.seconds
        before = [s * share for s in self._usual.sums]
        after = list(_values(window))
        priced = before[3] > 0 and after[3] > 0
        return decompose(_streams(before, priced), _streams(after, priced), round(after[2] - before[2]))

    def dump(self) -> list[Any]:
        return [
            [recent.dump() for recent in self._recent],
            self._now.dump(),
            self._usual.dump(),
            self._excess.dump(),
            self._since,
            [level.dump() for level in self._level],
            [[b.dump() for b in spread] for spread in self._spread],
        ]

    @classmethod
    def load(cls, plain: Any, params: Any = None) -> Self:
        try:
            recent, now, usual, excess, since, levels, spreads = plain
            loaded = cls(params)
            loaded._recent = [
                DecayedSums.load(r, h, _RATIO_SUMS) for r, h in zip(recent, HALF_LIVES, strict=True)
            ]
            loaded._now = DecayedSums.load(now, _NOW_HALF_LIFE, _RATIO_SUMS)
            loaded._usual = DecayedSums.load(usual, _USUAL_HALF_LIFE, _ALL_SUMS)
            loaded._excess = DecayedSums.load(excess, _GATE_HALF_LIFE, 1)
            loaded._since = None if since is None else number(since)
            n = len(loaded._level)
            if len(levels) != n or len(spreads) != n or any(len(s) != _TRAFFIC_BINS for s in spreads):
                raise ValueError(f"expected {n} factors by {_TRAFFIC_BINS} traffic bins")
            loaded._level = [FadingMoments.load(p) for p in levels]
            loaded._spread = [[FadingMoments.load(b) for b in spread] for spread in spreads]
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a dump of {cls.name}: {error}") from None
        return loaded

    def _warm(self) -> bool:
        return self._level[0].count >= self.params.warm_windows

    def _gate(self) -> int:
        usual = self._usual.sums[2] / self._usual.seconds if self._usual.seconds > 0 else 0.0
        return max(self.params.min_excess_nanos, round(usual * self.params.min_excess_seconds), 1)

    def _scale(self, h: int, f: int, traces: float) -> float:
        at = h * len(_FACTORS) + f
        seen = self._spread[at][bisect_right(_TRAFFIC_EDGES, traces)]
        variance = seen.count * (seen.variance + seen.mean * seen.mean) + _SHRINK * self._level[at].variance
        return math.sqrt(max(variance / (seen.count + _SHRINK), _TAU * _TAU + 1.0 / max(traces, 1.0)))

    def _excess_of(self, window: Window, sums: Sequence[float]) -> float:
        """Dollars of this window above what its traces usually cost, one scale granted."""
        x = _logs(sums)[0]
        scale = self._scale(0, 0, sums[0])
        return window.cost_nanos * -math.expm1(-min(x - self._level[0].mean - scale, 50.0))


def _ratio_values(window: Window) -> tuple[float, ...]:
    return float(window.traces), float(window.calls), float(window.cost_nanos)


def _values(window: Window) -> tuple[float, ...]:
    return (
        float(window.traces),
        float(window.calls),
        float(window.cost_nanos),
        float(window.reference_nanos),
        float(window.reference_output_nanos),
    )


def _logs(sums: Sequence[float]) -> tuple[float, float]:
    traces = max(sums[0], 1e-9)
    return math.log(max(sums[2], 1.0) / traces), math.log(max(sums[1], 1e-9) / traces)


def _streams(sums: Sequence[float], priced: bool) -> list[dict[str, float]]:
    """Spend as products of factors: input's and output's, or one where either side has no list price."""
    traces, calls, cost, reference, output = sums
    volume = {"traces": traces, "calls_per_trace": calls / max(traces, 1e-9)}
    if not priced:
        return [volume | {"price": cost / max(calls, 1e-9)}]
    price = {"price": cost / reference}
    return [
        volume | {"input_per_call": (reference - output) / max(calls, 1e-9)} | price,
        volume | {"output_per_call": output / max(calls, 1e-9)} | price,
    ]
