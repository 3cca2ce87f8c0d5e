"""Open traces: a bounded summary of the dearest, and a bound on what any other trace can have cost.

What arrives is cut already: a delta names its `MAX_LIVE_TRACES` dearest traces, and tells of the others only that
none added more than `cut`. What is kept is cut again, to `MAX_TRACES`. So what is known of a trace is bounds, over
the time since `LeftOut.since`, which moves on every five minutes or more:

1. A kept trace cost at least `cost_nanos` and at most `cost_nanos + missed_nanos`.
2. A trace that is not kept (and did not end) cost at most `LeftOut.most`: every one that cost more is kept.
3. `LeftOut.most` is at most the sum of the cuts, plus a 33rd of what was counted of all traces.

It holds step by step. Whoever a delta does not name may have added its cut: `missed_nanos` and `most` grow by it.
Whoever is new may have cost `most` before. Whoever is dropped leaves its upper bound behind as the new `most`.

Half of the places go to the dearest by what was surely counted, for those are what alerts tell of; the other half
by count above `most`, so that a slow loop among thousands of passing traces grows out of them. (3) rests on that:
a dropping that raises `most` takes as much from each of at least 33 counts, and no more is taken than came in.

Sources: Metwally et al., "Efficient computation of frequent and top-k elements in data streams", ICDT 2005, where a
count enters with the error of the one it replaces; Agarwal et al., "Mergeable summaries", PODS 2012, for dropping
many at once.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from schemas.rollups import Rollup

MAX_TRACES: Final = 64
TRACE_IDLE_S: Final = 300.0
"""A trace without a call for this long (event time) has ended."""
_SPAN_S: Final = 300.0


class TraceTotals(msgspec.Struct, array_like=True):
    """Running totals of an open trace: a `detectors.protocol.Trace`. Times in epoch seconds.

    `cost_nanos` is what was counted for sure; `missed_nanos` is how much more it can be, over the time since what
    `LeftOut.since` was when the trace was first kept.
    """

    trace_id: str
    calls: int
    cost_nanos: int
    max_input_tokens: int
    started: float
    last: float
    customer: str | None = None
    model: str | None = None
    missed_nanos: int = 0


class LeftOut(msgspec.Struct, array_like=True):
    """What is known of the traces that are not kept: since `since` none of them cost more than `most` nano-dollars.

    `before` is the same of at least the five minutes up to `since`; over both together, their sum.
    """

    since: float = 0.0
    most: int = 0
    before: int = 0

    def pass_time(self, now: float) -> None:
        """Begin anew every five minutes: a bound over days would be as large as the days' spend."""
        elapsed = now - self.since
        if elapsed >= _SPAN_S:
            self.before = self.most if elapsed < 2 * _SPAN_S else 0
            self.since, self.most = now, 0

    def above(self, trace: TraceTotals) -> int:
        """How much of a trace's cost tells it from those that are not kept. Negative: nothing does."""
        return trace.cost_nanos + min(trace.missed_nanos, self.most) - self.most


def add(traces: dict[str, TraceTotals], left_out: LeftOut, rollup: Rollup, start: float, last: float) -> None:
    """Add what a delta says of its traces; `start` and `last` are the delta's own, epoch seconds."""
    cut = max(rollup.other_traces.max_cost_nanos, 0)
    if cut > 0:
        for kept in traces.values():
            kept.missed_nanos += cut
    for live in rollup.live_traces:
        trace_id = live.trace_id
        trace = traces.get(trace_id)
        if trace is None:
            traces[trace_id] = TraceTotals(
                trace_id,
                live.calls,
                live.cost_nanos,
                live.max_input_tokens,
                start,
                last,
                live.customer,
                live.model,
                left_out.most,
            )
            continue
        trace.missed_nanos -= cut  # it is named
        trace.calls += live.calls
        trace.cost_nanos += live.cost_nanos
        if live.max_input_tokens > trace.max_input_tokens:
            trace.max_input_tokens = live.max_input_tokens
        if start < trace.started:
            trace.started = start
        if last > trace.last:
            trace.last = last
        trace.customer = trace.customer or live.customer
        trace.model = live.model or trace.model
    left_out.most += cut


def drop(
    traces: dict[str, TraceTotals], left_out: LeftOut, keep: int, spared: Collection[str] = ()
) -> list[TraceTotals]:
    """Keep `keep` traces, and those spared. Returns the dropped ones, the dearest first."""
    ranked = sorted(traces.values(), key=lambda t: (-t.cost_nanos, t.trace_id))
    surely = (keep + 1) // 2
    rest = sorted(ranked[surely:], key=lambda t: (-left_out.above(t), -t.cost_nanos, t.trace_id))
    kept = {t.trace_id for t in (*ranked[:surely], *rest[: keep - surely])}.union(spared)
    dropped = [t for t in ranked if t.trace_id not in kept]
    for trace in dropped:
        del traces[trace.trace_id]
    left_out.most += max([0, *map(left_out.above, dropped)])
    return dropped


def end_idle(traces: dict[str, TraceTotals], watermark: float) -> list[TraceTotals]:
    """Take out those that went silent. What they do from now on counts as a trace of its own."""
    idle = [trace for trace in traces.values() if trace.last + TRACE_IDLE_S <= watermark]
    for trace in idle:
        del traces[trace.trace_id]
    return idle
