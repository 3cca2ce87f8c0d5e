from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from datasketches import hll_sketch, hll_union
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.base import format_timestamp
from schemas.rollups import MAX_LIVE_TRACES, MAX_SLICES, Rollup, Tick
from service.errors import TooManyDeadLetters
from service.ingest.dead_letter import DeadLetterLimits
from service.ingest.dedup import SeenIds
from service.ingest.delta import Delta
from service.ingest.fold import Batch, Fold
from service.ingest.instant import EPOCH, instant
from service.ingest.price import Pricer
from service.ingest.record import RawRecord
from service.ingest.share import sketch
from service.settings import IngestSettings
from tests.service.ingest.events import T0, T0_S, fields, raw

PRICER = Pricer()


def fold(partitions: int = 4, **settings: Any) -> Fold:
    return Fold(0, partitions, IngestSettings(**settings), PRICER)


def folded(*records: RawRecord, **settings: Any) -> Batch:
    some = fold(**settings)
    for record in records:
        some.take([record])
    return some.drain()


def test_events_become_one_delta_per_workflow_and_ten_seconds() -> None:
    batch = folded(
        raw(3, at=0.0, workflow="b", cost_usd="0.1"),
        raw(5, at=9.999999, workflow="b", cost_usd="0.2"),
        raw(6, at=10.0, workflow="b", cost_usd="0.4"),
        raw(9, at=1.0, workflow="a", cost_usd="0.8"),
    )
    assert [(r.workflow, r.bucket_start - T0, r.calls, r.cost_nanos) for r in batch.rollups] == [
        ("a", timedelta(0), 1, 800_000_000),
        ("b", timedelta(0), 2, 300_000_000),
        ("b", timedelta(seconds=10), 1, 400_000_000),
    ]
    first = batch.rollups[1]
    assert (first.source.partition, first.source.first_offset, first.source.last_offset) == (0, 3, 5)
    assert first.last_event_at == T0 + timedelta(seconds=9.999999)
    assert (batch.records, batch.events, batch.last_offset) == (4, 4, 9)


def test_a_delta_sums_what_the_contract_says() -> None:
    (rollup,) = folded(
        raw(0, cached_input_tokens=400, reasoning_tokens=30, team="cx", trace_id="t1", customer="acme"),
        raw(1, status="error", cost_usd="0.5", usage_source="estimated", trace_id="t1", team="cx"),
        raw(2, model="nobody-knows", input_tokens=7, output_tokens=5),
    ).rollups
    expected = {
        "team": "cx",
        "calls": 3,
        "errors": 1,
        # 600 fresh and 400 cached input tokens and 100 output tokens of gpt-4o, and half a dollar
        "cost_nanos": 600 * 2_500 + 400 * 1_250 + 100 * 10_000 + 500_000_000,
        "unpriced_calls": 1,
        "unpriced_tokens": 12,
        "estimated_cost_nanos": 500_000_000,
        "input_tokens": 2_007,
        "cached_input_tokens": 400,
        "output_tokens": 205,
        "reasoning_tokens": 30,
        "reference_cost_nanos": 2 * (1_000 * 2_500 + 100 * 10_000),
        "reference_output_nanos": 2 * 100 * 10_000,
        "untraced_calls": 1,
    }
    assert {name: getattr(rollup, name) for name in expected} == expected
    (trace,) = rollup.live_traces
    assert (trace.trace_id, trace.calls, trace.max_input_tokens, trace.customer) == ("t1", 2, 1_000, "acme")
    models = next(b for b in rollup.by_dimension if b.dimension == "model")
    assert [(s.value, s.calls) for s in models.top] == [("gpt-4o", 2), ("nobody-knows", 1)]
    assert [b.dimension for b in rollup.by_dimension] == ["model", "provider", "team", "customer"]


def test_money_is_never_refused_for_want_of_a_workflow() -> None:
    batch = folded(raw(0, workflow=None), raw(1))
    assert [r.workflow for r in batch.rollups] == ["support", "unattributed"]
    assert batch.unattributed == 1


def test_a_duplicate_is_counted_and_not_summed() -> None:
    batch = folded(raw(0, event_id="x"), raw(1, event_id="x"), raw(2, event_id="x", at=11), raw(3, at=12))
    assert [(r.calls, r.duplicates) for r in batch.rollups] == [(1, 0), (1, 2)]
    assert (batch.events, batch.duplicates, batch.records) == (2, 2, 4)


