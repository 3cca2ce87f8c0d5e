"""The benchmark's traffic: the same every time, and its sums are those of its bytes."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.rivals.plain_event import from_bytes
from benchmarks.traffic import CLOSING, MODELS, WINDOW_MS, Expected, Sent, Spec, Traffic
from schemas.decode import decode
from schemas.events import CostEvent
from schemas.reasons import Refused
from service.ingest.price import Pricer
from tests.service.ingest.calls import price

SPEC = Spec(2_000, rate=40.0)


def made(spec: Spec) -> tuple[list[Sent], Expected]:
    traffic = Traffic(spec)
    return list(traffic.records()), traffic.expected


def test_the_same_spec_makes_the_same_bytes_and_another_seed_others() -> None:
    assert made(SPEC) == made(SPEC)
    assert made(Spec(2_000, rate=40.0, seed=4))[0] != made(SPEC)[0]


def test_the_sums_are_those_of_the_events_decoded_priced_and_counted_once() -> None:
    records, expected = made(SPEC)
    pricer, seen = Pricer(), set[str]()
    calls: Counter[tuple[str, int]] = Counter()
    nanos: Counter[tuple[str, int]] = Counter()
    bad: Counter[str] = Counter()
    duplicates = 0
    for record in records:
        try:
            event = decode(CostEvent, record.value)
        except Refused as refused:
            bad[refused.reason.value] += 1
            continue
        if event.event_id in seen:
            duplicates += 1
            continue
        seen.add(event.event_id)
        cost = price(pricer, event).cost_nanos
        assert cost is not None
        assert event.workflow is not None
        window = event.workflow, int(event.occurred_at.timestamp() * 1_000) // WINDOW_MS
        calls[window] += 1
        nanos[window] += cost
    assert calls == expected.calls
    assert nanos == expected.nanos
    assert bad == expected.bad
    assert duplicates == expected.duplicates
    assert len(records) == expected.records
    assert sum(len(record.value) for record in records) == expected.value_bytes


def test_a_plain_sum_of_the_bytes_is_what_rivals_are_held_against() -> None:
    records, expected = made(SPEC)
    sums: Counter[tuple[str, int]] = Counter()
    for record in records:
        if event := from_bytes(record.value):
            sums[event.workflow, int(event.at // 10)] += round(event.cost * 1e9)
    assert sums == expected.plain_nanos
    assert sums != expected.nanos


@pytest.mark.parametrize(("what", "share"), [("bad", 0.01), ("duplicates", 0.02), ("late", 0.05)])
def test_bad_duplicate_and_late_events_have_their_shares(what: str, share: float) -> None:
    expected = made(Spec(20_000))[1]
    found = sum(expected.bad.values()) if what == "bad" else getattr(expected, what)
    assert found / 20_000 == pytest.approx(share, rel=0.15)


def test_some_workflows_leave_the_price_to_tidegate_and_every_model_is_called() -> None:
    records, _ = made(SPEC)
    events = []
    for record in records:
        try:
            events.append(decode(CostEvent, record.value))
        except Refused:
            continue
    unpriced = sum(event.cost_usd is None for event in events)
    assert 0.1 < unpriced / len(events) < 0.3
    assert {(event.provider, event.model) for event in events} == {(m.provider, m.name) for m in MODELS}


def test_a_workflow_stays_on_one_partition_and_each_partition_is_closed_last() -> None:
    records, _ = made(SPEC)
    homes = {(record.key, record.partition) for record in records}
    assert len(homes) == len({key for key, _ in homes})
    last = {record.partition: record for record in records}
    assert sorted(last) == [0, 1, 2, 3]
    newest = max(
        event.at for r in records if not r.key.startswith(CLOSING.encode()) and (event := from_bytes(r.value))
    )
    for record in last.values():
        closing = from_bytes(record.value)
        assert closing is not None
        assert closing.workflow.startswith(CLOSING)
        assert closing.at > newest + 60
