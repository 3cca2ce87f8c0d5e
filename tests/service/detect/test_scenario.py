"""A clean day, and then: a loop in one trace pages at once and is throttled; a launch is a notice and no page."""

from __future__ import annotations

import copy
from functools import cache

import pytest

from schemas.alerts import Alert
from schemas.decode import decode
from schemas.rollups import Rollup
from service.detect.state import WorkflowState, encode
from service.detect.state import decode as decode_state
from service.detect.step import Effects, Moment
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, Traffic, played, rollup

DAY = 8_640
BEGINS = T0 + 86_400
LOOP = Doing("loop", 30, 600_000_000, 8_000, "acme")
"""$0.60 per bucket, $216 an hour, in a workflow of $13 an hour."""


@cache
def _clean_day() -> tuple[WorkflowState, Traffic, int]:
    state, flow = WorkflowState.fresh("support-agent"), Traffic(starts=2.0)
    told = played(state, flow.records(T0, DAY))
    return state, flow, len(told)


@pytest.fixture
def warm() -> tuple[WorkflowState, Traffic]:
    state, flow, _ = _clean_day()
    return decode_state(encode(state)), copy.deepcopy(flow)


def alerts(told: list[tuple[float, Effects]]) -> list[Alert]:
    return [alert for _, effects in told for alert in effects.alerts]


def test_a_clean_day_says_nothing() -> None:
    assert _clean_day()[2] == 0


def test_a_loop_in_one_trace_pages_with_the_first_rollup_that_is_worth_it(
    warm: tuple[WorkflowState, Traffic],
) -> None:
    state, flow = warm
    spent_before = state.totals.cost
    records = list(flow.records(BEGINS, 36 + 180, extra=[[LOOP]] * 36))
    told = played(state, records)
    found = alerts(told)
    first = found[0]

    # One page, within the first rollups that carry more than half a dollar over the usual.
    pages = {a.fingerprint for a in found if a.severity == "critical"}
    assert len(pages) == 1
    assert {a.fingerprint for a in found} == pages
    assert first.status == "firing"
    assert first.kind == "retry_loop"
    assert first.fired_at is not None
    over = 0
    for record in records:
        if isinstance(record, Rollup):
            over += sum(t.cost_nanos for t in record.live_traces if t.trace_id == "loop")
            if over > 650_000_000:
                assert record.last_event_at is not None
                assert first.fired_at <= record.last_event_at
                break
    assert 500_000_000 <= first.excess_nanos <= first.cost_nanos <= state.totals.cost - spent_before
    assert "loop alone made" in first.summary
    assert "customer acme" in first.summary
    assert first.drivers[0].factor == "calls_per_trace"

    # Level-triggered, resolved once, and soon after it ended: when unit cost too, which sees the loop's dollars
    # on its longer scales, can tell by its shorter ones that it is over.
    assert [a.sequence for a in found] == list(range(1, len(found) + 1))
    assert [a.status for a in found].count("resolved") == 1
    last = found[-1]
    assert last.status == "resolved"
    assert last.resolved_at is not None
    after_s = last.resolved_at.timestamp() - (BEGINS + 36 * BUCKET)
    assert 300.0 <= after_s <= 1_500.0
    assert last.excess_nanos == pytest.approx(36 * LOOP.cost, rel=0.01)
    assert last.cost_nanos >= 36 * LOOP.cost
    assert state.incidents == {}

    # Who stops it goes by these: which trace, that nothing wider is to blame, and until when it was seen.
    assert all(a.blames_traces for a in found)
    assert [t.trace_id for t in first.evidence.traces] == ["loop"]
    assert all(a.last_seen_at is not None for a in found)
    assert last.last_seen_at is not None
    assert last.last_seen_at.timestamp() <= BEGINS + 36 * BUCKET


def test_a_launch_is_one_notice_and_never_a_page(warm: tuple[WorkflowState, Traffic]) -> None:
    state, flow = warm
    told = played(state, flow.records(BEGINS, 180, volume=20.0))
    told += played(state, flow.records(BEGINS + 180 * BUCKET, 240))
    found = alerts(told)
    assert {(a.kind, a.severity) for a in found} == {("launch", "info")}
    assert len({a.fingerprint for a in found}) == 1
    assert found[0].updated_at.timestamp() - BEGINS <= 90.0
    assert found[0].drivers[0].factor == "traces"
    assert found[-1].status == "resolved"
    assert "looks like a launch" in found[0].summary
    worst = max(found, key=lambda a: a.cost_nanos)
    assert worst.excess_nanos == worst.cost_nanos - worst.expected_nanos


def test_a_loop_inside_a_launch_pages_all_the_same(warm: tuple[WorkflowState, Traffic]) -> None:
    state, flow = warm
    loop = Doing("loop", 300, 12_000_000_000, 8_000, "acme")
    extra: list[list[Doing]] = [[]] * 30 + [[loop]] * 6
    found = alerts(played(state, flow.records(BEGINS, 60, volume=20.0, extra=extra)))
    kinds = {a.kind: a.severity for a in found}
    assert kinds == {"launch": "info", "retry_loop": "critical"}
    fired = next(a for a in found if a.kind == "retry_loop")
    assert fired.evidence.traces[0].trace_id == "loop"


