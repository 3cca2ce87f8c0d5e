"""Which rule decides, which scope is throttled, and that it is a dry run unless asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from schemas.alerts import Alert, DimensionEvidence, Evidence, Kind, TraceEvidence, Verdict
from schemas.control import Match, Rule, RuleSlow
from service.rules.throttle import DEFAULT_RULE, DOMINANT_SHARE, MAX_TRACES, levels, matches, rule_for

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


def first(rules: Sequence[Rule], found: Alert) -> list[str]:
    """Keys of the narrowest level."""
    decides = rule_for(found, rules)
    return [scope.key for scope in next(iter(levels(decides, found)), [])] if decides else []


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
    assert first([rule(scope=scope)], alert(**found)) == expected


def test_when_the_traces_to_blame_have_ended_nobody_else_pays() -> None:
    """A loop that stopped by itself once blocked its whole workflow, ten minutes later."""
    over = alert(top=[CUSTOMER], blames_traces=True)
    assert first([rule()], over) == []
    assert first([rule()], alert(top=[CUSTOMER])) == ["customer:acme@support"]
    assert first([rule(scope="workflow")], over) == ["workflow:support"]


def test_a_team_is_throttled_only_where_one_is_known() -> None:
    assert first([rule(scope="team")], alert(team=None)) == []


def test_only_the_dearest_traces_are_named() -> None:
    assert first([rule()], alert(traces=9)) == [f"trace:t{i}@support" for i in range(MAX_TRACES)]


def test_without_rules_a_loop_is_a_dry_run_of_its_traces() -> None:
    assert first([], alert(traces=1)) == ["trace:t0@support"]
    assert first([], alert(kind="dearer_calls", traces=1)) == []
    assert DEFAULT_RULE.action.action == "block"
    assert DEFAULT_RULE.mode == Rule.model_fields["mode"].default == "dry_run"


def test_an_installation_with_rules_of_its_own_has_only_those() -> None:
    other = rule(match=Match(kinds=["creep"]))
    assert first([other], alert(traces=1)) == []


def test_a_notice_throttles_nothing() -> None:
    assert first([rule()], alert(kind="launch", severity="info", traces=2)) == []


@pytest.mark.parametrize("kind", ["data_quality", "throttle"])
def test_what_says_nothing_of_traffic_never_stops_it(kind: Any) -> None:
    doubt = alert(kind=kind, severity="warning", traces=2, top=[("customer", "acme", 1.0)])
    for match in (Match(), Match(kinds=[kind])):
        assert first([rule(match=match)], doubt) == []
        assert first([rule(match=match, scope="workflow")], doubt) == []


def test_the_first_rule_that_matches_decides() -> None:
    rules = [
        rule(name="a", match=Match(workflow="billing-*")),
        rule(name="b", min_excess_usd=Decimal(100)),
        rule(name="c", scope="workflow", mode="enforce"),
        rule(name="d"),
    ]
    decides = rule_for(alert(traces=2), rules)
    assert decides is not None
    assert decides.name == "c"


def test_a_budget_is_throttled_for_only_where_a_rule_names_it() -> None:
    cases: list[tuple[Kind, str]] = [("budget_exhausted", "budget.hard"), ("budget_pace", "budget.pace")]
    for kind, detector in cases:
        of_budget = alert(kind=kind, verdict=Verdict(detector=detector, score=1.0, threshold=1.0))
        assert first([rule()], of_budget) == []
        assert first([rule(match=Match(kinds=[kind]))], of_budget) == ["workflow:support"]


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
