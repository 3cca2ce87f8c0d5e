"""An announced launch: quiet about volume within its dollars, loud about unit cost, and forgotten afterwards."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

import pytest

from detectors.expected_spend import ExpectedSpend
from schemas.alerts import Alert
from service.detect.state import WorkflowState, decode, encode
from service.detect.step import Effects, Moment, due, step
from service.rules.config import ConfigBook
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, Traffic, at, played, rollup

BEGINS = T0 + 2_400 * BUCKET
MINUTES = 6
USD = 1_000_000_000


def announced(book: ConfigBook = BOOK, offset: int = 1, **fields: Any) -> ConfigBook:
    about = {
        "kind": "launch",
        "name": "spring",
        "workflow": "support-*",
        "starts_at": at(BEGINS).isoformat(),
        "ends_at": at(BEGINS + 90 * 60).isoformat(),
        "volume_multiple": 25,
        "cap_usd": "1000",
        "owner": "ada",
    }
    record = {k: v for k, v in (about | fields).items() if v is not None}
    return book.apply("launch/spring", json.dumps(record).encode(), offset)


@cache
def _known() -> tuple[bytes, Traffic]:
    state, flow = WorkflowState.fresh("support-agent"), Traffic(starts=1.5, deltas=1)
    assert played(state, flow.records(T0, 2_400)) == []
    return encode(state), flow


@pytest.fixture
def known() -> tuple[WorkflowState, Traffic]:
    data, flow = _known()
    return decode(data), copy.deepcopy(flow)


def alerts(told: list[tuple[float, Effects]]) -> list[Alert]:
    return [alert for _, effects in told for alert in effects.alerts]


def expected(state: WorkflowState) -> float:
    detector = state.detectors["expected_spend"]
    assert isinstance(detector, ExpectedSpend)
    return detector.rate(float(BEGINS))


def first_of(found: list[Alert]) -> list[Alert]:
    return [a for a in found if a.sequence == 1]


def test_it_is_a_notice_that_begins_and_ends_with_it_and_says_what_it_cost(
    known: tuple[WorkflowState, Traffic],
) -> None:
    state, flow = known
    book, before = announced(), state.totals.call_cost
    told = played(state, flow.records(BEGINS, 90 * MINUTES, volume=20.0), book)
    spent = state.totals.call_cost - before
    told += played(state, flow.records(BEGINS + 5_400, 60), book)
    found = alerts(told)
    assert {(a.kind, a.severity) for a in found} == {("launch", "info")}
    assert len({a.fingerprint for a in found}) == 1
    assert found[0].updated_at.timestamp() <= BEGINS + BUCKET
    assert "announced by ada as spring with $1k until" in found[0].summary
    (last,) = [a for a in found if a.status == "resolved"]
    assert last.resolved_at is not None
    assert last.resolved_at.timestamp() <= BEGINS + 5_400 + BUCKET
    assert last.cost_nanos == spent
    assert "is over; it spent" in last.summary
    assert last.summary.endswith("announced by ada as spring with $1k until 08:10 UTC.")
    assert state.launch is None


def test_it_begins_with_the_first_call_and_not_with_the_hour(known: tuple[WorkflowState, Traffic]) -> None:
    state, flow = known
    book = announced()
    assert played(state, [Moment(BEGINS + 600.0)], book) == []
    (first, *_) = alerts(played(state, flow.records(BEGINS + 1_200, 3), book))
    assert first.started_at.timestamp() == BEGINS + 1_200


def test_silence_within_it_does_not_end_it(known: tuple[WorkflowState, Traffic]) -> None:
    state, flow = known
    book = announced()
    told = played(state, flow.records(BEGINS, 6), book)
    for _ in range(200):
        told += played(state, [Moment(due(state, book))], book)
        if state.launch is None:
            break
    found = alerts(told)
    assert [a.status for a in found].count("resolved") == 1
    assert found[-1].resolved_at is not None
    assert found[-1].resolved_at.timestamp() == BEGINS + 5_400


@pytest.mark.parametrize("book", [announced(), BOOK], ids=["announced", "unannounced"])
def test_twenty_times_the_volume_for_an_hour_and_a_half_leaves_the_usual_as_it_was(
    known: tuple[WorkflowState, Traffic], book: ConfigBook
) -> None:
    state, flow = known
    before, crowd = expected(state), state.crowd.mean
    played(state, flow.records(BEGINS, 90 * MINUTES, volume=20.0), book)
    played(state, flow.records(BEGINS + 5_400, 60 * MINUTES), book)
    assert expected(state) == pytest.approx(before, rel=0.1)
    assert state.crowd.mean == pytest.approx(crowd, rel=0.1)


def test_buckets_that_are_still_open_when_it_ends_teach_nothing(known: tuple[WorkflowState, Traffic]) -> None:
    state, flow = known
    book, before = announced(), expected(state)
    records = [r for r in flow.records(BEGINS, 90 * MINUTES, volume=20.0) if not isinstance(r, Moment)]
    played(state, records[:10], book)
    late = [r for r in flow.records(BEGINS + 5_340, 6, volume=500.0) if not isinstance(r, Moment)]
    after = [rollup(BEGINS + 5_410, [Doing("after")])]
    played(state, [*late, *after, Moment(BEGINS + 5_500.0)], book)
    assert state.launch is None
    assert expected(state) == pytest.approx(before, rel=0.1)


def test_it_is_quiet_up_to_its_cap_and_the_cap_pages(known: tuple[WorkflowState, Traffic]) -> None:
    state, flow = known
    told = played(state, flow.records(BEGINS, 60, volume=5.0), announced(cap_usd="3"))
    found = alerts(told)
    pages = [a for a in found if a.severity == "critical"]
    assert {a.kind for a in pages} == {"budget_exhausted"}
    assert len({a.fingerprint for a in pages}) == 1
    first = pages[0]
    assert "launch spring has spent $3.0" in first.summary
    assert "of the $3.00 announced" in first.summary
    assert first.verdict.threshold == 1.0
    assert first.excess_nanos >= 0


def test_a_cap_that_is_raised_is_kept_again_and_the_next_one_pages_again(
    known: tuple[WorkflowState, Traffic],
) -> None:
    state, flow = known
    told = played(state, flow.records(BEGINS, 60, volume=5.0), announced(cap_usd="3"))
    told += played(state, flow.records(BEGINS + 600, 60, volume=5.0), announced(cap_usd="1000", offset=2))
    spent = state.totals.call_cost / USD
    told += played(state, flow.records(BEGINS + 1_200, 6, volume=5.0), announced(cap_usd="5", offset=3))
    assert spent > 5
    capped = [a for a in alerts(told) if a.kind == "budget_exhausted"]
    assert [(a.severity, a.status) for a in first_of(capped)] == [("critical", "firing")] * 2
    assert [a.status for a in capped].count("resolved") == 1


def test_volume_beyond_what_was_announced_is_a_ticket(known: tuple[WorkflowState, Traffic]) -> None:
    state, flow = known
    told = played(state, flow.records(BEGINS, 20 * MINUTES, volume=20.0), announced(volume_multiple=5))
    beyond = [a for a in alerts(told) if a.severity == "warning"]
    assert {a.kind for a in beyond} == {"launch"}
    assert len({a.fingerprint for a in beyond}) == 1
    assert "it was announced as 5× the usual, and is " in beyond[0].summary
    assert not [a for a in alerts(told) if a.severity == "critical"]


def test_a_loop_within_it_pages_as_ever(known: tuple[WorkflowState, Traffic]) -> None:
    state, flow = known
    loop = Doing("loop", 300, 12_000_000_000, 8_000, "acme")
    extra: list[list[Doing]] = [[]] * 30 + [[loop]] * 6
    found = alerts(played(state, flow.records(BEGINS, 60, volume=20.0, extra=extra), announced()))
    assert {a.kind: a.severity for a in found} == {"launch": "info", "retry_loop": "critical"}


def test_a_workflow_without_history_is_held_to_the_announced_cost_per_trace() -> None:
    """About 4 calls of half a cent a trace: as announced it is quiet, at a tenth of it is told."""
    flow = Traffic(starts=20.0, deltas=1)
    for unit, kinds in (("0.02", {"launch"}), ("0.002", {"launch", "cost_per_trace"})):
        state = WorkflowState.fresh("support-agent")
        book = announced(unit_cost_usd=unit)
        found = alerts(played(state, copy.deepcopy(flow).records(BEGINS, 15 * MINUTES), book))
        assert {a.kind for a in found} == kinds
        for dear in first_of([a for a in found if a.kind == "cost_per_trace"]):
            assert dear.severity == "critical"
            assert "× the $0.002 announced since" in dear.summary
            assert dear.updated_at.timestamp() <= BEGINS + 300


def test_an_announced_cost_that_was_never_true_wakes_nobody(known: tuple[WorkflowState, Traffic]) -> None:
    state, flow = known
    book = announced(unit_cost_usd="0.001")
    found = alerts(played(state, flow.records(BEGINS, 20 * MINUTES, volume=10.0), book))
    assert {a.severity for a in found if a.kind == "cost_per_trace"} == {"warning"}


def test_one_trace_far_beyond_the_announced_cost_pages_before_anything_is_known() -> None:
    state = WorkflowState.fresh("support-agent")
    run = [Doing("run", 40, 600_000_000, 9_000, "acme")]
    book = announced(unit_cost_usd="0.02")
    found = alerts(played(state, [rollup(BEGINS + i * BUCKET, run) for i in range(3)], book))
    (page,) = [a for a in first_of(found) if a.severity == "critical"]
    assert page.kind == "runaway_trace"
    assert page.evidence.traces[0].trace_id == "run"
    state = WorkflowState.fresh("support-agent")
    found = alerts(played(state, [rollup(BEGINS + i * BUCKET, run) for i in range(3)], announced()))
    assert {a.severity for a in found} == {"info"}, "nothing is known, and nothing was announced"


def test_it_ends_when_its_record_is_deleted_and_what_goes_on_is_then_unannounced(
    known: tuple[WorkflowState, Traffic],
) -> None:
    state, flow = known
    book = announced()
    told = played(state, flow.records(BEGINS, 60, volume=20.0), book)
    gone = book.apply("launch/spring", None, 2)
    told += played(state, flow.records(BEGINS + 600, 260, volume=20.0), gone)
    one, other = first_of(alerts(told))
    assert other.started_at.timestamp() >= BEGINS + 3_000, "the last minutes are still those of the launch"
    assert "announced by ada" in one.summary
    assert "looks like a launch" in other.summary
    assert [a.fingerprint for a in alerts(told) if a.status == "resolved"] == [one.fingerprint]


def test_it_takes_over_from_a_notice_that_came_first(known: tuple[WorkflowState, Traffic]) -> None:
    state, flow = known
    book = announced(starts_at=at(BEGINS + 600).isoformat())
    early = alerts(played(state, flow.records(BEGINS, 60, volume=20.0), book))
    assert len(first_of(early)) == 1
    found = alerts(played(state, flow.records(BEGINS + 600, 60, volume=20.0), book))
    assert found[0].fingerprint == early[0].fingerprint
    assert found[0].status == "resolved"
    assert len(first_of(found)) == 1


def test_a_longer_end_holds_and_a_shorter_one_too(known: tuple[WorkflowState, Traffic]) -> None:
    state, flow = known
    played(state, flow.records(BEGINS, 6), announced())
    longer = announced(ends_at=at(BEGINS + 9_000).isoformat(), offset=2)
    played(state, flow.records(BEGINS + 60, 6), longer)
    assert state.launch is not None
    assert state.launch.ends == BEGINS + 9_000
    played(state, [Moment(BEGINS + 5_401.0)], longer)
    assert state.launch is not None
    played(state, [Moment(BEGINS + 5_500.0)], announced(offset=3))
    assert state.launch is None


def test_a_restart_within_it_changes_nothing(known: tuple[WorkflowState, Traffic]) -> None:
    state, flow = known
    carried = decode(encode(state))
    book = announced(cap_usd="4", unit_cost_usd="0.02", volume_multiple=3)
    for record in flow.records(BEGINS, 60, volume=8.0):
        one, other = step(state, record, book), step(carried, record, book)
        assert [a.to_json() for a in one.alerts] == [a.to_json() for a in other.alerts]
        data = encode(carried)
        assert encode(state) == data
        carried = decode(data)


def test_a_workflow_that_is_disabled_is_not_told_of(known: tuple[WorkflowState, Traffic]) -> None:
    state, flow = known
    tuning = {"kind": "tuning", "name": "off", "settings": {"enabled": False}}
    book = announced(BOOK.apply("tuning/off", json.dumps(tuning).encode(), 0), cap_usd="1")
    assert alerts(played(state, flow.records(BEGINS, 30, volume=20.0), book)) == []