def test_a_dearer_model_pages_for_the_workflow(warm: tuple[WorkflowState, Traffic]) -> None:
    state, flow = warm
    flow.cost *= 6
    found = alerts(played(state, _at_old_list_price(flow.records(BEGINS, 60))))
    pages = [a for a in found if a.severity == "critical"]
    assert pages
    assert {a.kind for a in pages} == {"dearer_calls"}
    assert pages[0].updated_at.timestamp() - BEGINS <= 420.0
    assert pages[-1].drivers[0].factor == "price"


def _at_old_list_price(records: object) -> list[Rollup | Moment]:
    """Six times the cost of the tokens' list price: the reference stays what it was."""
    found: list[Rollup | Moment] = []
    for record in records:  # type: ignore[attr-defined]
        if isinstance(record, Rollup):
            record = record.model_copy(
                update={
                    "reference_cost_nanos": record.cost_nanos // 6,
                    "reference_output_nanos": record.cost_nanos // 18,
                }
            )
        found.append(record)
    return found


def test_a_loop_whose_rollups_come_late_is_seen_all_the_same(warm: tuple[WorkflowState, Traffic]) -> None:
    """One gateway's clock runs ahead and takes the watermark with it: the others' money is as real as before."""
    state, flow = warm
    records: list[Rollup | Moment] = [Moment(BEGINS + 290.0)]
    for i in range(10):
        records += [rollup(BEGINS + i * BUCKET, [*flow.bucket(), LOOP], late=1)]
    found = alerts(played(state, records))
    assert [a.kind for a in found if a.severity == "critical"][:1] == ["retry_loop"]


def test_a_second_loop_after_the_first_was_over_is_another_incident(
    warm: tuple[WorkflowState, Traffic],
) -> None:
    state, flow = warm
    extra: list[list[Doing]] = [[LOOP]] * 6 + [[]] * 90 + [[LOOP]] * 6
    found = alerts(played(state, flow.records(BEGINS, 200, extra=extra)))
    assert len({a.fingerprint for a in found}) == 2
    resolved = [a for a in found if a.status == "resolved"]
    assert len(resolved) == 2
    first, second = resolved
    assert first.resolved_at is not None
    assert second.started_at > first.resolved_at
    assert second.cost_nanos < first.cost_nanos * 2


def test_a_trace_that_goes_on_after_its_incident_was_resolved_has_a_new_fingerprint() -> None:
    """With a short hold the same trace, still open, fires again: it began when the first was over."""
    book = BOOK.apply("tuning/short", b'{"kind":"tuning","name":"short","settings":{"resolve_s":10.0}}', 0)
    state = WorkflowState.fresh("support-agent")
    told = []
    for i in range(6):
        told += played(state, [rollup(T0 + i * 60, [Doing("run", 50, 30_000_000_000)])], book)
        told += played(state, [Moment(T0 + i * 60 + 40.0)], book)
    found = alerts(told)
    fired = [a for a in found if a.sequence == 1]
    assert len(fired) == 6
    assert len({a.fingerprint for a in fired}) == 6
    assert all(a.cost_nanos == 30_000_000_000 for a in fired), "no dollar is told twice"


def test_a_second_culprit_is_told_at_once_and_not_with_the_next_repetition(
    warm: tuple[WorkflowState, Traffic],
) -> None:
    state, flow = warm
    other = Doing("other", 60, 3_000_000_000, 8_000, "zeta")
    extra = [[LOOP]] * 3 + [[LOOP, other]] * 2
    first, second = alerts(played(state, flow.records(BEGINS, 5, extra=extra)))
    assert first.updated_at.timestamp() - BEGINS < 20
    assert [t.trace_id for t in first.evidence.traces] == ["loop"]
    assert 30 <= second.updated_at.timestamp() - BEGINS < 40
    assert {t.trace_id for t in second.evidence.traces} == {"loop", "other"}


def test_every_record_that_is_sent_can_be_read(warm: tuple[WorkflowState, Traffic]) -> None:
    state, flow = warm
    told = played(state, flow.records(BEGINS, 100, extra=[[LOOP]] * 20, volume=3.0))
    assert alerts(told)
    for alert in alerts(told):
        assert decode(Alert, alert.to_json()) == alert


def test_what_a_culprit_cost_is_not_learnt_as_usual(warm: tuple[WorkflowState, Traffic]) -> None:
    state, flow = warm
    before = state.detectors["live_trace"].dump()[0]
    played(state, flow.records(BEGINS, 6, extra=[[LOOP]] * 6))
    state.buckets = [b for b in state.buckets if b.closed]
    played(state, [Moment(BEGINS + 2_000.0)])  # silence: the trace ends and the incident is over in one step
    assert state.incidents == {}
    played(state, [rollup(BEGINS + 2_000, [Doing("x")]), Moment(BEGINS + 2_100.0)])
    mean = state.detectors["live_trace"].dump()[0][1]
    assert abs(mean - before[1]) < 0.01
    assert not [t for t in state.ended if t.trace_id == "loop"]