def test_a_batch_of_nothing_but_a_duplicate_still_has_an_offset_to_commit() -> None:
    some = fold()
    some.take([raw(0, event_id="x")])
    some.drain()
    some.take([raw(1, event_id="x")])
    batch = some.drain()
    assert (batch.deltas, batch.duplicates, batch.last_offset, batch.empty) == ([], 1, 1, False)


def test_the_rest_of_a_dimension_and_of_the_traces_is_not_lost() -> None:
    records = [
        raw(i, customer=f"c{i:02d}", trace_id=f"t{i:02d}", cost_usd=f"0.{100 - i:02d}") for i in range(1, 40)
    ]
    (rollup,) = folded(*records).rollups
    customers = next(b for b in rollup.by_dimension if b.dimension == "customer")
    assert [s.value for s in customers.top] == [f"c{i:02d}" for i in range(1, MAX_SLICES + 1)]
    assert customers.rest.values == 39 - MAX_SLICES
    assert sum(s.cost_nanos for s in customers.top) + customers.rest.cost_nanos == rollup.cost_nanos
    assert sum(s.calls for s in customers.top) + customers.rest.calls == 39
    assert [t.trace_id for t in rollup.live_traces] == [f"t{i:02d}" for i in range(1, MAX_LIVE_TRACES + 1)]


def test_of_traces_without_a_price_those_with_the_most_calls_are_kept() -> None:
    records = [raw(i, model="unknown", trace_id=f"t{i % 30:02d}") for i in range(30)]
    records += [raw(100 + i, model="unknown", trace_id="t29") for i in range(5)]
    (rollup,) = folded(*records).rollups
    assert [(t.trace_id, t.calls) for t in rollup.live_traces[:2]] == [("t29", 6), ("t00", 1)]


def test_distinct_traces_and_customers_are_sketched_and_merge() -> None:
    first, second = (
        folded(*[raw(i, trace_id=f"t{i}", customer=f"c{i % 10}") for i in range(start, start + 600)]).rollups[
            0
        ]
        for start in (0, 300)
    )
    union = hll_union(10)
    union.update(hll_sketch.deserialize(first.traces))
    union.update(hll_sketch.deserialize(second.traces))
    assert union.get_estimate() == pytest.approx(900, rel=0.1)
    assert round(hll_sketch.deserialize(first.customers).get_estimate()) == 10
    assert (folded(raw(0)).rollups[0].traces, sketch([])) == (b"", b"")


def test_late_events_are_counted_as_late_and_still_count_for_money() -> None:
    batch = folded(raw(0, at=100), raw(1, at=96), raw(2, at=94.9), raw(3, at=10), allowed_lateness_s=5.0)
    assert sum(r.calls for r in batch.rollups) == 4
    assert [(r.bucket_start - T0).seconds for r in batch.rollups if r.late] == [10, 90]
    assert batch.late == 2


def test_the_watermark_is_the_latest_event_less_the_lateness_and_never_goes_back() -> None:
    some = fold(allowed_lateness_s=5.0)
    assert some.drain().tick is None
    some.take([raw(0, at=60)])
    assert some.drain().tick == Tick(
        partition=0, partitions=4, watermark=T0 + timedelta(seconds=55), idle=False
    )
    some.take([raw(1, at=30)])
    assert some.drain().tick is None
    some.take([raw(2, at=61)])
    tick = some.drain().tick
    assert tick is not None
    assert tick.watermark == T0 + timedelta(seconds=56)


def test_an_idle_partition_goes_on_at_the_pace_of_the_wall() -> None:
    some = fold(allowed_lateness_s=5.0, idle_timeout_s=10.0)
    some.take([raw(0, at=60)])
    some.drain()
    some.advance_idle(6.0)
    some.advance_idle(4.0)
    assert some.drain().tick is None  # silent, but not for longer than the timeout
    some.advance_idle(3.0)
    tick = some.drain().tick
    assert tick is not None
    assert (tick.watermark, tick.idle) == (T0 + timedelta(seconds=58), True)
    some.take([raw(1, at=62)])
    back = some.drain()
    assert back.tick is not None
    assert (back.tick.watermark, back.tick.idle) == (T0 + timedelta(seconds=58), False)
    assert back.late == 0


