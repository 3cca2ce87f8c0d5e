"""Open traces against the extreme quantile of finished ones: loops and runaway runs, in seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final, Self

from scipy.special import stdtrit

from detectors.decay import LN2, DecayedSums, FadingMoments
from detectors.lmdi import decompose
from detectors.protocol import Contribution, Score, Trace, Window
from detectors.tail import Tail

_MEMORY: Final = 2_000.0
_MIN_SIGMA: Final = 0.35
_MAX_CULPRITS: Final = 8
_PRIOR_TRACES: Final = 4.0
_PRIOR_COST: Final = 0.64
_PRIOR_CALLS: Final = 0.5
"""Variances of log cost and log calls per trace, pooled over workflows: taken until enough traces are known."""
_FREEDOM: Final = 0.25
_MOST_FREEDOM: Final = 200.0
"""Degrees of freedom per trace, and at most: traces are alike, and have heavier tails than a log-normal."""
_MANY_CALLS: Final = 8
"""Fewer are no loop, however rare they are."""
_PEAKS: Final = 32
_KNOWN_TRACES: Final = 300.0
"""Finished traces from which on the tail of their calls is extrapolated, instead of a log-normal's."""
_RECENT_SHARE: Final = 0.5
"""Of the present spend half as many seconds are asked for as of the usual one."""
_DEAR: Final = 2.0
_RECENT_HALF_LIFE: Final = 600.0
_USUAL_HALF_LIFE: Final = 86_400.0
_MONTH_S: Final = 2_592_000.0
_LEAST_MONTHLY: Final = 300.0


@dataclass(frozen=True, slots=True)
class LiveTraceParams:
    """Tunables. Money in nano-dollars; `page_budget` in false pages per month and workflow."""

    page_budget: float = 0.0625
    quantile: float = 1e-4
    min_cost_nanos: int = 250_000_000
    min_excess_nanos: int = 500_000_000
    min_excess_seconds: float = 84.0
    warm_traces: float = 6.0
    cold_cost_nanos: int = 20_000_000_000


