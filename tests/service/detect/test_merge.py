"""Totals are exact whatever the order of rollups; what is kept beside them is bounded."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rollups import Rollup
from service.detect.merge import end_idle_traces, merge, shares_of
from service.detect.state import MAX_VALUES, RING, WorkflowState
from service.detect.step import Moment, step
from service.detect.traces import MAX_TRACES, TRACE_IDLE_S
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, rollup, sketch

doings = st.lists(
    st.builds(
        Doing,
        st.sampled_from(["a", "b", "c", None]) | st.text("abc", min_size=1, max_size=3),
        st.integers(1, 1_000),
        st.integers(0, 10**15),
        st.integers(0, 10**9),
        st.sampled_from(["acme", "zeta", None]),
    ),
    max_size=6,
)
rollups = st.builds(
    lambda back, found, errors, late, duplicates, unpriced, charges: rollup(
        T0 + back * BUCKET,
        found,
        errors=errors,
        late=late,
        duplicates=duplicates,
        unpriced_calls=unpriced,
        estimated_cost_nanos=errors * 7,
        charges=len(charges),
        charge_nanos=sum(charges),
        cost_nanos=sum(d.cost for d in found) + sum(charges),
    ),
    st.integers(0, 200),
    doings,
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 50),
    st.lists(st.integers(0, 10**15), max_size=2),
)
several = st.lists(rollups, min_size=1, max_size=20)


def totals_of(records: list[Rollup]) -> dict[str, int]:
    return {
        "calls": sum(r.calls for r in records),
        "errors": sum(r.errors for r in records),
        "cost": sum(r.cost_nanos for r in records),
        "estimated_cost": sum(r.estimated_cost_nanos for r in records),
        "unpriced_calls": sum(r.unpriced_calls for r in records),
        "input_tokens": sum(r.input_tokens for r in records),
        "output_tokens": sum(r.output_tokens for r in records),
        "late": sum(r.late for r in records),
        "duplicates": sum(r.duplicates for r in records),
        "charges": sum(r.charges for r in records),
        "charge_cost": sum(r.charge_nanos for r in records),
    }


def merged(records: list[Rollup]) -> WorkflowState:
    state = WorkflowState.fresh("support-agent")
    for record in records:
        merge(state, record)
    return state


@settings(deadline=None)
@given(several, st.randoms(use_true_random=False))
def test_totals_are_exact_whatever_the_order(records: list[Rollup], dice: random.Random) -> None:
    shuffled = list(records)
    dice.shuffle(shuffled)
    for order in (records, shuffled, records[::-1]):
        totals = merged(order).totals
        assert {name: getattr(totals, name) for name in totals.__struct_fields__} == totals_of(records)


@settings(deadline=None)
@given(several, st.lists(st.integers(0, 200), max_size=5))
def test_totals_are_exact_with_time_passing_in_between(records: list[Rollup], moments: list[int]) -> None:
    """Late rollups find their bucket closed or gone: their money counts all the same."""
    state = WorkflowState.fresh("support-agent")
    passing = iter(moments)
    for record in records:
        step(state, record, BOOK)
        if (minutes := next(passing, None)) is not None:
            step(state, Moment(T0 + minutes * 60.0), BOOK)
    assert state.totals.cost == sum(r.cost_nanos for r in records)
    assert state.totals.calls == sum(r.calls for r in records)


@settings(deadline=None)
@given(several)
def test_the_ring_is_in_order_and_bounded(records: list[Rollup]) -> None:
    state = WorkflowState.fresh("support-agent")
    for i, record in enumerate(records):
        step(state, record, BOOK)
        if i % 3 == 0:
            step(state, Moment(record.bucket_start.timestamp()), BOOK)
    starts = [bucket.start for bucket in state.buckets]
    assert starts == sorted(set(starts))
    assert len(starts) <= 4 * RING + 1
    assert sum(b.cost for b in state.buckets) <= state.totals.call_cost


def test_a_bucket_is_the_sum_of_its_rollups() -> None:
    state = merged(
        [rollup(T0, [Doing("a", 2, 30)], errors=1), rollup(T0, [Doing("b", 3, 40), Doing(None, 5, 1)])]
    )
    (bucket,) = state.buckets
    assert (bucket.calls, bucket.cost, bucket.errors, bucket.untraced) == (10, 71, 1, 5)
    assert round(bucket.traces) == 7, "two traces, and five calls that are each one of their own"
    assert bucket.reference == 71


def test_a_trace_seen_in_both_deltas_of_a_bucket_is_one_trace() -> None:
    names = [f"t{i}" for i in range(50)]
    state = merged([rollup(T0, [Doing(n) for n in names]), rollup(T0, [Doing(n) for n in names[25:]])])
    assert abs(state.buckets[0].traced - 50) < 1


def test_a_delta_of_a_closed_bucket_counts_and_is_not_judged_with_it() -> None:
    state = WorkflowState.fresh("support-agent")
    for i in range(4):
        step(state, rollup(T0 + i * BUCKET, [Doing("a")]), BOOK)
    step(state, Moment(T0 + 4.0 * BUCKET), BOOK)
    assert all(b.closed for b in state.buckets)
    detectors = {name: detector.dump() for name, detector in state.detectors.items()}
    step(state, rollup(T0, [Doing("b", 1, 77)], late=1), BOOK)
    assert state.buckets[0].cost == 10_000_077
    assert state.totals.late == 1
    assert detectors == {name: detector.dump() for name, detector in state.detectors.items()}


def test_a_delta_further_back_than_the_ring_counts_as_money_and_makes_no_bucket() -> None:
    state = merged([rollup(T0 + (RING + 5) * BUCKET, [Doing("a", 1, 5)])])
    assert merge(state, rollup(T0, [Doing("old", 1, 6)])) is None
    assert state.totals.cost == 11
    assert len(state.buckets) == 1


def test_time_never_goes_back() -> None:
    state = merged([rollup(T0 + 100 * BUCKET, [Doing("a")]), rollup(T0, [Doing("b")])])
    assert state.now == T0 + 100 * BUCKET + 9.0
    step(state, Moment(float(T0)), BOOK)
    assert state.now == T0 + 100 * BUCKET + 9.0


def test_the_day_is_the_utc_day_of_the_spend() -> None:
    before_midnight, after = T0 + 86_400 - BUCKET, T0 + 86_400
    state = merged([rollup(before_midnight, [Doing("a", 1, 5)]), rollup(after, [Doing("a", 1, 7)])])
    assert (state.day, state.day_cost) == (after // 86_400, 7)
    merge(state, rollup(before_midnight, [Doing("a", 1, 100)]))
    assert state.day_cost == 7, "yesterday's money that comes late is not today's"


def test_a_trace_sums_up_over_its_deltas() -> None:
    state = merged(
        [
            rollup(T0 + BUCKET, [Doing("a", 2, 30, 500, None, "small")], last=T0 + 12.0),
            rollup(T0, [Doing("a", 1, 10, 900, "acme", "big")], last=T0 + 3.0),
        ]
    )
    trace = state.traces["a"]
    assert (trace.calls, trace.cost_nanos, trace.max_input_tokens) == (3, 40, 900)
    assert (trace.started, trace.last) == (T0, T0 + 12.0)
    assert (trace.customer, trace.model) == ("acme", "big")


def test_of_too_many_traces_the_dearest_stay_and_the_others_have_ended() -> None:
    state = WorkflowState.fresh("support-agent")
    for i in range(3 * MAX_TRACES):
        merge(state, rollup(T0 + i // 8 * BUCKET, [Doing(f"t{i:03}", 1, 1_000 * (i % MAX_TRACES))]))
        assert len(state.traces) <= MAX_TRACES * 3 // 2
        assert len(state.ended) <= 4 * MAX_TRACES
    assert sum(t.cost_nanos for t in (*state.traces.values(), *state.ended)) == state.totals.cost
    assert {f"t{i:03}" for i in (63, 127, 191)} <= set(state.traces)


def test_a_silent_trace_ends_when_the_watermark_says_so() -> None:
    state = merged([rollup(T0, [Doing("a")], last=T0 + 4.0)])
    end_idle_traces(state, T0 + 4.0 + TRACE_IDLE_S - 0.1)
    assert "a" in state.traces
    end_idle_traces(state, T0 + 4.0 + TRACE_IDLE_S)
    assert "a" not in state.traces
    assert [t.trace_id for t in state.ended] == ["a"]


def test_shares_are_of_the_last_minutes_and_hold_the_dearest_values() -> None:
    state = merged([rollup(T0, [Doing("a", 1, 5, customer="old")])])
    for i in range(60):
        merge(state, rollup(T0 + (100 + i) * BUCKET, [Doing("a", 1, 100 + i, customer=f"c{i:02}")]))
    found = shares_of(state)["customer"]
    assert "old" not in found
    assert found["c59"] == [1, 159, 0]
    assert len(state.shares["customer"]) <= 2 * MAX_VALUES
    assert len(state.older_shares["customer"]) <= 2 * MAX_VALUES


def test_shares_know_the_spend_they_are_shares_of() -> None:
    labelled = rollup(T0, [Doing("a", 1, 5, customer="acme"), Doing("b", 1, 95)])
    state = merged([labelled])
    assert (state.shares_cost, state.older_shares_cost) == (100, 0)
    merge(state, rollup(T0 + 31 * BUCKET, [Doing("b", 1, 7)]))
    assert (state.shares_cost, state.older_shares_cost) == (7, 100)
    merge(state, rollup(T0 + 200 * BUCKET, [Doing("b", 1, 8)]))
    assert (state.shares_cost, state.older_shares_cost) == (8, 0)


def test_many_values_do_not_grow_the_shares() -> None:
    state = WorkflowState.fresh("support-agent")
    for i in range(200):
        merge(state, rollup(T0, [Doing(f"{i}-{k}", 1, i * 8 + k, customer=f"c{i}-{k}") for k in range(8)]))
    assert all(len(values) <= 2 * MAX_VALUES for values in state.shares.values())


def test_the_team_is_the_last_one_named() -> None:
    state = merged([rollup(T0, [Doing("a")], team="care"), rollup(T0, [Doing("a")])])
    assert state.team == "care"


def test_an_empty_sketch_counts_nothing() -> None:
    fields: dict[str, Any] = {"traces": sketch([])}
    state = merged([rollup(T0, [Doing("a")]), rollup(T0, [Doing(None)], **fields)])
    assert round(state.buckets[0].traces) == 2
