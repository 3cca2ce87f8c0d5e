"""What is folded besides workflows: it changes nothing of theirs, and adds up to the same."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.control import Watch
from schemas.rollups import SEPARATOR, Rollup, Tick, Watched, WatchKind
from service.ingest.delta import Delta
from service.ingest.fold import Batch, Fold
from service.ingest.price import Pricer
from service.ingest.pulse import MAX_OPEN
from service.ingest.record import RawRecord
from service.ingest.scopes import Scopes, Watching
from service.settings import IngestSettings
from tests.service.ingest.events import raw

PRICER = Pricer()
KINDS: tuple[WatchKind, ...] = get_args(WatchKind)
MANY = ("customer", "api_key")
A_NANO = Decimal("0.000000001")
ALL = [Watch(name=kind, scope=kind, min_usd_per_hour=A_NANO if kind in MANY else None) for kind in KINDS]
SUMS = (
    *("calls", "errors", "cost_nanos", "charges", "charge_nanos", "unpriced_calls", "unpriced_tokens"),
    *("estimated_cost_nanos", "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens"),
    *("reference_cost_nanos", "reference_output_nanos", "untraced_calls", "late"),
)
CHARGE = {"kind": "seats", "quantity": 2.0, "unit": "seat"}


def fold(*watches: Watch, partitions: int = 1, **more: Any) -> Fold:
    return Fold(0, partitions, IngestSettings(**more), PRICER, watching=Watching(watches))


def batch_of(records: list[RawRecord], *watches: Watch) -> Batch:
    some = fold(*watches)
    some.take(records)
    return some.drain()


def scopes(batch: Batch) -> list[Rollup]:
    return [Rollup.from_json(delta.to_json()) for delta in batch.scopes]


def watch(scope: WatchKind, usd: str | None = None, most: int = 256) -> Watch:
    floor = None if usd is None else Decimal(usd)
    return Watch(name=scope, scope=scope, min_usd_per_hour=floor, max_values=most)


labels = st.one_of(st.none(), st.sampled_from(["a", "b"]))
events = st.fixed_dictionaries(
    {
        "event_id": st.sampled_from([f"e{i}" for i in range(40)]),
        "workflow": labels,
        "team": labels,
        "customer": labels,
        "api_key": labels,
        "feature": labels,
        "gateway": labels,
        "model": st.sampled_from(["gpt-4o", "nobody-knows"]),
        "trace_id": labels,
        "status": st.sampled_from(["success", "error"]),
        "input_tokens": st.integers(0, 5_000),
        "cost_usd": st.sampled_from([None, "0.02", "1.5"]),
    }
).map(lambda found: found if found["cost_usd"] != "1.5" else {**found, "charge": CHARGE})
streams = st.lists(st.tuples(st.integers(0, 90), events), max_size=40).map(
    lambda found: [raw(offset, at=float(at), **fields) for offset, (at, fields) in enumerate(found)]
)


@given(streams, st.lists(st.integers(0, 40), max_size=3))
@settings(max_examples=60, deadline=None)
def test_what_is_watched_changes_nothing_of_workflows_and_adds_up_to_the_same(
    records: list[RawRecord], cuts: list[int]
) -> None:
    plain, watching = fold(), fold(*ALL)
    per_scope: Counter[tuple[str, str, str]] = Counter()
    expected: Counter[tuple[str, str, str]] = Counter()
    edges = sorted({0, len(records), *(min(cut, len(records)) for cut in cuts)})
    for start, end in pairwise(edges):
        plain.take(records[start:end])
        watching.take(records[start:end])
        one, other = plain.drain(), watching.drain()
        assert [delta.to_json() for delta in one.deltas] == [delta.to_json() for delta in other.deltas]
        assert (one.tick, one.events, one.duplicates) == (other.tick, other.events, other.duplicates)
        for rollup in scopes(other):
            assert rollup.scope is not None
            for name in SUMS:
                per_scope[rollup.scope.kind, rollup.scope.value, name] += getattr(rollup, name)
        for rollup in one.rollups:
            for breakdown in rollup.by_dimension:
                for item in breakdown.top:
                    expected[breakdown.dimension, item.value, "calls"] += item.calls
                    expected[breakdown.dimension, item.value, "cost_nanos"] += item.cost_nanos
    # Who has spent nothing yet is below any floor: of these the calls are missing, and no money.
    counted = [
        key for key in per_scope | expected if key[0] != "gateway" and key[2] in ("calls", "cost_nanos")
    ]
    for key in counted:
        if key[2] == "cost_nanos" or key[0] not in MANY:
            assert per_scope[key] == expected[key]
    total = sum((Counter({n: getattr(r, n) for n in SUMS}) for r in _of(fold(), records).rollups), Counter())
    models = Counter[str]()
    for (kind, _, name), value in per_scope.items():
        if kind == "model":  # the one label that no call is without
            models[name] += value
    assert +models == +total


def _of(some: Fold, records: list[RawRecord]) -> Batch:
    some.take(records)
    return some.drain()


def test_a_scope_is_a_record_of_its_own_type_under_a_key_that_no_workflow_can_have() -> None:
    batch = batch_of(
        [
            raw(0, team="payments", workflow="refunds", cost_usd="1"),
            raw(1, team="payments", workflow="invoices", cost_usd="2", customer="acme"),
            raw(2, team="care", workflow=None, cost_usd="4"),
        ],
        watch("team"),
    )
    care, payments = scopes(batch)
    assert (payments.type, payments.workflow, payments.team) == ("scope", "team payments", "payments")
    assert payments.scope == Watched(kind="team", value="payments")
    assert (payments.key, SEPARATOR) == ("team\x1fpayments", "\x1f")
    assert batch.scopes[1].workflow == payments.key
    assert (payments.calls, payments.cost_nanos) == (2, 3_000_000_000)
    by = {b.dimension: [(s.value, s.cost_nanos) for s in b.top] for b in payments.by_dimension}
    assert by["workflow"] == [("invoices", 2_000_000_000), ("refunds", 1_000_000_000)]
    assert "team" not in by
    assert [b.top[0].value for b in care.by_dimension if b.dimension == "workflow"] == ["unattributed"]


def test_a_duplicate_is_in_no_scope_and_a_charge_is_no_call() -> None:
    records = [raw(0, team="t", event_id="x"), raw(1, team="t", event_id="x")]
    records.append(raw(2, team="t", cost_usd="5", charge=CHARGE))
    (rollup,) = scopes(batch_of(records, watch("team")))
    assert (rollup.calls, rollup.charges, rollup.charge_nanos) == (1, 1, 5_000_000_000)


def test_a_customer_is_watched_from_its_floor_on() -> None:
    records = [raw(i, customer="acme", cost_usd="0.4") for i in range(5)]
    records += [raw(9, customer="globex", cost_usd="0.9")]
    (rollup,) = scopes(batch_of(records, watch("customer")))
    assert (rollup.workflow, rollup.calls) == ("customer acme", 3), "the third call makes it a dollar"


def test_each_partition_asks_for_its_part_of_the_floor() -> None:
    some = fold(watch("customer", "4"), partitions=4)
    some.take([raw(0, customer="acme", cost_usd="1")])
    assert [r.workflow for r in scopes(some.drain())] == ["customer acme"]


def test_who_is_watched_is_known_again_after_a_restart() -> None:
    records = [raw(i, at=float(i), customer="acme", cost_usd="0.4") for i in range(8)]
    before, after = fold(watch("customer", "2")), fold(watch("customer", "2"))
    before.take(records[:5])
    before.drain()
    after.remember(records[:5])
    for some in (before, after):
        some.take(records[5:])
    assert [d.to_json() for d in before.drain().scopes] == [d.to_json() for d in after.drain().scopes] != []


def test_what_is_to_be_watched_may_change_while_the_fold_runs() -> None:
    watching = Watching()
    some = Fold(0, 1, IngestSettings(), PRICER, watching=watching)
    some.take([raw(0, team="t", model="gpt-4o")])
    assert some.drain().scopes == []
    watching.use([watch("team")])
    some.take([raw(1, team="t")])
    assert [r.workflow for r in scopes(some.drain())] == ["team t"]
    watching.use([])
    some.take([raw(2, team="t")])
    assert some.drain().scopes == []


def test_of_two_records_for_one_kind_the_lower_floor_and_the_larger_room_hold() -> None:
    watching = Watching([watch("customer", "5", 10), watch("customer", "2", 7)])
    assert (watching.floors, watching.most) == ({"customer": 2_000_000_000}, {"customer": 10})


def test_a_hundred_thousand_customers_make_no_more_deltas_than_there_is_room_for() -> None:
    watching = Watching([watch("customer", "0.000000001", 100)])
    some = Fold(0, 1, IngestSettings(dedup_offsets=1_000), PRICER, watching=watching)
    most = 0
    for start in range(0, 6_000, 1_000):
        some.take([raw(i, customer=f"c{i}", cost_usd="0.01") for i in range(start, start + 1_000)])
        most = max(most, len(some.drain().scopes))
    assert most == 100


def test_without_anything_to_watch_there_is_nothing_but_workflows() -> None:
    assert not Scopes(0, 1, Watching()).anything
    assert batch_of([raw(0, team="t", customer="c")]).scopes == []


# --- gateways -------------------------------------------------------------------------------------------------


def test_a_gateway_is_counted_without_being_watched_once_its_bucket_is_over() -> None:
    some = fold()
    some.take([raw(0, at=1.0, gateway="eu-1", cost_usd="1"), raw(1, at=2.0, gateway="eu-1", status="error")])
    assert some.drain().scopes == [], "the bucket is not over"
    some.take([raw(2, at=3.0, gateway="eu-1", cost_usd="2"), raw(3, at=30.0)])
    (rollup,) = scopes(some.drain())
    assert (rollup.key, rollup.workflow) == ("gateway\x1feu-1", "gateway eu-1")
    assert (rollup.calls, rollup.errors) == (3, 1)
    assert rollup.by_dimension == [], "a pulse, and no more"
    assert some.drain().scopes == []


def test_a_pulse_stands_before_the_tick_that_ends_its_bucket() -> None:
    some = fold()
    some.take([raw(0, at=1.0, gateway="eu-1"), raw(1, at=120.0, gateway="eu-1")])
    told = list(some.drain().in_time())
    pulse = next(i for i, t in enumerate(told) if isinstance(t, Delta) and t.scope is not None)
    ends = [i for i, t in enumerate(told) if isinstance(t, Tick)]
    assert pulse < ends[0]


def test_idle_time_ends_a_bucket_too() -> None:
    some = fold()
    some.take([raw(0, at=1.0, gateway="eu-1")])
    some.drain()
    some.advance_idle(60.0)
    assert [r.calls for r in scopes(some.drain())] == [1]


@pytest.mark.parametrize("committed", range(7))
def test_whoever_takes_over_counts_an_open_bucket_of_a_gateway_from_its_beginning(committed: int) -> None:
    times = (1.0, 4.0, 12.0, 13.0, 14.0, 22.0, 60.0)
    records = [raw(i, at=at, gateway="eu-1", cost_usd="0.1") for i, at in enumerate(times)]
    first, second = fold(), fold()
    first.take(records[:committed])
    told = scopes(first.drain())
    second.remember(records[:committed])
    second.take(records[committed:])
    told += scopes(second.drain())
    assert [(r.calls, r.cost_nanos) for r in told] == [(2, 200_000_000), (3, 300_000_000), (1, 100_000_000)]


def test_a_gateway_that_is_watched_is_counted_in_full_and_once() -> None:
    some = fold(watch("gateway"))
    some.take([raw(0, at=1.0, gateway="eu-1"), raw(1, at=60.0)])
    (rollup,) = scopes(some.drain())
    assert (rollup.calls, rollup.input_tokens) == (1, 1_000)


def test_labels_that_flood_in_as_gateways_do_not_fill_the_memory() -> None:
    some = fold(dedup_offsets=1_000)
    some.take([raw(i, gateway=f"g{i}") for i in range(MAX_OPEN + 50)])
    some.take([raw(9_999, at=60.0)])
    assert len(some.drain().scopes) == MAX_OPEN