class LiveTrace:
    """Running cost and calls of each open trace against what is known of the workflow's finished traces.

    A trace speaks when so few finished traces would cost (or call) as much that at the present pace of traces
    there would be `page_budget` false ones a month (at most `quantile` of traces in any case), when it has cost a
    minimum, and when the culprits together are worth some minutes of the workflow's spend, the usual one and that
    of the others now: what is much in the quiet is little in a launch. Cost is taken for log-normal; so are
    calls while few traces are known, and then their tail is a generalised Pareto law, for what ends soon after
    its largest samples is not what a log-normal of the same spread would reach. With few finished traces known,
    variances are shrunk to a pooled prior and the quantile is Student's. Nothing waits for a window to close: the
    judgement is as fresh as the last call. Before `warm_traces` finished traces only an absolute amount speaks.

    Does not work well when calls carry no trace id, when traces stay open for days (sessions used as traces),
    and when cost per trace is heavier-tailed than log-normal: then the page budget is spent here.

    Cost: about 2 us per live trace and window, 0.6 kB of state.

    References
    ----------
    Galton (1879) for the log-normal; Student (1908) for what a short history allows to say; `tail` for the law
    of the largest.
    """

    name: ClassVar[str] = "live_trace"
    format: ClassVar[int] = 3

    def __init__(self, params: LiveTraceParams | None = None) -> None:
        self.params = params or LiveTraceParams()
        self._cost = FadingMoments()
        self._calls = FadingMoments()
        self._most_calls = Tail(_PEAKS, _MEMORY)
        self._recent = DecayedSums(_RECENT_HALF_LIFE, 2)
        self._usual = DecayedSums(_USUAL_HALF_LIFE, 1)

    def learn(self, window: Window, *, frozen: bool = False) -> None:
        seen = (float(window.cost_nanos), window.begun_traces)
        self._recent.add(window.end, seen, window.seconds)
        if frozen:
            self._usual.skip(window.end)
            return
        self._usual.add(window.end, seen[1:], window.seconds)
        for trace in window.finished:
            self._cost.add(_log(trace.cost_nanos), _MEMORY, clip=3.0, floor=_MIN_SIGMA, warm=20.0)
            self._calls.add(_log(trace.calls), _MEMORY, clip=3.0, floor=_MIN_SIGMA, warm=20.0)
            self._most_calls.add(float(trace.calls))

    def score(self, window: Window) -> Score:
        params = self.params
        warm = self._cost.count >= params.warm_traces
        dearest = max((trace.cost_nanos for trace in window.live), default=0)
        usual = round(math.exp(self._cost.mean + self._cost.variance / 2)) if warm else 0
        dear = max(params.min_cost_nanos, _DEAR * usual)
        gate = self._gate(window, dearest)
        if dearest < dear:  # so it is nearly always
            return Score(0.0, 1.0, gate_nanos=gate)
        best = 0.0
        guilty: list[Trace] = []
        if warm:
            chance = self._chance(window)
            threshold = _quantile(chance, int(self._cost.count + _PRIOR_TRACES))
            of_cost, reach = _sigma(self._cost, _PRIOR_COST), self._reach_of_calls(chance, threshold)
        for trace in window.live:
            cost = trace.cost_nanos
            if cost < dear:
                continue
            if warm:
                value = (_log(cost) - self._cost.mean) / (of_cost * threshold)
                if trace.calls >= _MANY_CALLS:
                    value = max(value, (_log(trace.calls) - self._calls.mean) / reach)
            else:
                value = cost / params.cold_cost_nanos
            best = max(best, value)
            if value >= 1.0:
                guilty.append(trace)
        guilty.sort(key=lambda t: (-t.cost_nanos, t.trace_id))
        return Score(
            value=best,
            threshold=1.0,
            usual_nanos=usual * len(guilty),
            excess_nanos=sum(max(0, t.cost_nanos - usual) for t in guilty),
            gate_nanos=gate,
            factor=self._factor(guilty[0]) if guilty else "",
            culprits=tuple(t.trace_id for t in guilty[:_MAX_CULPRITS]),
        )

    def _gate(self, window: Window, dearest: int) -> int:
        """Dollars that matter now: seconds of the usual spend, or of what the others spent in the last minutes."""
        # The dearest trace is taken off in whole nano-dollars: it must not move its own gate, not by a rounding.
        without = float(window.cost_nanos - dearest) if window.live else 0.0
        sums, seconds = self._recent.peek(window.end, (without, 0.0), window.seconds)
        others = max(sums[0], 0.0) / max(seconds, _RECENT_HALF_LIFE / LN2)
        rate = max(window.usual_nanos_per_s, _RECENT_SHARE * others)
        return max(self.params.min_excess_nanos, round(rate * self.params.min_excess_seconds), 1)

    def _chance(self, window: Window) -> int:
        """Share of traces that the page budget allows, at the pace at which traces now come: in decibels."""
        sums, seconds = self._recent.peek(window.end, (0.0, window.begun_traces), window.seconds)
        now = sums[1] / max(seconds, _RECENT_HALF_LIFE / LN2)
        usual = self._usual.sums[0] / self._usual.seconds if self._usual.seconds > 0 else 0.0
        monthly = max(max(now, usual) * _MONTH_S, _LEAST_MONTHLY)
        chance = min(self.params.page_budget / monthly, self.params.quantile)
        # A tenth of a decade is as fine as it matters: so that the quantile can be remembered.
        return round(10.0 * math.log10(max(chance, 1e-12)))

    def _reach_of_calls(self, chance: int, threshold: float) -> float:
        """How far (in logs, over the usual) the calls of all traces but that share reach."""
        if self._most_calls.count < _KNOWN_TRACES:
            return _sigma(self._calls, _PRIOR_CALLS) * threshold
        reach = math.log(max(self._most_calls.quantile(_share(chance)), 1.0)) - self._calls.mean
        return max(reach, _MIN_SIGMA * threshold)

    def explain(self, window: Window) -> Sequence[Contribution]:
        """The dearest trace against a usual one: more calls, or dearer calls."""
        if not window.live or self._cost.count < 1:
            return []
        dearest = max(window.live, key=lambda t: (t.cost_nanos, t.trace_id))
        calls = math.exp(self._calls.mean)
        usual = math.exp(self._cost.mean)
        return decompose(
            [{"calls_per_trace": calls, "price": usual / calls}],
            [{"calls_per_trace": float(dearest.calls), "price": dearest.cost_nanos / max(dearest.calls, 1)}],
            round(dearest.cost_nanos - usual),
        )

    def dump(self) -> list[Any]:
        return [
            self._cost.dump(),
            self._calls.dump(),
            self._recent.dump(),
            self._usual.dump(),
            self._most_calls.dump(),
        ]

    @classmethod
    def load(cls, plain: Any, params: Any = None) -> Self:
        try:
            cost, calls, recent, usual, most_calls = plain
            loaded = cls(params)
            loaded._cost, loaded._calls = FadingMoments.load(cost), FadingMoments.load(calls)
            loaded._recent = DecayedSums.load(recent, _RECENT_HALF_LIFE, 2)
            loaded._usual = DecayedSums.load(usual, _USUAL_HALF_LIFE, 1)
            loaded._most_calls = Tail.load(most_calls, _PEAKS, _MEMORY)
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a dump of {cls.name}: {error}") from None
        return loaded

    def _factor(self, trace: Trace) -> str:
        """A loop makes more calls than usual; a runaway context makes dearer ones."""
        more_calls = _log(trace.calls) - self._calls.mean
        dearer_calls = (_log(trace.cost_nanos) - self._cost.mean) - more_calls
        return "calls_per_trace" if more_calls >= dearer_calls else "cost_per_trace"


def _log(value: int) -> float:
    return math.log(max(value, 1))


def _sigma(of: FadingMoments, prior: float) -> float:
    """Standard deviation for the next sample: shrunk to the prior, and widened by how little the mean is known."""
    count = max(of.count, 1.0)
    variance = (count * of.variance + _PRIOR_TRACES * prior) / (count + _PRIOR_TRACES) * (1.0 + 1.0 / count)
    return max(math.sqrt(variance), _MIN_SIGMA)


@lru_cache(maxsize=4_096)
def _quantile(decibels: int, freedom: int) -> float:
    return -float(stdtrit(min(max(_FREEDOM * freedom, 3.0), _MOST_FREEDOM), _share(decibels)))


def _share(decibels: int) -> float:
    return math.pow(10.0, decibels / 10.0)
