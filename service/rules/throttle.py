"""What to throttle when an incident fires: the narrowest scope that stops the bleeding, for a limited time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from schemas.alerts import Alert, Evidence
from schemas.control import Match, Rule, RuleBlock
from schemas.money import format_usd, nanos
from schemas.throttles import Release, Scope, ScopeKind, ThrottleCommand

MAX_TRACES: Final = 5
"""Traces named one by one; a leak through more of them is not a trace's fault but the workflow's."""
DOMINANT_SHARE: Final = 0.8
"""A customer or key with this share of the spend is the narrower scope."""
RENEW_BEFORE_S: Final = 60.0

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


class ActiveThrottle(msgspec.Struct, array_like=True):
    """The last command sent for one scope. Times are epoch seconds of event time."""

    kind: ScopeKind
    value: str
    workflow: str | None
    command_id: str
    fingerprint: str
    sequence: int
    expires: float
    mode: str
    renew: float = 0.0
    """When to send it again if its incident still fires."""


def throttle(
    rules: Sequence[Rule],
    alert: Alert,
    active: Mapping[str, ActiveThrottle],
    now: float,
    *,
    traces_to_blame: bool = False,
) -> list[ThrottleCommand]:
    """Commands for a firing alert: new ones, and renewals of those about to expire.

    Parameters
    ----------
    rules : sequence of Rule
        The first that matches decides; `DEFAULT_RULE` if there is none at all.
    active : mapping of str to ActiveThrottle
        What was sent before, by scope key: a scope is not throttled twice.
    now : float
        Epoch seconds of event time.
    traces_to_blame : bool
        It was traces, even if the evidence names none any more: they have ended, and nothing wider must pay
        for it.
    """
    rule = rule_for(alert, rules)
    if rule is None:
        return []
    commands = []
    for scope in next(iter(levels(rule, alert, traces_to_blame=traces_to_blame)), []):
        present = active.get(scope.key)
        if present is not None and now < present.renew and present.mode == rule.mode:
            continue
        # One more than a release of the same instant has: it is what happens last.
        sequence = max(round(now * 1e6), present.sequence if present else 0) + 1
        commands.append(
            ThrottleCommand(
                command_id=_command_id(alert.fingerprint, scope, sequence),
                scope=scope,
                action=rule.action,
                reason=f"{alert.kind} in {alert.workflow}: {format_usd(alert.excess_nanos)} over the usual",
                alert_fingerprint=alert.fingerprint,
                mode=rule.mode,
                issued_at=_at(now),
                expires_at=_at(now + rule.duration_s),
                sequence=sequence,
                config_version=alert.config_version,
            )
        )
    return commands


def release(
    throttles: Iterable[ActiveThrottle], now: float, reason: str, config_version: str
) -> list[ThrottleCommand]:
    """Commands that end throttles before they expire."""
    commands = []
    for present in throttles:
        scope = Scope(kind=present.kind, value=present.value, workflow=present.workflow)
        sequence = max(round(now * 1e6), present.sequence + 1)
        commands.append(
            ThrottleCommand(
                command_id=_command_id(present.fingerprint, scope, sequence),
                scope=scope,
                action=Release(),
                reason=reason,
                alert_fingerprint=present.fingerprint,
                mode="dry_run" if present.mode == "dry_run" else "enforce",
                issued_at=_at(now),
                expires_at=_at(max(present.expires, now + RENEW_BEFORE_S)),
                sequence=sequence,
                config_version=config_version,
            )
        )
    return commands


def activate(command: ThrottleCommand) -> ActiveThrottle:
    """What is remembered of a command that was sent."""
    expires = command.expires_at.timestamp()
    return ActiveThrottle(
        kind=command.scope.kind,
        value=command.scope.value,
        workflow=command.scope.workflow,
        command_id=command.command_id,
        fingerprint=command.alert_fingerprint or "",
        sequence=command.sequence,
        expires=expires,
        mode=command.mode,
        renew=expires - min(RENEW_BEFORE_S, (expires - command.issued_at.timestamp()) / 2),
    )


def rule_for(alert: Alert, rules: Sequence[Rule]) -> Rule | None:
    """The rule that decides what becomes of the traffic: the first that matches, of no rules `DEFAULT_RULE`."""
    # Traffic is not to blame for what is not known of its price: no rule, however wide, stops it for that.
    if alert.severity == "info" or alert.kind == "data_quality":
        return None
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


def levels(rule: Rule, alert: Alert, *, traces_to_blame: bool = False) -> list[list[Scope]]:
    """What could be throttled, the narrowest first; none of the lists is empty.

    With `traces_to_blame` it was traces, even if the evidence names none any more: nothing wider pays for it.
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
            found = [traces] if traces_to_blame else [traces, *wider]
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


def _command_id(fingerprint: str, scope: Scope, sequence: int) -> str:
    digest = hashlib.blake2b(f"{fingerprint}\0{scope.key}\0{sequence}".encode(), digest_size=8)
    return digest.hexdigest()


def _at(epoch: float) -> datetime:
    return datetime.fromtimestamp(round(epoch, 3), UTC)