def test_a_partition_without_any_event_ticks_idle_at_the_epoch() -> None:
    some = fold(idle_timeout_s=10.0)
    some.advance_idle(10.0)
    assert some.drain().tick is None
    some.advance_idle(0.5)
    assert some.drain().tick == Tick(partition=0, partitions=4, watermark=EPOCH, idle=True)
    some.advance_idle(60)
    assert some.drain().tick is None


def test_a_partition_known_to_be_silent_is_idle_at_once_and_its_time_goes_on_from_where_it_was() -> None:
    some = fold(allowed_lateness_s=5.0, idle_timeout_s=10.0)
    some.take([raw(0, at=60)])
    some.drain()
    some.advance_idle(0.0, silent=True)
    tick = some.drain().tick
    assert tick is not None
    assert (tick.watermark, tick.idle) == (T0 + timedelta(seconds=55), True)
    some.advance_idle(2.0, silent=True)
    later = some.drain().tick
    assert later is not None
    assert later.watermark == T0 + timedelta(seconds=57)


def test_live_traffic_has_one_tick_a_batch() -> None:
    some = fold(allowed_lateness_s=5.0)
    some.take([raw(0, at=0.0)])
    some.drain()
    for i in range(1, 100):
        some.take([raw(i, at=i / 2)])
        records = list(some.drain().in_time())
        assert [type(record) for record in records] == [Delta, Tick]


def test_in_a_batch_that_spans_minutes_time_passes_between_the_buckets() -> None:
    some = fold(allowed_lateness_s=5.0)
    some.take([raw(i, at=at) for i, at in enumerate((3.0, 12.0, 61.0, 75.0, 135.0, 4.0, 139.0))])
    found = [
        ("bucket", r.bucket * 10 - T0_S) if isinstance(r, Delta) else ("time", r.watermark.timestamp() - T0_S)
        for r in some.drain().in_time()
    ]
    assert found == [
        ("bucket", 0.0),
        ("bucket", 10.0),
        ("time", 60.0),
        ("bucket", 60.0),
        ("bucket", 70.0),
        ("time", 130.0),
        ("bucket", 130.0),
        ("time", 134.0),
    ]


def test_with_one_partition_time_passes_with_each_bucket() -> None:
    some = fold(1, allowed_lateness_s=5.0)
    some.take([raw(i, at=at) for i, at in enumerate((3.0, 12.0, 35.0, 4.0, 39.0))])
    found = [r.bucket * 10 - T0_S if isinstance(r, Delta) else "time" for r in some.drain().in_time()]
    assert found == [0.0, "time", 10.0, "time", 30.0, "time"]


@given(
    st.lists(st.tuples(st.floats(0, 600), st.sampled_from("ab")), min_size=1, max_size=60),
    st.sets(st.integers(0, 60)),
    st.sampled_from([1, 4]),
)
def test_time_within_batches_never_goes_back_and_never_passes_what_is_still_to_come_in_time(
    calls: list[tuple[float, str]], cuts: set[int], partitions: int
) -> None:
    some = fold(partitions, allowed_lateness_s=5.0)
    written: list[Delta | Tick] = []
    for i, (at, workflow) in enumerate(calls):
        some.take([raw(i, at=at, workflow=workflow)])
        if i in cuts:
            written += some.drain().in_time()
    written += some.drain().in_time()
    now = float("-inf")
    for record in written:
        if isinstance(record, Tick):
            assert record.watermark.timestamp() >= now
            now = record.watermark.timestamp()
        elif (record.bucket + 1) * 10 <= now:
            assert record.late == record.calls, "only late calls are behind the time that was told"
    assert sum(r.calls for r in written if isinstance(r, Delta)) == len(calls)


def test_a_record_whose_time_could_not_be_checked_moves_no_time() -> None:
    batch = folded(raw(0, at=1e8)._replace(timestamp=-1))
    assert (batch.events, batch.tick) == (1, None)


def test_what_is_refused_becomes_a_dead_letter_and_moves_no_time() -> None:
    batch = folded(raw(4, b"not json"), raw(5, fields("a", input_tokens=-1)), raw(6, fields("b", at=1_000)))
    assert [(d.origin.offset, d.reason.value, d.path) for d in batch.dead_letters] == [
        (4, "invalid_json", ""),
        (5, "negative", "input_tokens"),
        (6, "in_the_future", "occurred_at"),
    ]
    assert (batch.records, batch.events, batch.last_offset, batch.rollups, batch.tick) == (3, 0, 6, [], None)


