"""From alerts and answers to commands, events and what people are told: without a broker, by a clock of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.alerts import Alert, Evidence, TraceEvidence, Verdict
from schemas.throttles import ThrottleAck
from service.rules.config import ConfigBook
from service.rules.throttling import dump, load
from service.throttles.desk import ACK_WAIT_S, Desk, Said
from service.throttles.incidents import FORGOTTEN_S, MOST, Incidents

T = 1_767_225_600.0


def at(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


def alert(now: float = T, **fields: Any) -> Alert:
    """A loop in trace run-1 of support, last seen just now."""
    sequence = fields.pop("sequence", 1)
    traces = [
        TraceEvidence(trace_id=name, calls=40, cost_nanos=10**9, started_at=at(T - 60))
        for name in fields.pop("traces", ("run-1",))
    ]
    resolved = fields.get("status") == "resolved"
    defaults: dict[str, Any] = {
        "fingerprint": "f1",
        "status": "firing",
        "severity": "critical",
        "kind": "retry_loop",
        "workflow": "support",
        "team": "care",
        "started_at": at(T - 60),
        "updated_at": at(now),
        "resolved_at": at(now) if resolved else None,
        "last_seen_at": at(fields.pop("seen", now)),
        "sequence": sequence,
        "summary": "support is spending $212/h.",
        "cost_nanos": 2 * 10**9,
        "expected_nanos": 10**8,
        "excess_nanos": 10**9,
        "projected_nanos": 10**10,
        "evidence": Evidence(traces=traces),
        "verdict": Verdict(detector="live_trace", score=9.0, threshold=4.0),
        "config_version": "3-abc",
        "blames_traces": bool(traces),
    }
    return Alert(**(defaults | fields))


def book(**fields: Any) -> ConfigBook:
    rule = {
        "kind": "rule",
        "name": "stop",
        "action": {"action": "block", "message": "stopped"},
        "mode": "enforce",
    }
    return ConfigBook.empty().apply("rule/stop", orjson.dumps(rule | fields), 0)


ENFORCE = book()


class Night:
    """A desk, and a gateway that answers what it is asked to."""

    def __init__(self, rules: ConfigBook = ENFORCE, *, answers: bool = True) -> None:
        self.desk = Desk()
        self.desk.use(rules)
        self.answers = answers
        self.all = Said()

    def turn(self, now: float) -> Said:
        said = self.desk.turn(now)
        self.all.commands += said.commands
        self.all.events += said.events
        self.all.alerts += said.alerts
        if self.answers:
            for command in said.commands:
                self.answer(command.command_id, now)
        return said

    def answer(self, command_id: str, now: float, result: Any = "applied", detail: str | None = None) -> None:
        self.desk.heard(
            ThrottleAck(command_id=command_id, gateway="gw-1", result=result, detail=detail, acked_at=at(now))
        )

    def pass_time(self, begin: float, end: float) -> None:
        """Turn whenever something is due, and only then."""
        now = begin
        while (due := self.desk.due()) <= end:
            assert due > now or due <= begin, "what is due is done in one turn"
            now = max(due, now)
            self.turn(now)


def actions(said: Said) -> list[str]:
    return [command.action.action for command in said.commands]


def changes(said: Said) -> list[str]:
    return [event.change for event in said.events]


def test_a_loop_is_blocked_with_the_alert_that_tells_of_it() -> None:
    night = Night()
    night.desk.take(alert())
    said = night.turn(T)
    (command,) = said.commands
    assert (command.scope.key, command.action.action, command.mode) == (
        "trace:run-1@support",
        "block",
        "enforce",
    )
    assert command.alert_fingerprint == "f1"
    (event,) = said.events
    assert (event.change, event.workflow, event.team, event.rule) == ("started", "support", "care", "stop")
    assert not night.turn(T + 1), "nothing has changed"


def test_what_is_over_is_let_go_by_steps_and_what_comes_back_is_stopped_again() -> None:
    night = Night()
    night.desk.take(alert())
    night.turn(T)
    night.desk.take(alert(T + 100, status="resolved", sequence=2, seen=T + 5))
    night.pass_time(T, T + 1_000)
    assert actions(night.all)[0] == "block"
    assert actions(night.all)[-1] == "release"
    assert "slow" in actions(night.all), "by steps"
    assert changes(night.all)[-1] == "released"


def test_an_incident_that_is_only_not_over_yet_does_not_make_a_throttle_stronger() -> None:
    ladder = {"rungs": [{"action": {"action": "slow", "max_rps": 1}, "hold_s": 60}]}
    rules = book(ladder=ladder)
    calm, wild = Night(rules), Night(rules)
    for night, seen in ((calm, T + 5), (wild, T + 55)):
        night.desk.take(alert())
        night.turn(T)
        night.desk.take(alert(T + 60, sequence=2, seen=seen))
        night.pass_time(T, T + 100)
    assert actions(calm.all) == ["slow"]
    assert actions(wild.all) == ["slow", "block"]


def test_what_has_stopped_is_let_go_before_its_incident_is_over() -> None:
    night = Night()
    night.desk.take(alert())
    night.turn(T)
    for minute in range(1, 6):
        night.pass_time(T + 60 * (minute - 1), T + 60 * minute)
        night.desk.take(alert(T + 60 * minute, sequence=1 + minute, seen=min(T + 100, T + 60 * minute)))
        night.turn(T + 60 * minute)
    first = next(command for command in night.all.commands if command.action.action == "slow")
    quiet = first.issued_at.timestamp() - (T + 100)
    assert 120.0 <= quiet <= 120.0 + 90.0


def test_what_had_stopped_before_anybody_throttled_is_left_alone() -> None:
    night = Night()
    night.desk.take(alert(T + 200, seen=T))
    assert not night.turn(T + 200)


def test_what_is_released_while_its_incident_is_not_over_wakes_nobody() -> None:
    night = Night()
    night.desk.take(alert())
    night.turn(T)
    night.desk.take(alert(T + 60, sequence=2, seen=T + 1))
    night.pass_time(T, T + 7_200)
    assert actions(night.all)[-1] == "release"
    assert night.desk.due() > T + 7_200


def test_a_renewal_comes_before_the_command_expires() -> None:
    night = Night(book(duration_s=120.0, ladder={"max_s": 3_600.0}))
    night.desk.take(alert(last_seen_at=None))
    night.turn(T)
    night.pass_time(T, T + 1_000)
    commands = night.all.commands
    assert len(commands) > 5
    for one, other in pairwise(commands):
        assert other.issued_at < one.expires_at
        assert other.sequence > one.sequence


def test_an_older_record_of_an_incident_says_nothing() -> None:
    night = Night()
    night.desk.take(alert(status="resolved", sequence=3))
    night.desk.take(alert(sequence=4, fingerprint="f2"))
    night.turn(T)
    night.desk.take(alert(sequence=3, fingerprint="f2", status="resolved"))
    assert len(night.desk.incidents) == 1


def test_a_new_culprit_is_stopped_too() -> None:
    night = Night()
    night.desk.take(alert())
    night.turn(T)
    night.desk.take(alert(T + 7, sequence=2, traces=("run-1", "run-2")))
    assert [c.scope.value for c in night.turn(T + 7).commands] == ["run-2"]


# --- approval ---------------------------------------------------------------------------------------------------


def approved(rules: ConfigBook, proposal: str, decision: str, author: str = "ada") -> ConfigBook:
    record = f'{{"kind":"approval","name":"a","proposal":"{proposal}","decision":"{decision}","author":"{author}"}}'
    return rules.apply("approval/a", record.encode(), 1)


def test_a_rule_that_asks_first_tells_people_what_to_answer_and_waits() -> None:
    rules = book(ladder={"approval": True})
    night = Night(rules)
    night.desk.take(alert())
    said = night.turn(T)
    assert said.commands == []
    assert changes(said) == ["proposed"]
    (told,) = said.alerts
    assert (told.kind, told.status, told.severity, told.team) == ("throttle", "firing", "critical", "care")
    proposal = said.events[0].proposal
    assert f"tidegate approve {proposal}" in told.summary
    night.desk.use(approved(rules, proposal, "yes"))
    said = night.turn(T + 30)
    assert actions(said) == ["block"]
    assert [(a.fingerprint, a.status) for a in said.alerts] == [(told.fingerprint, "resolved")]


def test_a_no_is_a_no_and_nobody_is_asked_again() -> None:
    rules = book(ladder={"approval": True})
    night = Night(rules)
    night.desk.take(alert())
    proposal = night.turn(T).events[0].proposal
    night.desk.use(approved(rules, proposal, "no"))
    said = night.turn(T + 30)
    assert (actions(said), changes(said)) == ([], ["barred"])
    assert said.events[0].why == "refused"
    assert not night.turn(T + 60)


def test_a_no_ends_a_throttle_that_nobody_was_asked_about() -> None:
    """A person who sees that it hits the wrong one lets it go at once, and it is not taken again."""
    night = Night()
    night.desk.take(alert(last_seen_at=None))
    proposal = night.turn(T).events[0].proposal
    night.desk.use(approved(ENFORCE, proposal, "no"))
    said = night.turn(T + 30)
    assert actions(said) == ["release"]
    assert said.events[0].why == "released by ada"
    night.pass_time(T + 30, T + 900)
    assert actions(night.all) == ["block", "release"]


# --- answers ----------------------------------------------------------------------------------------------------


def test_an_enforced_command_that_nobody_answers_is_told_to_people_once() -> None:
    night = Night(answers=False)
    night.desk.take(alert())
    (command,) = night.turn(T).commands
    night.pass_time(T, T + 60)
    (told,) = night.all.alerts
    assert (told.kind, told.severity, told.status, told.workflow) == (
        "throttle",
        "critical",
        "firing",
        "support",
    )
    assert "no gateway has answered" in told.summary
    assert told.started_at == at(T + ACK_WAIT_S)
    night.answer(command.command_id, T + 61)
    (over,) = night.turn(T + 61).alerts
    assert (over.fingerprint, over.status) == (told.fingerprint, "resolved")


@pytest.mark.parametrize("result", ["failed", "unsupported"])
def test_a_gateway_that_cannot_is_told_of_at_once_whatever_others_answer(result: str) -> None:
    night = Night()
    night.desk.take(alert())
    (command,) = night.turn(T).commands
    night.answer(command.command_id, T + 1, result, "no such model here")
    (told,) = night.turn(T + 1).alerts
    assert f"gw-1 answered {result}: no such model here" in told.summary


def test_a_dry_run_needs_no_answer() -> None:
    night = Night(book(mode="dry_run"), answers=False)
    night.desk.take(alert())
    night.turn(T)
    night.pass_time(T, T + 300)
    assert night.all.alerts == []


def test_a_throttle_that_is_over_needs_no_answer_any_more() -> None:
    night = Night(answers=False)
    night.desk.take(alert())
    night.turn(T)
    night.pass_time(T, T + 20)
    night.desk.use(
        ENFORCE.apply("switch/throttles", b'{"kind":"switch","name":"throttles","state":"off"}', 2)
    )
    said = night.turn(T + 30)
    assert actions(said) == ["release"]
    assert [a.status for a in said.alerts] == ["resolved"]


# --- dry run ----------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_it_would_have_saved() -> None:
    night = Night(book(mode="dry_run"))
    night.desk.take(alert())
    night.turn(T)
    night.desk.take(alert(T + 60, sequence=2, excess_nanos=4 * 10**9, seen=T + 60))
    night.desk.take(alert(T + 120, sequence=3, excess_nanos=9 * 10**9, seen=T + 110, status="resolved"))
    night.turn(T + 120)
    night.pass_time(T + 120, T + 900)
    assert max(event.spared_nanos for event in night.all.events) == 8 * 10**9
    assert {command.mode for command in night.all.commands} == {"dry_run"}


# --- what is kept -----------------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(st.sampled_from(["f1", "f2", "f3"]), st.booleans(), st.floats(1.0, 200.0)), max_size=15
)


@given(steps)
def test_a_desk_that_is_taken_over_goes_on_as_if_it_had_not_been(
    given_: list[tuple[str, bool, float]],
) -> None:
    one, other = Desk(), Desk()
    for desk in (one, other):
        desk.use(ENFORCE)
    kept: dict[str, Alert] = {}
    now, sequence = T, 0
    for fingerprint, firing, seconds in given_:
        now, sequence = now + seconds, sequence + 1
        record = alert(
            now,
            fingerprint=fingerprint,
            sequence=sequence,
            status="firing" if firing else "resolved",
            traces=(f"run-{fingerprint}",),
        )
        for desk in (one, other):
            desk.take(record)
        assert one.turn(now) == other.turn(now)
        for name, told in other.incidents.changes():
            if told is None:
                kept.pop(name, None)
            else:
                kept[name] = told
        assert len(kept) == len(other.incidents)
        other = Desk(load(dump(other.throttling)), other.watch, Incidents(kept.values()))
        other.use(ENFORCE)
        assert one.due() == other.due()


def test_incidents_are_bounded_and_forgotten() -> None:
    incidents = Incidents()
    for n in range(MOST + 10):
        incidents.take(alert(fingerprint=f"f{n}"))
    assert len(incidents) == MOST
    assert incidents.get("f0") is None
    assert incidents.forget(T + FORGOTTEN_S + 1)
    assert len(incidents) == 0


def test_what_throttles_say_of_themselves_is_no_incident() -> None:
    night = Night(answers=False)
    night.desk.take(alert())
    night.turn(T)
    night.pass_time(T, T + 60)
    night.desk.take(night.all.alerts[0])
    assert len(night.desk.incidents) == 1
