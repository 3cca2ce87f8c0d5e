"""What a trace, a call, a token costs against the workflow's own usual, at six time scales, with a money gate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from mypy_extensions import mypyc_attr

from detectors.decay import LN2, DecayedSums, number
from detectors.lmdi import decompose
from detectors.noise import Noise
from detectors.protocol import Contribution, Score, Window
from detectors.ratios import (
    BEGUN,
    CACHE,
    CALLS,
    COST,
    FACTORS,
    INPUT,
    MIX,
    OUTPUT,
    PRICE,
    SPENT,
    SUMS,
    Usual,
    sums_of,
)

SCALES: Final[tuple[float, ...]] = (45.0, 180.0, 720.0, 2_700.0, 14_400.0, 43_200.0)
"""Half-lives, seconds: the short ones see a large change at once, the long ones a small one, or one that creeps."""
_LEARNT_AT: Final = 2
"""The scale by which the usual moves."""
_ACCEPTED_AT: Final[tuple[tuple[int, float], ...]] = ((1, 25.0), (2, 0.0), (3, 0.0))
"""The scales by which what is said to be the usual is taken for it, and the traces that each must hold for that."""
_EXCESS_AT: Final = 1
_RATE_AT: Final = 2
_GRANTED: Final = 0.5
_MOST: Final = 1e18
_MINUTE: Final = 60.0
_USUAL_HALF_LIFE: Final = 86_400.0
_GATE_HALF_LIFE: Final = 28_800.0
_LEVEL_MEMORY: Final = 5_000.0
"""Active minutes over which the usual level forgets: three and a half days of traffic without a pause."""
_WARM_TRACES: Final = 12.0
_MOST_TRACES: Final = 5_000.0
_STILL: Final = 0.5
"""Share (of logs) of what a scale sees that every shorter one must still show, within its own noise."""
_DOUBT: Final = 1.0
_LASTED: Final = 4.0
_LASTS: Final = 1.2
"""What a scale shows half of began at most four of its half-lives ago, and, where it crept, at least one."""
_CREPT: Final = 0.1
_ALIKE: Final = 0.4
"""What crept moved tokens in and out alike (to this share of each other), and both by this log for hours."""
_SLOW_FROM: Final = 4
_SLOW_GATE: Final = 20
"""What only shows over hours is no hurry: it must have cost so many times more."""
_OF_TRACES: Final[tuple[int, ...]] = (CALLS, COST)
"""Ratios whose denominator is traces; the others' is calls."""
_BY_LOOKS: Final[tuple[int, ...]] = (INPUT, OUTPUT, MIX, PRICE, CACHE)
"""Ratios whose noise per trace is learnt from the shortest scale: finished traces do not carry these numbers."""
_USUAL_SUMS: Final = 9
_FEWEST_TRACES: Final = 1e-6
"""Traces to a call, at least, where spend is explained."""


@mypyc_attr(native_class=False)
@dataclass(frozen=True, slots=True)
class UnitCostParams:
    """Tunables. Money in nano-dollars; `page_budget` in false pages per month and workflow."""

    page_budget: float = 0.25
    min_excess_nanos: int = 500_000_000
    min_excess_seconds: float = 120.0
    warm_windows: float = 15.0


