"""Seeded traffic of one workflow, as detectors see it: sparse and bursty counts, log-normal cost per trace."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from detectors import protocol
from detectors.protocol import Detector, Score, Window

T0 = 1_767_225_600.0  # 2026-01-01, a midnight
SECONDS = 10.0
DAY = 86_400.0


@dataclass(slots=True)
class Trace:
    """A `detectors.protocol.Trace`."""

    trace_id: str
    calls: int
    cost_nanos: int
    max_input_tokens: int
    started: float
    last: float


@dataclass(frozen=True)
class Workload:
    """What a workflow usually does.

    Attributes
    ----------
    per_window : float
        Traces that start in 10 s, on average over the day. Counts are negative binomial with `dispersion` times
        the Poisson variance; a daily cycle moves them by `cycle` to both sides.
    calls : float
        Calls of a trace, on average, at least one.
    sigma : float
        Of the log of a trace's cost.
    """

    per_window: float = 3.0
    dispersion: float = 4.0
    cycle: float = 0.6
    calls: float = 3.0
    cost_nanos: float = 10_000_000.0
    sigma: float = 0.8

    def windows(self, days: float, seed: int, *, start: float = T0, volume: float = 1.0) -> Iterator[Window]:
        """Windows of 10 s; each trace lives within one and is finished in the next."""
        random = np.random.default_rng(seed)
        n = round(days * DAY / SECONDS)
        at = start + SECONDS * np.arange(n)
        mean = volume * self.per_window * (1 + self.cycle * np.sin(2 * math.pi * at / DAY))
        spread = random.gamma(1 / (self.dispersion - 1), self.dispersion - 1, n)
        counts = random.poisson(mean * spread if self.dispersion > 1 else mean)
        total = int(counts.sum())
        calls = random.poisson(self.calls - 1, total) + 1
        scale = self.cost_nanos * math.exp(-(self.sigma**2) / 2) / self.calls
        costs = (calls * scale * random.lognormal(0.0, self.sigma, total)).astype(int)
        ends = np.cumsum(counts)
        finished: tuple[Trace, ...] = ()
        for i in range(n):
            first, last = int(ends[i] - counts[i]), int(ends[i])
            window, finished = _window(float(at[i]), calls[first:last], costs[first:last], finished)
            yield window


def _window(
    start: float, calls: np.ndarray, costs: np.ndarray, finished: tuple[Trace, ...]
) -> tuple[Window, tuple[Trace, ...]]:
    live = tuple(
        Trace(f"t{start:.0f}-{i}", c, cost, 2_000, start, start + 5.0)
        for i, (c, cost) in enumerate(zip(calls.tolist(), costs.tolist(), strict=True))
    )
    cost, n = int(costs.sum()), int(calls.sum())
    window = Window(
        start=start,
        seconds=SECONDS,
        calls=n,
        cost_nanos=cost,
        traces=float(len(live)),
        input_tokens=2_000 * n,
        output_tokens=300 * n,
        reference_nanos=cost,
        reference_output_nanos=cost * 3 // 7,
        live=live,
        finished=finished,
    )
    return window, live


def dearer(window: Window, calls: float = 1.0, per_call: float = 1.0, *, output: float = 1.0) -> Window:
    """The window with more calls per trace, and with more input (or output) tokens per call, at the same price."""
    cost = window.cost_nanos * calls
    out = window.reference_output_nanos * calls
    into = (window.reference_nanos * calls - out) * per_call
    out *= output
    scaled = (into + out) / max(window.reference_nanos, 1)
    return replace(
        window,
        calls=round(window.calls * calls),
        cost_nanos=round(cost * scaled / calls) if window.reference_nanos else round(cost),
        input_tokens=round(window.input_tokens * calls * per_call),
        output_tokens=round(window.output_tokens * calls * output),
        reference_nanos=round(into + out),
        reference_output_nanos=round(out),
        live=tuple(
            of_trace(t, calls=round(t.calls * calls), cost_nanos=round(t.cost_nanos * scaled))
            for t in window.live
        ),
    )


def of_trace(trace: protocol.Trace, *, cost_nanos: int, calls: int | None = None) -> Trace:
    """The trace with another cost, and other calls if given."""
    calls = trace.calls if calls is None else calls
    return Trace(trace.trace_id, calls, cost_nanos, trace.max_input_tokens, trace.started, trace.last)


def judged(detector: Detector, windows: Iterator[Window], usual: float = 0.0) -> list[Score]:
    """Score each window, then learn it, as the keyed stage does."""
    scores = []
    for window in windows:
        seen = replace(window, usual_nanos_per_s=usual)
        scores.append(detector.score(seen))
        detector.learn(seen)
    return scores
