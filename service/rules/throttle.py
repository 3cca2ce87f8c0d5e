"""What to throttle when an incident fires: which rule decides, and the narrowest scope that stops the bleeding."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from schemas.alerts import Alert, Evidence
from schemas.control import Match, Rule, RuleBlock
from schemas.money import nanos
from schemas.throttles import Scope, ScopeKind

MAX_TRACES: Final = 5
"""Traces named one by one; a leak through more of them is not a trace's fault but the workflow's."""
DOMINANT_SHARE: Final = 0.8
"""A customer or key with this share of the spend is the narrower scope."""

DEFAULT_RULE: Final = Rule(
    name="default",
    match=Match(kinds=["retry_loop", "runaway_trace"]),
    scope="trace",
    action=RuleBlock(
        message="Stopped by Tidegate: this trace spends far more than its workflow's traces do."
    ),
    mode="dry_run",
)
"""Holds where no rule is configured: says what would be blocked, blocks nothing."""


def rule_for(alert: Alert, rules: Sequence[Rule]) -> Rule | None:
    """The rule that decides what becomes of the traffic: the first that matches, of no rules `DEFAULT_RULE`."""
    # Traffic is not to blame for what is not known of its price, or for what Tidegate says of its own throttles. A
    # budget stops calls by itself where it should: a rule does so only if it names the kind.
    if alert.severity == "info" or alert.kind in ("data_quality", "throttle"):
        return None
    if alert.of_budget:
        rules = [rule for rule in rules if rule.match.kinds is not None]
    return next((rule for rule in rules or (DEFAULT_RULE,) if _matches(rule, alert)), None)


def matches(match: Match, alert: Alert) -> bool:
    """Whether an alert is one that a rule, silence or route is about."""
    return (
        fnmatchcase(alert.workflow, match.workflow)
        and (match.team is None or (alert.team is not None and fnmatchcase(alert.team, match.team)))
        and (match.kinds is None or alert.kind in match.kinds)
        and (match.severities is None or alert.severity in match.severities)
    )


def _matches(rule: Rule, alert: Alert) -> bool:
    # What a scope does, its workflows do, and their own alerts stop it as narrowly as can be: the scope as a whole
    # is stopped by a rule that is for scopes of its kind, and by no other.
    if alert.scope is not None and rule.scope != alert.scope.kind:
        return False
    return matches(rule.match, alert) and alert.excess_nanos >= nanos(rule.min_excess_usd)


def levels(rule: Rule, alert: Alert) -> list[list[Scope]]:
    """What could be throttled, the narrowest first; none of the lists is empty.

    Where traces are to blame nothing wider pays for it, even if the evidence names none of them any more.
    """
    if alert.scope is not None and rule.scope != "narrowest":
        return [[Scope(kind=rule.scope, value=alert.scope.value)]]
    workflow = Scope(kind="workflow", value=alert.workflow)
    traces = [
        Scope(kind="trace", value=trace.trace_id, workflow=alert.workflow)
        for trace in alert.evidence.traces[:MAX_TRACES]
    ]
    match rule.scope:
        case "narrowest":
            # Evidence names traces only where traces are to blame: then they are all that needs to stop.
            wider = [
                _dominant("customer", alert.evidence, alert.workflow),
                _dominant("api_key", alert.evidence, alert.workflow),
                [workflow],
            ]
            found = [traces] if alert.blames_traces else [traces, *wider]
        case "trace":
            found = [traces]
        case "workflow":
            found = [[workflow]]
        case "team":
            found = [[Scope(kind="team", value=alert.team)]] if alert.team else []
        case "organisation":
            found = [[Scope(kind="organisation", value="organisation")]]
        case kind:
            found = [_dominant(kind, alert.evidence, alert.workflow)]
    return [level for level in found if level]


def _dominant(kind: ScopeKind, evidence: Evidence, workflow: str) -> list[Scope]:
    for item in evidence.top:
        if item.dimension == kind and item.share >= DOMINANT_SHARE:
            return [Scope(kind=kind, value=item.value, workflow=workflow)]
    return []
