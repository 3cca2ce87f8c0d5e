"""Scopes through the same step: what many small workflows do together, and nobody's launch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import lru_cache

import pytest

from schemas.alerts import Alert
from schemas.control import Match, Rule, RuleSlow, Tuning, TuningScope, TuningSettings, Watch
from schemas.rollups import Rollup, Watched
from schemas.throttles import Scope
from service.detect.clerk import read_rollup
from service.detect.desk import Desk
from service.detect.scoped import SPREAD
from service.detect.state import WorkflowState, decode, encode
from service.detect.step import Moment, step
from service.rules.config import ConfigBook, control_key
from service.rules.throttle import levels, rule_for
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, at, rollup, tick

WORKFLOWS = 30
HOURS = 10
CENT = 10_000_000
TEAM = "team\x1fpayments"


def book(*records: Watch | Rule) -> ConfigBook:
    made = BOOK
    for offset, record in enumerate(records):
        made = made.apply(control_key(record), record.to_json(), offset)
    return made


WATCHED = book(Watch(name="teams", scope="team"))


def team(start: int, doings: dict[str, list[Doing]]) -> Rollup:
    """One delta of the team, as ingest adds it up from its workflows'."""
    everything = [doing for some in doings.values() for doing in some]
    base = rollup(start, everything)
    ranked = sorted(
        ((name, sum(d.calls for d in some), sum(d.cost for d in some)) for name, some in doings.items()),
        key=lambda found: (-found[2], found[0]),
    )
    rest = ranked[8:]
    by_workflow = {
        "dimension": "workflow",
        "top": [{"value": name, "calls": calls, "cost_nanos": cost} for name, calls, cost in ranked[:8]],
        "rest": {
            "values": len(rest),
            "calls": sum(calls for _, calls, _ in rest),
            "cost_nanos": sum(cost for _, _, cost in rest),
        },
    }
    fields = base.model_dump()
    fields |= {
        "type": "scope",
        "workflow": "team payments",
        "team": "payments",
        "scope": {"kind": "team", "value": "payments"},
        "by_dimension": [*fields["by_dimension"], by_workflow],
    }
    return Rollup.model_validate(fields)


class Team:
    """Thirty workflows that each start a trace of two calls, a cent each, a few times an hour."""

    def __init__(self, seed: int = 7) -> None:
        self._dice = random.Random(seed)
        self._named = 0

    def bucket(
        self, *, calls: float = 1.0, volume: float = 1.0, loud: dict[str, float] | None = None
    ) -> dict[str, list[Doing]]:
        """`calls`: times the usual calls per trace, of all; `loud`: of some; `volume`: times the usual traces."""
        dice = self._dice
        found: dict[str, list[Doing]] = {}
        for i in range(WORKFLOWS):
            name = f"flow-{i:02d}"
            for _ in range(round(max(dice.gauss(0.1 * volume, 0.3 * volume**0.5), 0.0))):
                self._named += 1
                many = max(round(2 * calls * (loud or {}).get(name, 1.0) * dice.uniform(0.5, 1.5)), 1)
                cost = round(many * CENT * dice.uniform(0.7, 1.3))
                found.setdefault(name, []).append(Doing(f"tr-{self._named}", many, cost, customer=f"c-{i}"))
        return found


@lru_cache(maxsize=1)
def learnt() -> tuple[bytes, dict[str, bytes]]:
    """Ten hours of the team and of its workflows: encoded states."""
    together = WorkflowState.fresh(TEAM)
    apart: dict[str, WorkflowState] = {}
    source = Team()
    for i in range(HOURS * 360):
        start = T0 + i * BUCKET
        doings = source.bucket()
        for record in records(start, doings):
            step(together, record, WATCHED)
        for name, some in doings.items():
            state = apart.setdefault(name, WorkflowState.fresh(name))
            step(state, rollup(start, some, workflow=name), WATCHED)
        if i % 6 == 5:
            for state in apart.values():
                step(state, Moment(start + BUCKET), WATCHED)
    return encode(together), {name: encode(state) for name, state in apart.items()}


def records(start: int, doings: dict[str, list[Doing]]) -> Iterator[Rollup | Moment]:
    if doings:
        yield team(start, doings)
    yield Moment(start + BUCKET)


def told(
    minutes: int, *, calls: float = 1.0, volume: float = 1.0, loud: dict[str, float] | None = None
) -> tuple[list[Alert], list[Alert]]:
    """What the team says, and what its workflows say, when something goes on for some minutes."""
    together, apart = learnt()
    state, states = decode(together), {name: decode(data) for name, data in apart.items()}
    source = Team(seed=8)
    ours: list[Alert] = []
    theirs: list[Alert] = []
    for i in range(HOURS * 360, HOURS * 360 + minutes * 6):
        start = T0 + i * BUCKET
        doings = source.bucket(calls=calls, volume=volume, loud=loud)
        for record in records(start, doings):
            ours += step(state, record, WATCHED).alerts
        for name, some in doings.items():
            theirs += step(states[name], rollup(start, some, workflow=name), WATCHED).alerts
        for one in states.values():
            theirs += step(one, Moment(start + BUCKET), WATCHED).alerts
    return ours, theirs


def test_what_thirty_workflows_do_together_and_none_by_itself_pages_for_the_team() -> None:
    ours, theirs = told(12, calls=2.5)
    assert not [a for a in theirs if a.pages]
    first = next(a for a in ours if a.pages)
    assert first.scope == Watched(kind="team", value="payments")
    assert (first.workflow, first.team, first.kind) == ("team payments", "payments", "retry_loop")
    assert first.summary.startswith("team payments is spending ")
    assert "calls per trace went from" in first.summary


