"""What people say of an alert changes how the next ones of that kind are told, and what is learnt from them."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any, cast

import pytest

from detectors.expected_spend import ExpectedSpend
from detectors.unit_cost import UnitCost
from schemas.alerts import Alert
from schemas.feedback import Feedback, Worth
from service.detect.state import WorkflowState, decode, encode
from service.detect.step import Effects
from service.rules.config import ConfigBook, WorkflowConfig, control_key
from service.rules.feedback import loudness, meant_usd, tuning
from tests.service.detect.builders import BOOK, T0, Traffic, at, played
from tests.service.detect.test_again import HOUR, LOOP, Script, told

BEGINS = T0 + 86_400
DEARER = 4
TOLD = 15 * 60
"""Somebody says what the alert was worth a quarter of an hour into it."""


def book_with(alert: Alert, worth: Worth, when: float, **more: Any) -> ConfigBook:
    """The config after somebody said what an alert was worth."""
    said = Feedback(
        **{
            "fingerprint": alert.fingerprint,
            "workflow": alert.workflow,
            "kind": alert.kind,
            "worth": worth,
            "author": "ada",
            "at": at(when),
            "via": "cli",
            "loudness": loudness(alert),
            "cap_usd": Decimal(meant_usd(alert)) if worth == "planned" else None,
            **more,
        }
    )
    record = tuning(alert.workflow, WorkflowConfig(), [said], said.at)
    assert record is not None
    return ConfigBook.empty().apply(control_key(record), record.to_json(), 1)


# --- what is told: detectors say what the test lets them say ----------------------------------------------


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


def first(effects: Sequence[Effects]) -> Alert:
    return next(alert for one in effects for alert in one.alerts)


def test_planned_turns_the_page_into_a_ticket_until_it_costs_more_than_was_meant(script: Script) -> None:
    alert = first(script.play(12, LOOP))
    script.book = book_with(alert, "planned", script.state.now, cap_usd=Decimal(40))
    assert told(script.play(12, replace(LOOP, score=9.0))) == [
        ("resolved", "critical"),
        ("firing", "warning"),
    ]
    dear = replace(LOOP, excess_nanos=41 * 10**9)
    beyond = script.play(12, dear) + script.play(12, LOOP) + script.play(12, dear)
    assert told(beyond) == [("resolved", "warning"), ("firing", "critical")]


def test_planned_is_about_its_own_kind_and_about_what_begins_within_a_day(script: Script) -> None:
    alert = first(script.play(12, LOOP))
    script.play(HOUR, None)
    script.book = book_with(alert, "planned", script.state.now)
    script.play(7 * HOUR, None)
    assert told(script.play(6, LOOP)) == [("firing", "warning")]
    script.play(7 * HOUR, None)
    assert told(script.play(6, replace(LOOP, kind="creep"))) == [("firing", "critical")]
    script.play(HOUR, None)
    script.at += 24 * HOUR
    assert told(script.play(6, LOOP)) == [("firing", "critical")]


def test_what_is_expected_is_a_ticket_unless_it_is_half_as_loud_again(script: Script) -> None:
    alert = first(script.play(12, LOOP))
    script.play(HOUR, None)
    script.book = book_with(alert, "expected", script.state.now)
    script.play(7 * HOUR, None)
    assert told(script.play(6, replace(LOOP, score=1.5 * LOOP.score))) == [("firing", "warning")]
    worse = script.play(6, replace(LOOP, score=1.6 * LOOP.score))
    assert told(worse) == [("resolved", "warning"), ("firing", "critical")]


def test_real_pages_as_ever(script: Script) -> None:
    alert = first(script.play(12, LOOP))
    script.play(HOUR, None)
    script.book = book_with(alert, "real", script.state.now)
    script.play(7 * HOUR, None)
    assert told(script.play(6, LOOP)) == [("firing", "critical")]


# --- what is learnt: traffic that costs four times as much from the second day on -------------------------


@cache
def _warm() -> tuple[bytes, Traffic, Alert, bytes]:
    """Before it, and a quarter of an hour into it, with the alert that was told."""
    state, flow = WorkflowState.fresh("support-agent"), Traffic(starts=1.0, deltas=1)
    played(state, flow.records(T0, 24 * HOUR))
    before = encode(state)
    flow.cost *= DEARER
    effects = [one for _, one in played(state, flow.records(BEGINS, TOLD // 10))]
    alert = [alert for one in effects for alert in one.alerts][-1]
    assert (alert.kind, alert.severity) == ("dearer_calls", "critical")
    return before, flow, alert, encode(state)


class Case:
    """The same stream from the moment on at which somebody said something, or nobody did."""

    def __init__(self, worth: Worth | None) -> None:
        self.before, flow, self.alert, now = _warm()
        self.state, self.flow, self.at = decode(now), copy.deepcopy(flow), BEGINS + TOLD
        self.book = BOOK if worth is None else book_with(self.alert, worth, self.state.now)

    def play(self, hours: float, times: float = 1.0) -> list[Alert]:
        self.flow.cost = round(Traffic.cost * times)
        buckets = round(hours * HOUR)
        effects = played(self.state, self.flow.records(self.at, buckets), self.book)
        self.at += buckets * 10
        return [alert for _, one in effects for alert in one.alerts]

    @property
    def going_on(self) -> list[str]:
        return [incident.kind for incident in self.state.incidents.values()]


def usual(state: WorkflowState | bytes) -> tuple[list[float], list[Any], float]:
    """Logs of the seven ratios, how far they stray, and nano-dollars per second."""
    if isinstance(state, bytes):
        state = decode(state)
    _, _, _, ratios, noise, *_ = cast(UnitCost, state.detectors["unit_cost"]).dump()
    spend = cast(ExpectedSpend, state.detectors["expected_spend"])
    return ratios[:7], noise, spend.rate(float(BEGINS))


def pages(alerts: Sequence[Alert]) -> set[str]:
    return {alert.fingerprint for alert in alerts if alert.pages}


def test_what_is_expected_pages_no_more_and_is_the_usual() -> None:
    case = Case("expected")
    found = case.play(1.0, DEARER)
    assert pages(found) <= {case.alert.fingerprint}
    assert found[-1].status == "resolved"
    assert found[-1].updated_at <= at(BEGINS + TOLD + 900)
    assert pages(case.play(6.0, DEARER)) == set()
    (ratios, _, rate), (old, _, old_rate) = usual(case.state), usual(case.before)
    assert ratios[5] - old[5] == pytest.approx(math.log(DEARER), abs=0.35)  # a trace costs what it costs now
    assert rate > 2.0 * old_rate
    # What is dearer still is an incident as ever.
    assert pages(case.play(0.5, DEARER * 8)) != set()


def test_what_is_real_is_not_the_usual_after_thirty_hours_either() -> None:
    case = Case("real")
    found = case.play(29.75, DEARER)
    assert case.going_on == ["dearer_calls"]
    assert pages(found) == {case.alert.fingerprint}
    before, now = usual(case.before)[0], usual(case.state)[0]
    assert now == pytest.approx(before, abs=0.001)  # but for the minute until it was told
    # Once it is over it is over: nothing that it dragged along is told as another incident.
    over = case.play(1.0)
    assert pages(over) <= pages(found)
    assert [alert.status for alert in over if alert.kind != "launch"][-1] == "resolved"
    assert case.going_on in ([], ["launch"])

    nobody = Case(None)
    nobody.play(14.0, DEARER)
    assert nobody.going_on != ["dearer_calls"]
    assert usual(nobody.state)[0][5] > before[5] + 0.02


def test_what_was_planned_wakes_nobody_and_leaves_everything_as_it_was() -> None:
    case = Case("planned")
    marked = usual(case.state)
    found = case.play(8.0, DEARER)
    assert [a.status for a in found if a.fingerprint == case.alert.fingerprint] == ["resolved"]
    assert pages(found) == set()
    assert {a.severity for a in found if a.fingerprint != case.alert.fingerprint} == {"warning"}
    assert usual(case.state) == marked
    assert marked[0] == pytest.approx(usual(case.before)[0], abs=0.001)
    assert pages(case.play(1.0)) == set()


def test_not_worth_it_needs_more_dollars_of_that_kind_alone() -> None:
    quiet, told_of = Case("not_worth_it"), Case(None)
    for case in (quiet, told_of):
        case.state = decode(case.before)  # the same again, with a word on it
        case.at = BEGINS
    when = at(BEGINS)
    assert quiet.book.at(when).workflow("support-agent").answers
    quiet.book = book_with(quiet.alert, "not_worth_it", BEGINS - 60.0)
    [sooner, later] = [case.play(0.5, DEARER)[0] for case in (told_of, quiet)]
    assert sooner.excess_nanos < 10**9 <= later.excess_nanos
    assert sooner.updated_at < later.updated_at


def test_a_replay_comes_to_the_same_and_without_the_record_to_what_it_was() -> None:
    once, again, without, never = Case("planned"), Case("planned"), Case("planned"), Case(None)
    assert once.play(0.5, DEARER) == again.play(0.5, DEARER)
    assert encode(once.state) == encode(again.state)
    [key] = without.book.records
    without.book = without.book.apply(key, None, 2)
    assert without.book.version == BOOK.version
    assert without.play(0.5, DEARER) == never.play(0.5, DEARER)
    assert encode(without.state) == encode(never.state)


def test_before_it_was_said_nothing_follows_of_it() -> None:
    """A replay of the past under the config of today tells what was told."""
    today, then = Case("expected"), Case(None)
    for case in (today, then):
        case.state, case.at = decode(case.before), BEGINS
    assert [a.fingerprint for a in today.play(0.2, DEARER)] == [a.fingerprint for a in then.play(0.2, DEARER)]
    assert usual(today.state) == usual(then.state)


def test_what_one_trace_did_is_not_taken_for_what_all_do() -> None:
    case = Case("expected")
    case.state.incidents["cost"].group = "trace"
    ratios = usual(case.state)[0]
    case.play(0.05, DEARER)
    assert usual(case.state)[0] == pytest.approx(ratios, abs=0.02)
