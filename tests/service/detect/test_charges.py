"""Seats, GPU hours, credits: exact in every sum of money, and nothing to any detector."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.alerts import Alert
from schemas.control import Rule, RuleBlock
from schemas.rollups import Rollup
from service.detect.report import report
from service.detect.state import WorkflowState, decode, encode
from service.detect.step import Effects, Moment, step
from service.rules.throttle import levels
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, Traffic, charged, played, rollup
from tests.service.detect.test_report import incident

SEATS = 500_000_000_000
LOOP = Doing("loop", 30, 600_000_000, 8_000, "acme")
Record = Rollup | Moment


def alone(start: int, nanos: int, **labels: str) -> Rollup:
    """A delta of nothing but a charge."""
    return charged(rollup(start, [], last=float(start)), nanos, **labels)


def taught(state: WorkflowState) -> dict[str, object]:
    return {name: detector.dump() for name, detector in state.detectors.items()}


def with_seats(records: list[Record], every: int) -> list[Record]:
    """The same traffic with $500 of seats: in its deltas, and in deltas of their own."""
    found: list[Record] = []
    for i, record in enumerate(records):
        if isinstance(record, Rollup) and i % every == 0:
            record = charged(record, SEATS, model="seats", customer="acme")
            found.append(alone(int(record.bucket_start.timestamp()), SEATS, model="seats"))
        found.append(record)
    return found


def test_a_workflow_with_seats_is_judged_as_one_without() -> None:
    flow = Traffic(starts=2.0)
    records: list[Record] = list(flow.records(T0, 2_500))
    records += flow.records(T0 + 25_000, 12, extra=[[LOOP]] * 12)
    records += flow.records(T0 + 25_120, 60, volume=20.0)
    plain, paying = WorkflowState.fresh("support-agent"), WorkflowState.fresh("support-agent")
    told_plain, told_paying = played(plain, records), played(paying, with_seats(records, 50))
    assert taught(plain) == taught(paying)
    assert plain.buckets == paying.buckets
    assert {a.kind for _, e in told_plain for a in e.alerts} == {"retry_loop", "launch"}

    def judged(told: list[tuple[float, Effects]]) -> list[tuple[object, ...]]:
        return [
            (a.fingerprint, a.status, a.sequence, a.cost_nanos, a.expected_nanos, a.excess_nanos, a.verdict)
            for _, e in told
            for a in e.alerts
        ]

    assert judged(told_plain) == judged(told_paying)


def test_a_charge_alone_is_no_call_and_no_bucket_and_says_nothing() -> None:
    state = WorkflowState.fresh("tools")
    told = played(
        state,
        [
            alone(T0 + i * 600, SEATS, model="seats").model_copy(update={"workflow": "tools"})
            for i in range(50)
        ],
    )
    told += played(state, [Moment(T0 + 86_000.0)])
    assert told == []
    assert state.buckets == []
    assert taught(state) == taught(WorkflowState.fresh("tools"))
    assert (state.totals.calls, state.totals.charges) == (0, 50)
    assert state.totals.cost == state.totals.charge_cost == state.day_cost == 50 * SEATS
    assert state.totals.call_cost == 0


deltas = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 10**12), st.lists(st.integers(0, 10**15), max_size=3)),
    min_size=1,
    max_size=25,
)


@settings(deadline=None)
@given(deltas, st.randoms(use_true_random=False))
def test_money_is_conserved_to_the_nano_dollar(
    found: list[tuple[int, int, list[int]]], dice: random.Random
) -> None:
    state = WorkflowState.fresh("support-agent")
    records = []
    for back, cost, charges in found:
        record = rollup(T0 + back * BUCKET, [Doing("t", 1, cost)])
        for nanos in charges:
            record = charged(record, nanos, model="seats")
        records.append(record)
    dice.shuffle(records)
    for record in records:
        step(state, record, BOOK)
        state = decode(encode(state))
    charges_ = [nanos for _, _, each in found for nanos in each]
    assert state.totals.cost == sum(cost for _, cost, _ in found) + sum(charges_)
    assert (state.totals.charge_cost, state.totals.charges) == (sum(charges_), len(charges_))
    assert state.day_cost == state.totals.cost
    assert sum(b.cost for b in state.buckets) <= state.totals.call_cost == sum(cost for _, cost, _ in found)
    calls_and_charges = state.shares["model"]
    assert sum(cost for _, cost, _ in calls_and_charges.values()) == state.shares_cost
    assert sum(charge for _, _, charge in calls_and_charges.values()) <= state.shares_charges
    for i in state.incidents.values():
        assert 0 <= state.totals.call_cost - i.cost_before <= state.totals.call_cost


def test_an_alert_counts_calls_and_its_projection_the_whole_day() -> None:
    state = WorkflowState.fresh("support-agent")
    played(state, [alone(T0, SEATS), charged(rollup(T0 + 10, [Doing("run", 80, 40_000_000_000)]), SEATS)])
    (before,) = state.incidents.values()
    alert = report(state, before, "v")
    assert alert.cost_nanos == 40_000_000_000
    assert alert.excess_nanos <= alert.cost_nanos
    assert alert.projected_nanos >= state.day_cost == 2 * SEATS + 40_000_000_000
    played(state, [alone(T0 + 20, SEATS)])
    assert report(state, before, "v").cost_nanos == 40_000_000_000


def stop(alert: Alert) -> list[str]:
    rule = Rule(name="stop", action=RuleBlock(message="stopped"), mode="enforce")
    return [scope.key for scope in next(iter(levels(rule, alert)), [])]


@pytest.mark.parametrize("payer", ["zeta", "acme", None])
def test_who_pays_for_seats_is_not_stopped_for_the_calls_of_another(payer: str | None) -> None:
    """Nor does a charge hide that one customer makes all the calls, and get the whole workflow stopped."""
    state = WorkflowState.fresh("support-agent")
    seats = alone(T0, SEATS, **({"customer": payer} if payer else {}))
    played(state, [seats, rollup(T0, [Doing("a", 9, 95 * 10**8, customer="acme"), Doing("b", 1, 5 * 10**8)])])
    alert = report(state, incident(started=float(T0)), "v")
    assert {(i.value, i.share) for i in alert.evidence.top if i.dimension == "customer"} == {("acme", 0.95)}
    assert stop(alert) == ["customer:acme@support-agent"]


def test_a_loop_that_fires_while_seats_are_charged_is_told_as_ever() -> None:
    state = WorkflowState.fresh("support-agent")
    flow = Traffic(starts=2.0)
    played(state, flow.records(T0, 2_500))
    other = decode(encode(state))
    loop = list(flow.records(T0 + 25_000, 6, extra=[[LOOP]] * 6))
    (first, *_) = [a for _, e in played(state, loop) for a in e.alerts]
    (same, *_) = [a for _, e in played(other, with_seats(loop, 1)) for a in e.alerts]
    projected = {"projected_nanos": 0, "projected_month_nanos": 0}
    assert first.model_copy(update={"evidence": same.evidence, **projected}) == same.model_copy(
        update=projected
    )
    assert same.projected_nanos > first.projected_nanos
    assert (same.projected_month_nanos or 0) > (first.projected_month_nanos or 0)