class UnitCost:
    """Seven log ratios (calls per trace, tokens in and out per call, model mix, price, cache, cost per trace).

    A launch multiplies traces and leaves all of them alone; a loop, a grown context, a dearer model, a lost cache
    moves one. Exponential sums at six half-lives give each ratio x over its usual; z = x / s, s² = a² + c / w: how
    far this ratio strays in this workflow over such a time, and what w traces can reveal at all. What z must
    exceed is Student's quantile for the page budget, with as many degrees of freedom as stretches of that length
    were seen, so that little history asks for much evidence. It speaks only if, beyond that, the excess
    X = sum of C (1 - e^-(x - s/2)) over hours exceeds a floor in dollars and some minutes of the spend, the usual
    one and what the present traces usually cost (twenty times that where only the scales of hours show it); and
    only while every shorter scale still shows half of it, as far as that one can tell.

    Does not work well when a workflow mixes tenants with very different calls (their mix moves the ratios; a then
    grows until only large changes speak), in the first quarter of an hour of activity, and for changes within the
    ratio's own spread.

    Cost: about 90 us to score and learn a ten-second window, 1.6 kB of state.

    References
    ----------
    The noise c / w is the variance of the log of a mean of w traces (delta method); scales as in a scan statistic.
    """

    name: ClassVar[str] = "unit_cost"
    format: ClassVar[int] = 2

    def __init__(self, params: UnitCostParams | None = None) -> None:
        self.params = params or UnitCostParams()
        self._sums = [[0.0] * SUMS for _ in SCALES]
        self._until: float | None = None
        self._spend = DecayedSums(_USUAL_HALF_LIFE, _USUAL_SUMS)
        self._usual: Usual | None = None
        self._noise = Noise(SCALES)
        self._active = 0.0
        self._traces = 0.0
        self._minute: float | None = None
        self._excess = DecayedSums(_GATE_HALF_LIFE, len(FACTORS))
        self._since: list[float | None] = [None] * len(FACTORS)

    def learn(self, window: Window, *, frozen: bool = False, aside: bool = False) -> None:
        """As every detector; `aside`: not even how far ratios stray is learnt from it."""
        if window.calls <= 0:
            return
        values = self._values(window)
        if self._warm():
            self._excess.add(
                window.end, self._excess_of(values, self._peek(_EXCESS_AT, window.end, values)), 0.0
            )
            for f, excess in enumerate(self._excess.sums):
                if excess <= 0.0:
                    self._excess.sums[f], self._since[f] = 0.0, None
                elif self._since[f] is None:
                    self._since[f] = window.start
        self._sums = [self._peek(h, window.end, values) for h in range(len(SCALES))]
        self._until = window.end if self._until is None else max(self._until, window.end)
        if frozen:
            # Time goes on for the usual too, at its own rate: neither the incident's spend nor silence counts.
            self._spend.skip(window.end)
        else:
            self._spend.add(window.end, _spend_of(window), window.seconds)
        minute = window.start // _MINUTE
        if minute != self._minute:
            passed = 1.0 if self._minute is None else min(max(minute - self._minute, 1.0), 60.0)
            self._minute = minute
            self._learn_minute(window, passed * _MINUTE, frozen, aside)
        if not frozen and self._usual is not None and window.finished:
            self._learn_traces(window, self._usual)

    @property
    def ready(self) -> bool:
        """Enough was learnt to judge: what `score` says of it."""
        return self._warm()

    def may_speak(self, window: Window) -> bool:
        """Whether there is an excess for `score` to speak of: a quarter of its cost, and mostly there is none."""
        usual = self._usual
        if window.calls <= 0 or usual is None or not self._warm():
            return False
        values = self._values(window)
        over = self._excess_of(values, self._peek(_EXCESS_AT, window.end, values))
        excess, _ = self._excess.peek(window.end, over, 0.0)
        return max(excess) >= self._gate() - 0.5

    def score(self, window: Window) -> Score:
        """The ratio that is furthest over its threshold, in multiples of that threshold."""
        gate = self._gate()
        usual = self._usual
        if window.calls <= 0 or usual is None or not self._warm():
            return Score(0.0, 1.0, gate_nanos=gate, ready=self._warm())
        values = self._values(window)
        noise, budget, since_begin = self._noise, self.params.page_budget, 1.0 / self._traces
        best, factor, scale, rate = 0.0, -1, 0, 0.0
        over: tuple[float, ...] = ()
        seen = []
        least = [math.inf] * len(FACTORS)
        for h in range(len(SCALES)):
            sums = self._peek(h, window.end, values)
            if h == _EXCESS_AT:
                over = self._excess_of(values, sums)
            elif h == _RATE_AT:
                rate = sums[BEGUN] * math.exp(usual.logs[COST]) * LN2 / SCALES[h]
            traces = sums[BEGUN] + 1.0
            worth = min(usual.traces_worth(sums) + 1.0, traces)
            threshold, stray = noise.threshold(h, budget), 1.0 + 1.0 / noise.blocks[h]
            residuals = usual.logs_over(sums)
            seen.append(residuals)
            for f, x in enumerate(residuals):
                sampling = noise.per_trace[f] / (traces if f in _OF_TRACES else worth)
                if x > 0.0 and least[f] >= _STILL * x:
                    spread = (
                        noise.variance(h, f, math.inf) * stray + sampling + noise.per_trace[f] * since_begin
                    )
                    value = x / (math.sqrt(spread) * threshold)
                    if value > best:
                        if h < _SLOW_FROM or best < 1.0 or scale >= _SLOW_FROM:
                            # What a short scale tells is not left to the gate of a long one.
                            factor, scale = f, h
                        best = value
                least[f] = min(least[f], x + _DOUBT * math.sqrt(sampling))
        if factor < 0:
            return Score(0.0, 1.0, gate_nanos=gate)
        excess, _ = self._excess.peek(window.end, over, 0.0)
        # What the traces of now would usually cost: what is much in the quiet is little in a launch.
        now = round(min(rate, _MOST) * self.params.min_excess_seconds)
        gate = max(gate, now) * (_SLOW_GATE if scale >= _SLOW_FROM else 1)
        return Score(
            value=best,
            threshold=1.0,
            usual_nanos=max(0, window.cost_nanos - round(max(over[factor], 0.0))),
            excess_nanos=max(0, round(excess[factor])),
            gate_nanos=gate,
            factor=FACTORS[factor],
            since=self._began(factor, seen, scale, window),
        )

    def _began(self, f: int, seen: Sequence[Sequence[float]], scale: int, window: Window) -> float:
        """When it began: since when there is excess, as far as the longest scale that shows half of it allows.

        A step moves tokens in or tokens out; what moved both by hours ago crept, however short the scale is that
        tells of it first.
        """
        since = self._since[f]
        since = window.start if since is None else min(since, window.start)
        shown = max(h for h in range(scale, len(SCALES)) if seen[h][f] >= _STILL * seen[scale][f])
        less, more = sorted((seen[scale][INPUT], seen[scale][OUTPUT]))
        slow = min(seen[_SLOW_FROM][INPUT], seen[_SLOW_FROM][OUTPUT])
        if f in (INPUT, OUTPUT, COST) and less >= _ALIKE * more and slow >= _CREPT:
            shown = max(shown, _SLOW_FROM)
        half_life = SCALES[shown]
        if shown >= _SLOW_FROM:
            since = min(since, window.end - _LASTS * half_life)
        return max(since, window.end - _LASTED * half_life)

    def explain(self, window: Window) -> Sequence[Contribution]:
        """LMDI of the window's spend against the usual spend of as many seconds."""
        if self._spend.seconds <= 0 or self._spend.sums[SPENT] <= 0 or window.calls <= 0:
            return []
        share = window.seconds / self._spend.seconds
        before = [s * share for s in self._spend.sums]
        after = list(_spend_of(window))
        priced = before[5] > 0 and after[5] > 0
        for side in (before, after):
            side[0] = min(side[0], side[1])  # a trace has a call at least, whatever an estimate says
        if any(side[0] < _FEWEST_TRACES * side[1] for side in (before, after)):
            # One side has no traces to speak of: calls stand for them, or there were billions of calls to one.
            before[0], after[0] = before[1], after[1]
        return decompose(
            _streams(before, priced), _streams(after, priced), round(after[SPENT] - before[SPENT])
        )

    def accept(self) -> float:
        """Take for the usual what the last minutes, or hour, show above it: somebody says that it is.

        Of few traces as much is taken as they can tell; to ask again later takes the rest.

        Returns
        -------
        float
            By how much the usual cost of a trace has risen, as a log.
        """
        usual = self._usual
        if usual is None:
            return 0.0
        steps = [0.0] * len(FACTORS)
        for h, fewest in _ACCEPTED_AT:
            traces = self._sums[h][BEGUN]
            weight = traces / (traces + 2.0) if traces >= fewest else 0.0
            steps = [max(s, weight * x) for s, x in zip(steps, usual.logs_over(self._sums[h]), strict=True)]
        usual.move(steps)
        # What was over the usual that was, is not over this one.
        self._excess.sums, self._since = [0.0] * len(FACTORS), [None] * len(FACTORS)
        return steps[COST]

    def cache_share(self) -> float:
        """Share of input tokens that is usually read from a cache."""
        return self._spend.sums[8] / self._spend.sums[3] if self._spend.sums[3] > 0 else 0.0

    def dump(self) -> list[Any]:
        return [
            [list(s) for s in self._sums],
            self._until,
            self._spend.dump(),
            None if self._usual is None else self._usual.dump(),
            self._noise.dump(),
            [self._active, self._traces],
            self._minute,
            self._excess.dump(),
            list(self._since),
        ]

    @classmethod
    def load(cls, plain: Any, params: Any = None) -> Self:
        try:
            sums, until, spend, usual, noise, (active, traces), minute, excess, since = plain
            loaded = cls(params)
            loaded._sums = [[number(v) for v in row] for row in sums]
            if [len(row) for row in loaded._sums] != [SUMS] * len(SCALES):
                raise ValueError(f"expected {len(SCALES)} by {SUMS} sums")
            loaded._until = None if until is None else number(until)
            loaded._spend = DecayedSums.load(spend, _USUAL_HALF_LIFE, _USUAL_SUMS)
            loaded._usual = None if usual is None else Usual.load(usual)
            loaded._noise = Noise.load(noise, SCALES)
            loaded._active, loaded._traces = number(active, least=0.0), number(traces, least=0.0)
            loaded._minute = None if minute is None else number(minute)
            loaded._excess = DecayedSums.load(excess, _GATE_HALF_LIFE, len(FACTORS))
            loaded._since = [None if s is None else number(s) for s in since]
            if len(loaded._since) != len(FACTORS):
                raise ValueError(f"expected {len(FACTORS)} factors")
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a dump of {cls.name}: {error}") from None
        return loaded

    def _warm(self) -> bool:
        return (
            self._usual is not None
            and self._active >= self.params.warm_windows
            and self._traces >= _WARM_TRACES
        )

    def _gate(self) -> int:
        usual = self._spend.sums[SPENT] / self._spend.seconds if self._spend.seconds > 0 else 0.0
        return max(self.params.min_excess_nanos, round(usual * self.params.min_excess_seconds), 1)

    def _values(self, window: Window) -> tuple[float, ...]:
        if self._usual is None:
            return sums_of(window, 1.0, 4.0)
        return sums_of(window, self._usual.per_input, self._usual.per_output)

    def _peek(self, h: int, end: float, values: Sequence[float]) -> list[float]:
        if self._until is None:
            return list(values)
        keep = math.exp(-LN2 / SCALES[h] * max(0.0, end - self._until))
        return [s * keep + v for s, v in zip(self._sums[h], values, strict=True)]

    def _excess_of(self, values: Sequence[float], sums: Sequence[float]) -> tuple[float, ...]:
        """Dollars of this window above what it would cost at each usual ratio, half a scale granted."""
        assert self._usual is not None
        noise, spent = self._noise, values[SPENT]
        listed = self._spend.sums[5] + self._spend.sums[6]
        of_input = self._spend.sums[5] / listed if listed > 0 else 0.5
        traces = sums[BEGUN] + 1.0
        found = []
        for f, x in enumerate(self._usual.logs_over(sums)):
            part = of_input if f == INPUT else 1.0 - of_input if f == OUTPUT else 1.0
            granted = _GRANTED * math.sqrt(noise.variance(_EXCESS_AT, f, traces))
            found.append(part * spent * -math.expm1(-min(x - granted, 50.0)))
        return tuple(found)

    def _learn_minute(self, window: Window, elapsed: float, frozen: bool, aside: bool) -> None:
        """Once in an active minute. How far ratios stray is learnt in incidents as well: they may be the usual."""
        spend = self._spend.sums
        if not frozen and spend[BEGUN] >= 3.0:
            per_input = max(spend[5] / max(spend[3], 1.0), 1e-9)
            per_output = max(spend[6] / max(spend[4], 1.0), 1e-9)
            if self._usual is None:
                listed = spend[5] + spend[6]
                sums = (*spend[:5], listed if listed > 0 else spend[3] + 4.0 * spend[4], spend[7])
                if listed <= 0:
                    per_input, per_output = 1.0, 4.0
                self._usual = Usual.first(sums, per_input, per_output)
            elif spend[5] + spend[6] > 0:
                self._usual.per_input, self._usual.per_output = per_input, per_output
            self._active += 1.0
            self._traces = min(self._traces + max(window.begun_traces, 0.2), _MOST_TRACES)
            self._move_level(self._usual)
            self._learn_looks(self._usual)
        if self._usual is not None and not aside:
            for h, sums_at in enumerate(self._sums):
                self._noise.learn_stray(h, self._usual.logs_over(sums_at), sums_at[BEGUN], elapsed)

    def _move_level(self, usual: Usual) -> None:
        sums = self._sums[_LEARNT_AT]
        traces = sums[BEGUN]
        weight = traces / (traces + 2.0) * max(1.0 / self._active, 1.0 / _LEVEL_MEMORY)
        steps = []
        for f, x in enumerate(usual.logs_over(sums)):
            reach = 9.0
            if self._active > 30.0:
                reach = 3.0 * math.sqrt(self._noise.variance(_LEARNT_AT, f, traces + 1.0))
            steps.append(weight * min(max(x, -reach), reach))
        usual.move(steps)

    def _learn_looks(self, usual: Usual) -> None:
        """Noise per trace of what finished traces do not carry, from the shortest scale."""
        sums = self._sums[0]
        if sums[BEGUN] > 0.5:
            residuals = usual.logs_over(sums)
            for f in _BY_LOOKS:
                beyond = max(residuals[f] * residuals[f] - self._noise.stray[0][f], 0.0)
                self._noise.learn_trace(f, beyond * (sums[BEGUN] + 1.0), 0.01 if f > 2 else 0.2)

    def _learn_traces(self, window: Window, usual: Usual) -> None:
        for trace in window.finished:
            calls = math.log(max(trace.calls, 1)) - usual.logs[CALLS]
            cost = math.log(max(trace.cost_nanos, 1)) - usual.logs[COST]
            # 1.3: the variance of a mean of skewed costs is a little more than that of their logs.
            self._noise.learn_trace(CALLS, 1.3 * calls * calls, 0.2)
            self._noise.learn_trace(COST, 1.3 * cost * cost, 0.2)


def _spend_of(window: Window) -> tuple[float, ...]:
    """Traces begun, calls, nano-dollars, tokens in and out, list price of both, expected cost, cached tokens."""
    values = sums_of(window, 1.0, 4.0)
    return (
        *values[:5],
        float(window.reference_nanos - window.reference_output_nanos),
        float(window.reference_output_nanos),
        values[6],
        float(window.cached_input_tokens),
    )


def _streams(spend: Sequence[float], priced: bool) -> list[dict[str, float]]:
    """Spend as products of factors: input's and output's, or one where either side has no list price."""
    traces, calls, cost, _, _, listed_in, listed_out = spend[:7]
    volume = {"traces": traces, "calls_per_trace": calls / max(traces, 1e-9)}
    if not priced:
        return [volume | {"price": cost / max(calls, 1e-9)}]
    price = {"price": cost / (listed_in + listed_out)}
    return [
        volume | {"input_per_call": listed_in / max(calls, 1e-9)} | price,
        volume | {"output_per_call": listed_out / max(calls, 1e-9)} | price,
    ]
