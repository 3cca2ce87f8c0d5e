"""Open traces against the extreme quantile of finished ones: loops and runaway runs, in seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, ClassVar, Final, Self

from detectors.decay import FadingMoments
from detectors.lmdi import decompose
from detectors.protocol import Contribution, Score, Trace, Window

_MEMORY: Final = 2_000.0
_MIN_SIGMA: Final = 0.35
_MAX_CULPRITS: Final = 8


@dataclass(frozen=True, slots=True)
class LiveTraceParams:
    """Tunables. Money in nano-dollars."""

    quantile: float = 1e-5
    min_cost_nanos: int = 250_000_000
    min_excess_nanos: int = 500_000_000
    min_excess_seconds: float = 180.0
    warm_traces: float = 50.0
    cold_cost_nanos: int = 20_000_000_000


class LiveTrace:
    """Running cost of each open trace against a log-normal fitted to the finished traces of the workflow.

    A trace speaks when only `quantile` of finished traces would cost as much, when it has cost a minimum, and
    when the culprits together are worth some minutes of the workflow's usual spend. Nothing waits for a window
    to close: the judgement is as fresh as the last call. Before `warm_traces` finished traces are known only an
    absolute amount speaks.

    Does not work well when calls carry no trace id, when traces stay open for days (sessions used as traces),
    and when cost per trace is heavier-tailed than log-normal: then the page budget is spent here.

    Cost: about 2 us per live trace and window, 60 B of state.

    References
    ----------
    Galton (1879) for the log-normal; the tail will be refined by peaks over threshold, Siffer et al., KDD 2017.
    """

    name: ClassVar[str] = "live_trace"

    def __init__(self, params: LiveTraceParams | None = None) -> None:
        self.params = params or LiveTraceParams()
        self._cost = FadingMoments()
        self._calls = FadingMoments()

    def learn(self, window: Window, *, frozen: bool = False) -> None:
        if frozen:
            return
        for trace in window.finished:
            self._cost.add(_log(trace.cost_nanos), _MEMORY, clip=3.0, floor=_MIN_SIGMA)
            self._calls.add(_log(trace.calls), _MEMORY, clip=3.0, floor=_MIN_SIGMA)

    def score(self, window: Window) -> Score:
        params = self.params
        threshold = _z(params.quantile)
        gate = max(params.min_excess_nanos, round(window.usual_nanos_per_s * params.min_excess_seconds), 1)
        warm = self._cost.count >= params.warm_traces
        usual = round(math.exp(self._cost.mean + self._cost.variance / 2)) if warm else 0
        best = 0.0
        guilty: list[Trace] = []
        sigma = max(math.sqrt(self._cost.variance), _MIN_SIGMA)
        for trace in window.live:
            cost = trace.cost_nanos
            if cost < params.min_cost_nanos:
                continue
            z = (_log(cost) - self._cost.mean) / sigma if warm else threshold * cost / params.cold_cost_nanos
            best = max(best, z)
            if z >= threshold:
                guilty.append(trace)
        guilty.sort(key=lambda t: (-t.cost_nanos, t.trace_id))
        return Score(
            value=best,
            threshold=threshold,
            usual_nanos=usual * len(guilty),
            excess_nanos=sum(max(0, t.cost_nanos - usual) for t in guilty),
            gate_nanos=gate,
            factor=self._factor(guilty[0]) if guilty else "",
            culprits=tuple(t.trace_id for t in guilty[:_MAX_CULPRITS]),
        )

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
        return [self._cost.dump(), self._calls.dump()]

    @classmethod
    def load(cls, plain: Any, params: Any = None) -> Self:
        try:
            cost, calls = plain
            loaded = cls(params)
            loaded._cost, loaded._calls = FadingMoments.load(cost), FadingMoments.load(calls)
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


@lru_cache(maxsize=64)
def _z(quantile: float) -> float:
    return NormalDist().inv_cdf(1.0 - quantile)
