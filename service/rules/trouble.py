"""What throttling is told and what it tells: incidents that go on, terms that hold, what became of scopes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from schemas.control import Approval, Guard, Rule
from schemas.throttles import Scope, ThrottleCommand
from service.rules.config import ConfigBook
from service.rules.ladder import Change


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
    """

    fingerprint: str
    rule: str
    reason: str
    levels: tuple[tuple[Target, ...], ...]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a scope did since the last `advance`."""

    calls: int
    spent: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration says of throttles."""

    rules: Mapping[str, Rule]
    guard: Guard = field(default_factory=Guard)
    approvals: Mapping[str, Approval] = field(default_factory=dict)
    on: bool = True
    config_version: str = "defaults"

    @classmethod
    def of(cls, book: ConfigBook) -> Terms:
        guards = book.of_kind(Guard)
        return cls(
            rules={rule.name: rule for rule in book.rules},
            guard=guards[0] if guards else Guard(),
            approvals={approval.proposal: approval for approval in book.of_kind(Approval)},
            on=book.throttles_on,
            config_version=book.version,
        )


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