def test_an_id_that_was_refused_may_come_again_mended() -> None:
    batch = folded(raw(0, fields("a", input_tokens=-1)), raw(1, fields("a")))
    assert (len(batch.dead_letters), batch.events, batch.duplicates) == (1, 1, 0)


def test_limits_stop_the_fold() -> None:
    some = Fold(0, 1, IngestSettings(), PRICER, limits=DeadLetterLimits(1.0, 10, 2))
    some.take([raw(0, b"{")])
    with pytest.raises(TooManyDeadLetters):
        some.take([raw(1, b"{")])


# Events with everything that can differ, ids and labels from small sets so that they meet.
names = st.none() | st.sampled_from(["a", "b", "ü\u2028", "x" * 200])
events: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "event_id": st.sampled_from([f"id{i}" for i in range(30)]),
        "at": st.floats(-1e9, 250, allow_nan=False),
        "workflow": names,
        "team": names,
        "feature": names,
        "customer": names,
        "api_key": names,
        "trace_id": names,
        "model": st.sampled_from(["gpt-4o", "gpt-4o-mini", "unknown"]),
        "input_tokens": st.integers(0, 10**9),
        "output_tokens": st.integers(0, 10**9),
        "cost_usd": st.none() | st.decimals(0, 10**6, allow_nan=False, places=9).map(str),
        "status": st.sampled_from(["success", "error", "cancelled"]),
        "usage_source": st.sampled_from(["reported", "estimated"]),
    }
)
values = st.one_of(events.map(lambda e: fields(**e)), st.binary(max_size=20))
logs = st.lists(values, max_size=40).map(lambda vs: [raw(i, v) for i, v in enumerate(vs)])


@given(logs)
def test_what_is_drained_validates_when_it_is_read_again(log: list[RawRecord]) -> None:
    batch = folded(*log)
    for rollup in batch.rollups:
        assert Rollup.from_json(rollup.to_json()) == rollup
    assert batch.tick is None or Tick.from_json(batch.tick.to_json()) == batch.tick


@given(logs, st.data())
def test_the_sums_do_not_depend_on_where_the_batches_are_cut(
    log: list[RawRecord], data: st.DataObject
) -> None:
    some = fold()
    batches = []
    for record in log:
        some.take([record])
        if data.draw(st.booleans()):
            batches.append(some.drain())
    batches.append(some.drain())
    whole = folded(*log)
    assert totals(*batches) == totals(whole)
    assert sum(b.duplicates for b in batches) == whole.duplicates
    assert whole.records == len(log) == whole.events + whole.duplicates + len(whole.dead_letters)


@settings(max_examples=50)
@given(logs, st.integers(0, 40), st.integers(0, 20))
def test_a_fold_rebuilt_from_the_tail_goes_on_as_if_nothing_had_happened(
    log: list[RawRecord], crash: int, window: int
) -> None:
    before, after = log[:crash], log[crash:]
    lived = fold(dedup_offsets=window)
    for record in before:
        lived.take([record])
    lived.drain()
    rebuilt = fold(dedup_offsets=window)
    for record in before:
        if record.offset >= crash - SeenIds(window).tail(crash):
            rebuilt.remember([record])
    for record in after:
        lived.take([record])
        rebuilt.take([record])
    one, other = lived.drain(), rebuilt.drain()
    # What is late may differ: the watermark, too, is rebuilt from the tail alone. No money depends on it.
    assert totals(one, without="late") == totals(other, without="late")
    assert one.duplicates == other.duplicates
    assert len(one.rollups) == len(other.rollups)


def totals(*batches: Batch, without: str = "") -> Counter[tuple[str, str]]:
    sums: Counter[tuple[str, str]] = Counter()
    for rollup in (r for batch in batches for r in batch.rollups):
        bucket = f"{rollup.workflow} {rollup.bucket_start}"
        for name, value in rollup:
            if isinstance(value, int) and name not in ("schema_version", "duplicates", without):
                sums[bucket, name] += value
        for breakdown in rollup.by_dimension:
            sums[bucket, breakdown.dimension] += (
                sum(s.cost_nanos for s in breakdown.top) + breakdown.rest.cost_nanos
            )
    return +sums


