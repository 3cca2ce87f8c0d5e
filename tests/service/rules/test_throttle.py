"""Which scope is throttled, how often, until when, in which order, and that it is a dry run unless asked."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.alerts import Alert, DimensionEvidence, Evidence, TraceEvidence, Verdict
from schemas.control import Match, Rule, RuleBlock, RuleSlow
from schemas.decode import decode
from schemas.throttles import ThrottleCommand
from service.rules.throttle import (
    DEFAULT_RULE,
    DOMINANT_SHARE,
    MAX_TRACES,
    ActiveThrottle,
    activate,
    matches,
    release,
    throttle,
)

T = 1_767_225_600.0
START = datetime(2026, 1, 1, tzinfo=UTC)
SLOW = RuleSlow(max_rps=1.0)


def rule(**fields: Any) -> Rule:
    defaults: dict[str, Any] = {"name": "r", "action": SLOW}
    return Rule(**(defaults | fields))


def alert(
    kind: str = "retry_loop",
    severity: str = "critical",
    traces: int = 0,
    top: list[tuple[str, str, float]] | None = None,
    **fields: Any,
) -> Alert:
    evidence = Evidence(
        traces=[
            TraceEvidence(trace_id=f"t{i}", calls=9, cost_nanos=10**9 - i, started_at=START)
            for i in range(traces)
        ],
        top=[
            DimensionEvidence(dimension=d, value=v, calls=1, cost_nanos=1, share=share)  # type: ignore[arg-type]
            for d, v, share in top or []
        ],
    )
    defaults: dict[str, Any] = {
        "fingerprint": "f1",
        "status": "firing",
        "severity": severity,
        "kind": kind,
        "workflow": "support",
        "team": "care",
        "started_at": START,
        "updated_at": START,
        "sequence": 1,
        "summary": "s",
        "cost_nanos": 5,
        "expected_nanos": 1,
        "excess_nanos": 4_000_000_000,
        "projected_nanos": 9,
        "evidence": evidence,
        "verdict": Verdict(detector="live_trace", score=9.0, threshold=4.0),
        "config_version": "3-abc",
    }
    return Alert(**(defaults | fields))


def keys(commands: list[ThrottleCommand]) -> list[str]:
    return [command.scope.key for command in commands]


def remember(commands: list[ThrottleCommand], active: dict[str, ActiveThrottle]) -> None:
    for command in commands:
        active[command.scope.key] = activate(command)


CUSTOMER = ("customer", "acme", 0.9)
KEY = ("api_key", "k1", 0.95)
MODEL = ("model", "big", 1.0)


@pytest.mark.parametrize(
    ("scope", "found", "expected"),
    [
        ("narrowest", {"traces": 2, "top": [CUSTOMER]}, ["trace:t0@support", "trace:t1@support"]),
        ("narrowest", {"top": [CUSTOMER, KEY]}, ["customer:acme@support"]),
        ("narrowest", {"top": [KEY, MODEL]}, ["api_key:k1@support"]),
        ("narrowest", {"top": [("customer", "acme", DOMINANT_SHARE - 0.01), MODEL]}, ["workflow:support"]),
        ("narrowest", {}, ["workflow:support"]),
        ("trace", {"traces": 1}, ["trace:t0@support"]),
        ("trace", {"top": [CUSTOMER]}, []),
        ("workflow", {"traces": 3}, ["workflow:support"]),
        ("feature", {"top": [("feature", "triage", 0.9)]}, ["feature:triage@support"]),
        ("environment", {}, []),
        ("organisation", {}, ["organisation"]),
        ("team", {"traces": 3}, ["team:care"]),
        ("customer", {"traces": 3, "top": [CUSTOMER, KEY]}, ["customer:acme@support"]),
        ("api_key", {"top": [CUSTOMER, KEY]}, ["api_key:k1@support"]),
        ("model", {"top": [CUSTOMER, MODEL]}, ["model:big@support"]),
        ("model", {"top": [("model", "big", 0.5)]}, []),
    ],
)
def test_the_scope_is_the_narrowest_that_the_evidence_names(
    scope: str, found: dict[str, Any], expected: list[str]
) -> None:
    assert keys(throttle([rule(scope=scope)], alert(**found), {}, T)) == expected


def test_when_the_traces_to_blame_have_ended_nobody_else_pays() -> None:
    """A loop that stopped by itself once blocked its whole workflow, ten minutes later."""
    over = alert(top=[CUSTOMER])
    assert throttle([rule()], over, {}, T, traces_to_blame=True) == []
    assert keys(throttle([rule()], over, {}, T)) == ["customer:acme@support"]
    assert keys(throttle([rule(scope="workflow")], over, {}, T, traces_to_blame=True)) == ["workflow:support"]


def test_a_team_is_throttled_only_where_one_is_known() -> None:
    assert throttle([rule(scope="team")], alert(team=None), {}, T) == []


def test_only_the_dearest_traces_are_named() -> None:
    commands = throttle([rule()], alert(traces=9), {}, T)
    assert keys(commands) == [f"trace:t{i}@support" for i in range(MAX_TRACES)]


def test_without_rules_a_loop_is_a_dry_run_of_its_traces() -> None:
    (command,) = throttle([], alert(traces=1), {}, T)
    assert command.mode == "dry_run"
    assert command.action.action == "block"
    assert command.scope.key == "trace:t0@support"
    assert throttle([], alert(kind="dearer_calls", traces=1), {}, T) == []
    assert DEFAULT_RULE.mode == Rule.model_fields["mode"].default == "dry_run"


def test_an_installation_with_rules_of_its_own_has_only_those() -> None:
    other = rule(match=Match(kinds=["creep"]))
    assert throttle([other], alert(traces=1), {}, T) == []


def test_a_notice_throttles_nothing() -> None:
    assert throttle([rule()], alert(kind="launch", severity="info", traces=2), {}, T) == []


@pytest.mark.parametrize("match", [Match(), Match(kinds=["data_quality"])])
def test_what_is_not_known_of_traffic_never_stops_it(match: Match) -> None:
    doubt = alert(kind="data_quality", severity="warning", traces=2, top=[("customer", "acme", 1.0)])
    assert throttle([rule(match=match)], doubt, {}, T) == []
    assert throttle([rule(match=match, scope="workflow")], doubt, {}, T, traces_to_blame=True) == []


def test_the_first_rule_that_matches_decides() -> None:
    rules = [
        rule(name="a", match=Match(workflow="billing-*")),
        rule(name="b", min_excess_usd=Decimal(100)),
        rule(name="c", scope="workflow", mode="enforce"),
        rule(name="d"),
    ]
    (command,) = throttle(rules, alert(traces=2), {}, T)
    assert (command.scope.kind, command.mode) == ("workflow", "enforce")


def test_a_command_says_what_how_long_and_why() -> None:
    (command,) = throttle([rule(mode="enforce", duration_s=90.0, scope="workflow")], alert(), {}, T)
    assert (command.expires_at - command.issued_at).total_seconds() == 90.0
    assert command.reason == "retry_loop in support: $4.00 over the usual"
    assert command.alert_fingerprint == "f1"
    assert command.config_version == "3-abc"
    assert decode(ThrottleCommand, command.to_json()).to_json() == command.to_json()


def test_a_scope_is_not_throttled_twice_and_is_renewed_in_time() -> None:
    active: dict[str, ActiveThrottle] = {}
    rules = [rule(duration_s=600.0)]
    first = throttle(rules, alert(traces=1), active, T)
    remember(first, active)
    assert throttle(rules, alert(traces=1), active, T + 539) == []
    assert keys(throttle(rules, alert(traces=2), active, T + 100)) == ["trace:t1@support"]
    renewed = throttle(rules, alert(traces=1), active, T + 540)
    assert keys(renewed) == ["trace:t0@support"]
    assert renewed[0].expires_at > first[0].expires_at
    assert renewed[0].sequence > first[0].sequence
    assert renewed[0].command_id != first[0].command_id


def test_a_short_throttle_is_renewed_before_it_ends_and_not_at_once() -> None:
    active: dict[str, ActiveThrottle] = {}
    rules = [rule(duration_s=10.0)]
    remember(throttle(rules, alert(traces=1), active, T), active)
    assert throttle(rules, alert(traces=1), active, T + 4) == []
    assert throttle(rules, alert(traces=1), active, T + 5) != []


def test_a_rule_that_turns_serious_replaces_its_dry_run_at_once() -> None:
    active: dict[str, ActiveThrottle] = {}
    remember(throttle([rule()], alert(traces=1), active, T), active)
    (command,) = throttle([rule(mode="enforce")], alert(traces=1), active, T + 1)
    assert command.mode == "enforce"
    assert command.sequence > active[command.scope.key].sequence


def test_a_release_is_newer_than_what_it_releases_and_still_valid() -> None:
    active: dict[str, ActiveThrottle] = {}
    commands = throttle([rule(mode="enforce")], alert(traces=2), active, T)
    remember(commands, active)
    for now in (T, T + 300, T + 10_000):
        released = release(active.values(), now, "over", "3-abc")
        assert keys(released) == keys(commands)
        for command, given_ in zip(released, commands, strict=True):
            assert command.action.action == "release"
            assert command.sequence > given_.sequence
            assert command.expires_at > command.issued_at
            assert command.mode == "enforce"
            assert decode(ThrottleCommand, command.to_json()).to_json() == command.to_json()


def test_a_throttle_after_a_release_at_the_same_instant_is_newer_than_it() -> None:
    active: dict[str, ActiveThrottle] = {}
    remember(throttle([rule()], alert(traces=1), active, T), active)
    (released,) = release(active.values(), T + 400, "over", "v")
    (again,) = throttle([rule()], alert(traces=1, fingerprint="f2"), {}, T + 400)
    assert again.sequence > released.sequence


def test_the_same_inputs_give_the_same_command() -> None:
    one, other = (throttle([rule()], alert(traces=3), {}, T) for _ in range(2))
    assert [c.to_json() for c in one] == [c.to_json() for c in other]
    assert len({c.command_id for c in one}) == 3


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.0, 300.0), st.integers(0, 6), st.booleans()), min_size=1, max_size=25),
    st.sampled_from([10.0, 60.0, 600.0, 86_400.0]),
)
def test_sequences_grow_and_nothing_lapses_while_the_alert_comes_in_time(
    steps: list[tuple[float, int, bool]], duration: float
) -> None:
    active: dict[str, ActiveThrottle] = {}
    last: dict[str, int] = {}
    now = T
    for seconds, traces, enforce in steps:
        now += min(seconds, duration / 2)
        rules = [rule(duration_s=duration, mode="enforce" if enforce else "dry_run")]
        firing = alert(traces=traces)
        commands = throttle(rules, firing, active, now)
        assert len(set(keys(commands))) == len(commands)
        for command in commands:
            assert command.sequence > last.get(command.scope.key, -1)
            last[command.scope.key] = command.sequence
        remember(commands, active)
        named = keys(throttle(rules, firing, {}, now))
        assert all(active[key].expires > now for key in named)
        assert all(active[key].mode == rules[0].mode for key in named)
        assert throttle(rules, firing, active, now) == [], "asked again at once it has nothing to add"


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (Match(), True),
        (Match(workflow="supp*"), True),
        (Match(workflow="Support"), False),
        (Match(team="ca?e"), True),
        (Match(team="other"), False),
        (Match(kinds=["retry_loop"], severities=["critical"]), True),
        (Match(kinds=["retry_loop"], severities=["warning"]), False),
        (Match(kinds=["launch"]), False),
    ],
)
def test_a_match_needs_all_that_it_names(match: Match, expected: bool) -> None:
    assert matches(match, alert()) is expected


def test_an_alert_without_a_team_matches_no_team() -> None:
    assert not matches(Match(team="*"), alert(team=None))


def test_a_block_says_its_message() -> None:
    (command,) = throttle([rule(action=RuleBlock(message="stop"), scope="workflow")], alert(), {}, T)
    assert command.action.model_dump() == {"action": "block", "message": "stop"}
