"""One rollup into the state: money first and exactly, then what the detectors look at."""

from __future__ import annotations

from schemas.rollups import BUCKET_SECONDS, Rollup
from service.detect.state import (
    MAX_TRACES,
    MAX_VALUES,
    RING,
    TRACE_IDLE_S,
    Bucket,
    Shares,
    TraceTotals,
    WorkflowState,
)

_SHARES_S = 300.0
_DAY_S = 86_400


def merge(state: WorkflowState, rollup: Rollup) -> Bucket | None:
    """Add a delta. Returns its bucket, or None when that lies further back than the ring: money still counts."""
    state.team = rollup.team or state.team
    _add_totals(state, rollup)
    start = int(rollup.bucket_start.timestamp())
    last = rollup.last_event_at.timestamp() if rollup.last_event_at else float(start)
    state.now = max(state.now, last)
    _add_day(state, start, rollup.cost_nanos)
    _add_shares(state, rollup)
    _add_traces(state, rollup, float(start), last)
    bucket = _bucket(state, start)
    if bucket is not None:
        bucket.add(rollup)
    return bucket


def end_idle_traces(state: WorkflowState, watermark: float) -> None:
    """Move traces that went silent to `ended`, where the next window finds them."""
    idle = [(k, t) for k, t in state.traces.items() if t.last + TRACE_IDLE_S <= watermark]
    for trace_id, trace in idle:
        del state.traces[trace_id]
        state.ended.append(trace)


def _add_totals(state: WorkflowState, rollup: Rollup) -> None:
    totals = state.totals
    totals.calls += rollup.calls
    totals.errors += rollup.errors
    totals.cost += rollup.cost_nanos
    totals.estimated_cost += rollup.estimated_cost_nanos
    totals.unpriced_calls += rollup.unpriced_calls
    totals.input_tokens += rollup.input_tokens
    totals.output_tokens += rollup.output_tokens
    totals.late += rollup.late
    totals.duplicates += rollup.duplicates


def _add_day(state: WorkflowState, start: int, cost: int) -> None:
    day = start // _DAY_S
    if day > state.day:
        state.day, state.day_cost = day, 0
    if day == state.day:
        state.day_cost += cost


def _add_shares(state: WorkflowState, rollup: Rollup) -> None:
    # Two generations of five minutes instead of one ring of maps: evidence wants "lately", not a window.
    if state.now - state.shares_since >= _SHARES_S:
        lately = state.now - state.shares_since < 2 * _SHARES_S
        state.older_shares, state.shares = (state.shares if lately else {}), {}
        state.older_shares_cost, state.shares_cost = (state.shares_cost if lately else 0), 0
        state.shares_since = state.now
    state.shares_cost += rollup.cost_nanos
    for breakdown in rollup.by_dimension:
        values = state.shares.get(breakdown.dimension)
        if values is None:
            values = state.shares[breakdown.dimension] = {}
        for item in breakdown.top:
            share = values.get(item.value)
            if share is None:
                values[item.value] = [item.calls, item.cost_nanos]
            else:
                share[0] += item.calls
                share[1] += item.cost_nanos
        if len(values) > 2 * MAX_VALUES:
            state.shares[breakdown.dimension] = _dearest(values)


def _dearest(values: dict[str, list[int]]) -> dict[str, list[int]]:
    kept = sorted(values.items(), key=lambda item: (-item[1][1], item[0]))[:MAX_VALUES]
    return dict(kept)


def _add_traces(state: WorkflowState, rollup: Rollup, start: float, last: float) -> None:
    traces = state.traces
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
            )
            continue
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
    if len(state.traces) > MAX_TRACES + MAX_TRACES // 2:
        # The cheapest are taken as ended: they teach what a usual trace costs, and the dear ones stay watched.
        ranked = sorted(state.traces.items(), key=lambda item: (-item[1].cost_nanos, item[0]))
        state.traces = dict(ranked[:MAX_TRACES])
        room = 4 * MAX_TRACES - len(state.ended)
        state.ended.extend(trace for _, trace in ranked[MAX_TRACES:][: max(room, 0)])


def _bucket(state: WorkflowState, start: int) -> Bucket | None:
    for bucket in reversed(state.buckets):
        if bucket.start == start:
            return bucket
    newest = state.buckets[-1].start if state.buckets else start
    if start <= newest - RING * BUCKET_SECONDS:
        return None
    bucket = Bucket(start)
    # Late for its bucket: its windows have been judged without it.
    bucket.closed = bool(state.buckets) and any(b.closed and b.start > start for b in state.buckets)
    state.buckets.append(bucket)
    state.buckets.sort(key=lambda b: b.start)
    keep = max(newest, start) - RING * BUCKET_SECONDS
    # An open bucket waits for its watermark beyond the ring, but not for ever: a source partition that is stuck
    # must not grow the state. What is given up is a judgement, never money.
    while state.buckets[0].start <= keep and (state.buckets[0].closed or len(state.buckets) > 4 * RING):
        state.buckets.pop(0)
    return bucket


def shares_of(state: WorkflowState) -> Shares:
    """Spend by dimension and value over the last five to ten minutes."""
    merged: Shares = {}
    for generation in (state.older_shares, state.shares):
        for dimension, values in generation.items():
            into = merged.setdefault(dimension, {})
            for value, (calls, cost) in values.items():
                share = into.setdefault(value, [0, 0])
                share[0] += calls
                share[1] += cost
    return merged