def test_what_one_workflow_does_is_a_ticket_of_its_team_at_most() -> None:
    ours, theirs = told(12, loud={"flow-03": 40.0})
    assert [a for a in theirs if a.pages and a.workflow == "flow-03"]
    assert not [a for a in ours if a.pages]


def test_a_launch_of_the_whole_team_pages_nobody() -> None:
    ours, theirs = told(20, volume=10.0)
    assert not [a for a in [*ours, *theirs] if a.pages]


def test_a_scope_that_nobody_watches_any_more_says_nothing() -> None:
    state = decode(learnt()[0])
    source = Team(seed=9)
    for i in range(HOURS * 360, HOURS * 360 + 72):
        for record in records(T0 + i * BUCKET, source.bucket(calls=5.0)):
            assert not step(state, record, BOOK).alerts


def test_the_state_of_a_scope_is_another_than_that_of_a_workflow_of_its_name() -> None:
    states: dict[str, WorkflowState] = {}
    desk = Desk(0, states.get)
    scope = team(T0, {"a": [Doing("t-1")]})
    for offset, record in enumerate([scope, rollup(T0, [Doing("t-1")], workflow="team payments")]):
        states |= desk.apply(record, offset, 0.0, WATCHED).changed
    assert set(states) == {TEAM, "team payments"}
    assert [state.totals.calls for state in states.values()] == [1, 1]
    assert states[TEAM].scope == Watched(kind="team", value="payments")
    assert states["team payments"].scope is None
    assert decode(encode(states[TEAM])).scope == states[TEAM].scope
    assert not desk.apply(tick(T0 + 60.0), 2, 0.0, WATCHED).effects


def alert_of(scope: Watched | None) -> Alert:
    return Alert.model_validate(
        {
            "fingerprint": "f",
            "status": "firing",
            "severity": "warning",
            "kind": "retry_loop",
            "workflow": "team payments" if scope else "refunds",
            "team": "payments",
            "scope": scope.model_dump() if scope else None,
            "started_at": at(T0),
            "updated_at": at(T0),
            "sequence": 1,
            "summary": "",
            "cost_nanos": 1,
            "expected_nanos": 0,
            "excess_nanos": 10**9,
            "projected_nanos": 1,
            "verdict": {"detector": "unit_cost", "score": 9.0, "threshold": 5.0},
            "config_version": "defaults",
            "evidence": {
                "traces": [{"trace_id": "t", "calls": 1, "cost_nanos": 1, "started_at": at(T0)}],
                "top": [],
            },
        }
    )


@pytest.mark.parametrize("scope", ["narrowest", "workflow", "trace", "customer"])
def test_no_rule_stops_a_team_but_one_for_teams(scope: str) -> None:
    rule = Rule.model_validate({"name": "r", "scope": scope, "action": {"action": "slow", "max_rps": 1.0}})
    assert rule_for(alert_of(Watched(kind="team", value="payments")), [rule]) is None
    assert rule_for(alert_of(Watched(kind="team", value="payments")), []) is None


def test_a_rule_for_teams_stops_the_team() -> None:
    rules = [
        Rule(name="traces", scope="trace", action=RuleSlow(max_rps=1.0)),
        Rule(name="teams", scope="team", match=Match(), action=RuleSlow(max_rps=1.0)),
    ]
    of_team = alert_of(Watched(kind="team", value="payments"))
    assert rule_for(of_team, rules) == rules[1]
    assert levels(rules[1], of_team) == [[Scope(kind="team", value="payments")]]
    assert rule_for(alert_of(None), rules) == rules[0]


def test_a_tuning_for_everything_or_for_the_team_holds_for_a_team_and_no_pattern_does() -> None:
    made = BOOK
    for offset, (scope, budget) in enumerate(
        [
            (TuningScope(), 1.0),
            (TuningScope(workflow="*"), 2.0),
            (TuningScope(workflow="team*"), 3.0),
            (TuningScope(team="payments"), 4.0),
        ]
    ):
        record = Tuning(name=f"t{offset}", scope=scope, settings=TuningSettings(page_budget=budget))
        made = made.apply(control_key(record), record.to_json(), offset)
    assert made.workflow(TEAM, "payments").page_budget == 4.0
    assert made.workflow("customer\x1facme", None).page_budget == 1.0
    assert made.workflow("team payments", "payments").page_budget == 3.0


def test_ten_times_the_spend_of_one_of_thirty_is_not_everybodys() -> None:
    assert 10 / (WORKFLOWS - 1 + 10) > SPREAD > 9 / (WORKFLOWS - 1 + 9) - 0.02


def test_a_scope_is_read_from_the_topic_like_any_rollup() -> None:
    record = team(T0, {"a": [Doing("t-1")]})
    assert read_rollup(record.to_json()) == record


def test_what_is_folded_for_a_budget_alone_leaves_no_state() -> None:
    states: dict[str, WorkflowState] = {}
    desk = Desk(0, states.get)
    delta = team(T0, {"w0": [Doing("a")]})
    states.update(desk.apply(delta, 0, 0.0, BOOK).changed)
    assert states == {}
    states.update(desk.apply(delta, 1, 0.0, WATCHED).changed)
    assert set(states) == {TEAM}
    assert states[TEAM].totals.calls == delta.calls
    states.update(desk.apply(delta, 2, 0.0, BOOK).changed)
    assert states[TEAM].totals.calls == 2 * delta.calls, "what was watched once is brought to its end"
