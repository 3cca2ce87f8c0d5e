"""What is told of traces for the cost of outcomes: every one of them, with exactly what the rollups count."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import Outcomes, Watch
from schemas.outcomes import MAX_TRACE_COSTS, TraceCosts
from schemas.rollups import MAX_LIVE_TRACES
from service.ingest.fold import Batch, Fold
from service.ingest.price import Pricer
from service.ingest.record import RawRecord
from service.ingest.scopes import Watching
from service.ingest.trace_costs import Joining, told
from service.settings import IngestSettings
from tests.service.ingest.events import raw

ALL = Joining([Outcomes(name="all")])
TEAMS = Watching([Watch(name="teams", scope="team")])
CHARGE = {"kind": "gpu_hours", "quantity": 1.0, "unit": "hour"}


def told_of(batch: Batch, joining: Joining = ALL) -> list[TraceCosts]:
    return [
        TraceCosts.from_json(value)
        for delta in [*batch.deltas, *batch.scopes]
        if joining.tells(delta)
        for value in told(delta)
    ]


def folded(*parts: list[RawRecord], joining: Joining = ALL) -> list[TraceCosts]:
    fold = Fold(0, 1, IngestSettings(), Pricer(), watching=TEAMS)
    found = []
    for part in parts:
        fold.take(part)
        found += told_of(fold.drain(), joining)
    return found


def sums(records: list[TraceCosts]) -> tuple[Counter[Any], Counter[Any]]:
    nanos: Counter[Any] = Counter()
    calls: Counter[Any] = Counter()
    for record in records:
        for trace in record.traces:
            nanos[record.workflow, trace.trace_id] += trace.cost_nanos
            calls[record.workflow, trace.trace_id] += trace.calls
    return nanos, calls


EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "event_id": st.sampled_from([f"e-{i}" for i in range(30)]),
            "at": st.floats(0, 100),
            "workflow": st.sampled_from(["a", "b"]),
            "trace_id": st.sampled_from([None, "t-1", "t-2", "t-3"]),
            "cost": st.integers(0, 10**9 - 1),
            "charge": st.booleans(),
            "team": st.just("care"),
        }
    ),
    max_size=40,
)


@given(EVENTS, st.integers(0, 40))
def test_a_trace_costs_what_its_calls_and_charges_cost_each_once_however_they_come(
    events: list[dict[str, Any]], cut: int
) -> None:
    records, seen = [], set()
    nanos: Counter[Any] = Counter()
    calls: Counter[Any] = Counter()
    for offset, event in enumerate(events):
        cost, charge = event.pop("cost"), event.pop("charge")
        records.append(raw(offset, **event, cost_usd=f"0.{cost:09d}", charge=CHARGE if charge else None))
        if event["event_id"] not in seen and event["trace_id"] is not None:
            nanos[event["workflow"], event["trace_id"]] += cost
            calls[event["workflow"], event["trace_id"]] += not charge
        seen.add(event["event_id"])
    whole, split = sums(folded(records)), sums(folded(records[:cut], records[cut:]))
    assert whole == split
    assert dict(whole[0]) == dict(nanos)
    assert dict(whole[1]) == dict(calls)


def test_all_traces_are_told_and_not_only_those_that_a_rollup_names() -> None:
    count = 2 * MAX_TRACE_COSTS + 1
    found = folded([raw(i, trace_id=f"t-{i}", cost_usd="0.5") for i in range(count)])
    assert count > MAX_LIVE_TRACES
    assert [len(record.traces) for record in found] == [MAX_TRACE_COSTS, MAX_TRACE_COSTS, 1]
    assert len(sums(found)[0]) == count
    assert found[0].source.last_offset == count - 1


def test_calls_without_a_price_are_told_apart() -> None:
    unknown: dict[str, Any] = {"model": "nobodys-model", "provider": "nobody"}
    (record,) = folded([raw(0, trace_id="t", **unknown), raw(1, trace_id="t", cost_usd="1")])
    assert record.traces[0].model_dump() == {
        "trace_id": "t",
        "cost_nanos": 10**9,
        "calls": 2,
        "unpriced_calls": 1,
    }


@pytest.mark.parametrize(
    ("records", "workflows"),
    [
        ([], set()),
        ([Outcomes(name="some", workflow="support-*")], {"support-a"}),
        ([Outcomes(name="some", workflow="support-*"), Outcomes(name="other", workflow="care")],
         {"support-a", "care"}),
        ([Outcomes(name="all")], {"support-a", "care", "support"}),
    ],
)  # fmt: skip
def test_who_is_told_by_trace_is_said_by_the_config_topic(
    records: list[Outcomes], workflows: set[str]
) -> None:
    events = [raw(i, workflow=w, trace_id="t") for i, w in enumerate(("support-a", "care", "support"))]
    joining = Joining()
    joining.use(records)
    assert {record.workflow for record in folded(events, joining=joining)} == workflows


def test_calls_without_a_trace_are_of_no_concern() -> None:
    assert folded([raw(0), raw(1, cost_usd="3", charge=CHARGE)]) == []