def test_a_charge_is_money_and_no_call() -> None:
    seats = {"kind": "seats", "quantity": 20, "unit": "seat"}
    batch = folded(
        raw(0, cost_usd="0.5", team="care", trace_id="t"),
        raw(1, cost_usd="400", charge=seats, team="care", customer="acme", trace_id="t", input_tokens=0),
    )
    (rollup,) = batch.rollups
    assert (batch.events, rollup.calls, rollup.charges) == (2, 1, 1)
    assert (rollup.cost_nanos, rollup.charge_nanos) == (400_500_000_000, 400_000_000_000)
    assert [trace.calls for trace in rollup.live_traces] == [1]
    tops = {part.dimension: part.top[0] for part in rollup.by_dimension}
    assert (tops["team"].cost_nanos, tops["team"].calls) == (400_500_000_000, 1)
    assert (tops["customer"].cost_nanos, tops["customer"].calls) == (400_000_000_000, 0)


@pytest.mark.parametrize(
    "kind", ["gpu_hours", "seats", "credits", "storage", "fine_tune", "embeddings", "other"]
)
def test_every_kind_of_charge_flows_through_the_rollups(kind: str) -> None:
    charge = {"kind": kind, "quantity": 1.5, "unit": "unit"}
    (rollup,) = folded(raw(0, cost_usd="0.000000001", charge=charge)).rollups
    assert (rollup.charges, rollup.charge_nanos, rollup.cost_nanos) == (1, 1, 1)


def test_calls_whose_cost_is_hard_to_believe_are_counted_by_model() -> None:
    batch = folded(
        raw(0, cost_usd="0"),
        raw(1, cost_usd="90"),
        raw(2, cost_usd="91"),
        raw(3, model="gpt-99"),
        raw(4, cost_usd="0.0035"),
    )
    (rollup,) = batch.rollups
    assert [(f.kind, f.model, f.calls) for f in rollup.price_faults] == [
        ("off_list", "gpt-4o", 2),
        ("unpriced", "gpt-99", 1),
        ("zero_cost", "gpt-4o", 1),
    ]
    off_list = rollup.price_faults[0]
    assert (off_list.tokens, off_list.cost_nanos, off_list.list_nanos) == (2_200, 181_000_000_000, 7_000_000)
    assert batch.faults[("unpriced", "openai", "gpt-99")] == 1


@given(logs)
def test_the_bytes_on_the_wire_are_the_validated_record(log: list[RawRecord]) -> None:
    for delta in folded(*log).deltas:
        assert Rollup.from_json(delta.to_json()) == delta.rollup()


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5_000)), min_size=1, max_size=80))
def test_a_trace_that_is_left_out_costs_no_more_than_the_rollup_says(calls: list[tuple[int, int]]) -> None:
    exact: dict[str, int] = {}
    for trace, nanos in calls:
        exact[f"t{trace}"] = exact.get(f"t{trace}", 0) + nanos
    records = [
        raw(i, trace_id=f"t{trace}", cost_usd=f"{nanos / 1e9:.9f}") for i, (trace, nanos) in enumerate(calls)
    ]
    (rollup,) = folded(*records).rollups
    kept = {trace.trace_id: trace for trace in rollup.live_traces}
    left_out = {name: cost for name, cost in exact.items() if name not in kept}
    rest = rollup.other_traces
    assert {name: trace.cost_nanos for name, trace in kept.items()} == {name: exact[name] for name in kept}
    assert (rest.traces, rest.cost_nanos) == (len(left_out), sum(left_out.values()))
    assert rest.max_cost_nanos == max(left_out.values(), default=0)
    assert rest.calls + sum(trace.calls for trace in kept.values()) == len(calls)
    assert all(trace.cost_nanos >= rest.max_cost_nanos for trace in kept.values())


def test_sums_beyond_63_bits_become_several_rollups() -> None:
    records = [raw(i, cost_usd=1_000_000) for i in range(20_000)]
    batch = folded(*records)
    assert len(batch.deltas) == 5
    assert sum(delta.cost_nanos for delta in batch.deltas) == 20_000 * 10**15
    assert [Rollup.from_json(delta.to_json()) for delta in batch.deltas] == batch.rollups
    assert [r.source.first_offset for r in batch.rollups] == sorted(
        r.source.first_offset for r in batch.rollups
    )


@given(st.integers(0, 4_102_444_800_000_000))
def test_instants_are_written_as_the_contract_writes_them(micros: int) -> None:
    assert instant(micros) == format_timestamp(EPOCH + timedelta(microseconds=micros))
