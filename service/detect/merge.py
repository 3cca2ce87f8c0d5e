"""One rollup into the state: money first and exactly, then what the detectors look at."""

from __future__ import annotations

from datetime import datetime

from schemas.rollups import BUCKET_SECONDS, Rollup
from service.detect import traces
from service.detect.bucket import Bucket
from service.detect.quality import Quality
from service.detect.state import MAX_VALUES, RING, Shares, WorkflowState
from service.detect.traces import MAX_TRACES

_LATELY_S = 300.0
_DAY_S = 86_400


def merge(state: WorkflowState, rollup: Rollup) -> Bucket | None:
    """Add a delta. Returns its bucket.

    None when that lies further back than the ring, or when the delta is of charges alone: money counts all the
    same, and there is nothing to judge.
    """
    state.team = rollup.team or state.team
    _add_totals(state, rollup)
    start = int(rollup.bucket_start.timestamp())
    last = rollup.last_event_at.timestamp() if rollup.last_event_at else float(start)
    state.now = max(state.now, last)
    _add_day(state, start, rollup.cost_nanos)
    _add_month(state, rollup.bucket_start, rollup.cost_nanos)
    _add_shares(state, rollup)
    _add_quality(state, rollup, start)
    begun = _begun(state, rollup)
    _add_traces(state, rollup, float(start), last)
    bucket = _bucket(state, start) if rollup.calls else None
    if bucket is not None:
        bucket.add(rollup, begun)
    return bucket


def end_idle_traces(state: WorkflowState, watermark: float) -> None:
    """Move traces that went silent to `ended`, where the next window finds them."""
    state.ended += traces.end_idle(state.traces, watermark)


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
    totals.charges += rollup.charges
    totals.charge_cost += rollup.charge_nanos


def _add_day(state: WorkflowState, start: int, cost: int) -> None:
    day = start // _DAY_S
    if day > state.day:
        state.day, state.day_cost = day, 0
    if day == state.day:
        state.day_cost += cost


def _add_month(state: WorkflowState, at: datetime, cost: int) -> None:
    month = at.year * 12 + at.month - 1
    if month > state.month:
        state.month, state.month_cost = month, 0
    if month == state.month:
        state.month_cost += cost


def _learn_shares(state: WorkflowState, lately: bool) -> None:
    # A generation is learnt when it is dropped, five minutes and more after its last call: what an incident that
    # was not yet seen did in it must not become the usual.
    dropped = [(state.older_shares, state.older_shares_cost - state.older_shares_charges)]
    if not lately:
        dropped.append((state.shares, state.shares_cost - state.shares_charges))
    begun = state.shares_since - 2 * _LATELY_S
    held = any(i.holds_baseline(state.now) for i in state.incidents.values())
    if held or any(over >= begun for family, over in state.over.items() if family != "data_quality"):
        return
    for shares, spent in dropped:
        state.usual_shares.learn(shares, spent, state.now)


def _add_shares(state: WorkflowState, rollup: Rollup) -> None:
    # Two generations of five minutes instead of one ring of maps: evidence wants "lately", not a window.
    if state.now - state.shares_since >= _LATELY_S:
        lately = state.now - state.shares_since < 2 * _LATELY_S
        _learn_shares(state, lately)
        state.older_shares, state.shares = (state.shares if lately else {}), {}
        state.older_shares_cost, state.shares_cost = (state.shares_cost if lately else 0), 0
        state.older_shares_charges, state.shares_charges = (state.shares_charges if lately else 0), 0
        state.shares_since = state.now
    state.shares_cost += rollup.cost_nanos
    state.shares_charges += rollup.charge_nanos
    for breakdown in rollup.by_dimension:
        values = state.shares.get(breakdown.dimension)
        if values is None:
            values = state.shares[breakdown.dimension] = {}
        for item in breakdown.top:
            share = values.get(item.value)
            # A slice of calls and charges together does not say how much of it is which; one without calls does.
            charged = 0 if item.calls else item.cost_nanos
            if share is None:
                values[item.value] = [item.calls, item.cost_nanos, charged]
            else:
                share[0] += item.calls
                share[1] += item.cost_nanos
                share[2] += charged
        if len(values) > 2 * MAX_VALUES:
            state.shares[breakdown.dimension] = _dearest(values)


def _dearest(values: dict[str, list[int]]) -> dict[str, list[int]]:
    kept = sorted(values.items(), key=lambda item: (-item[1][1], item[0]))[:MAX_VALUES]
    return dict(kept)


def _add_quality(state: WorkflowState, rollup: Rollup, start: int) -> None:
    begin = max(float(start), state.now - _LATELY_S)
    elapsed = state.now - state.quality.since
    if elapsed >= _LATELY_S:
        newer = state.quality.next(begin, state.now)
        state.older_quality = state.quality if elapsed < 2 * _LATELY_S else Quality()
        state.quality = newer
    state.quality.add(rollup, begin, state.now)


def _begun(state: WorkflowState, rollup: Rollup) -> float:
    """Traces that began in a delta: the named ones not seen lately, and the usual share of the others."""
    named = state.recent_traces.see(
        [live.trace_id for live in rollup.live_traces],
        state.now,
        state.traces,
        learn="cost" not in state.incidents,
    )
    others = rollup.other_traces.traces * state.recent_traces.usual_share
    return named + rollup.untraced_calls + others


def _add_traces(state: WorkflowState, rollup: Rollup, start: float, last: float) -> None:
    state.left_out.pass_time(state.now)
    traces.add(state.traces, state.left_out, rollup, start, last)
    if len(state.traces) > MAX_TRACES + MAX_TRACES // 2:
        # They are taken as ended: they teach what a usual trace costs, and the dear ones stay watched.
        dropped = traces.drop(state.traces, state.left_out, MAX_TRACES)
        room = 4 * MAX_TRACES - len(state.ended)
        state.ended.extend(dropped[: max(room, 0)])


def _bucket(state: WorkflowState, start: int) -> Bucket | None:
    for bucket in reversed(state.buckets):
        if bucket.start == start:
            return bucket
    newest = state.buckets[-1].start if state.buckets else start
    if start <= newest - RING * BUCKET_SECONDS:
        return None
    bucket = Bucket(start)
    state.buckets.append(bucket)
    if start < newest:
        # Late for its bucket: its windows have been judged without it.
        bucket.closed = any(b.closed and b.start > start for b in state.buckets)
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
            for value, (calls, cost, charged) in values.items():
                share = into.setdefault(value, [0, 0, 0])
                share[0] += calls
                share[1] += cost
                share[2] += charged
    return merged
