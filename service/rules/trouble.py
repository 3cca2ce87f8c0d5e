"""What throttling is told and what it tells: incidents that go on, terms that hold, what became of scopes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from schemas.alerts import Alert
from schemas.control import Approval, Guard, Rule
from schemas.money import format_usd
from schemas.throttles import Scope, ThrottleCommand
from service.rules.config import ConfigBook
from service.rules.ladder import Change
from service.rules.throttle import DEFAULT_RULE, levels, rule_for

FRESH_S: Final = 45.0
"""Alerts are sent again every minute: what was last seen before that is found to be so with the next one."""


@dataclass(frozen=True, slots=True)
class Target:
    """A scope that could be throttled, and the calls per second it usually makes: None if that is not known."""

    scope: Scope
    usual_rps: float | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """An incident that goes on now.

    Attributes
    ----------
    fingerprint : str
        The alert's.
    rule : str
        Name of the rule that matches it.
    reason : str
        One sentence for people.
    levels : tuple of tuple of Target
        What could be throttled, the narrowest first: the traces, else the customer, else the workflow. A wider
        level is taken only when the narrower one did not help for the ladder's `widen_s`.
    seen : float
        When the behaviour was last seen, epoch seconds; infinite where it simply lasts, as a used up budget does.
    """

    fingerprint: str
    rule: str
    reason: str
    levels: tuple[tuple[Target, ...], ...]
    seen: float = float("inf")
    fresh: bool = True
    """Whether that was just now when the alert was written: what is not over may have stopped long ago."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a scope did since the last `advance`."""

    calls: int
    spent: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration says of throttles.

    Attributes
    ----------
    rules : mapping of str to Rule
        By name, in the order in which they are asked.
    approvals : mapping of str to Approval
        By proposal.
    """

    rules: Mapping[str, Rule]
    guard: Guard = field(default_factory=Guard)
    approvals: Mapping[str, Approval] = field(default_factory=dict)
    on: bool = True
    config_version: str = "defaults"

    @classmethod
    def of(cls, book: ConfigBook) -> Terms:
        guards = book.of_kind(Guard)
        return cls(
            rules={rule.name: rule for rule in book.rules or [DEFAULT_RULE]},
            guard=guards[0] if guards else Guard(),
            approvals={approval.proposal: approval for approval in book.of_kind(Approval)},
            on=book.throttles_on,
            config_version=book.version,
        )


def trouble_of(alert: Alert, terms: Terms) -> Trouble | None:
    """A firing alert as throttling sees it; None where no rule is for it, or nothing can be named to throttle."""
    rule = rule_for(alert, list(terms.rules.values()))
    found = levels(rule, alert) if rule is not None else []
    if rule is None or not found:
        return None
    return Trouble(
        alert.fingerprint,
        rule.name,
        f"{alert.kind} in {alert.workflow}: {format_usd(alert.excess_nanos)} over the usual",
        tuple(tuple(Target(scope, _usual_rps(scope, alert)) for scope in level) for level in found),
        *_seen(alert),
    )


def _seen(alert: Alert) -> tuple[float, bool]:
    if alert.last_seen_at is None:
        return float("inf"), True
    ago = (alert.updated_at - alert.last_seen_at).total_seconds()
    return alert.last_seen_at.timestamp(), ago <= FRESH_S


def _usual_rps(scope: Scope, alert: Alert) -> float | None:
    """What the alert tells is of all that it is about; of a trace or customer within it nothing is known."""
    whole = scope.value == alert.workflow if alert.scope is None else scope.value == alert.scope.value
    return alert.usual_calls_per_s if whole else None


ToldKind = Literal["proposed", "withdrawn", "started", "barred", "ended"] | Change


@dataclass(frozen=True, slots=True)
class Told:
    """What happened to a scope: the record of what was done, or in a dry run would have been.

    Attributes
    ----------
    action : str
        In force from now on.
    why : str
        barred, rested: protected, limit, refused, lapsed or longest. ended: one sentence.
    since : float
        When the throttle began.
    spared : int
        dry run: nano-dollars that would not have been spent so far.
    proposal : str
        The id that an approval must name.
    """

    kind: ToldKind
    scope: Scope
    rule: str
    mode: Literal["enforce", "dry_run"]
    fingerprint: str
    at: float
    since: float
    action: str
    why: str
    spared: int
    proposal: str


@dataclass(slots=True)
class Moves:
    commands: list[ThrottleCommand] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
