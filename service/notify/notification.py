"""What a receiver is handed: everything that is to be said at one time about one incident. Pure.

An *incident* is what people deal with as one thing: the alerts of one group (by default those of one team, owner
and kind), from the first that is told to the last that is over. A receiver that can edit what it said keeps one
message, page or thread per `incident`; one that cannot says what is new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from schemas.alerts import Alert, Severity
from schemas.notifications import Acknowledgement
from schemas.throttles import ThrottleEvent
from service.notify.tidings import Tidings

RANK: Final[Mapping[Severity, int]] = {"info": 0, "warning": 1, "critical": 2}

Occasion = Literal["incident", "storm", "daily", "changes"]
"""incident = one group of alerts; storm = the one digest of all that the cap on notifications held back, which is
an incident of its own from then on; daily = what the last day was like; changes = of the configuration, or an
announced launch: nothing to act on in either, sent once."""

_OF_NO_INCIDENT: Final = frozenset({"daily", "changes"})


class Change(StrEnum):
    """Why a receiver is told now. A notification may have several; `Notification.why` is the foremost."""

    ESCALATED = "escalated"
    """Nobody acknowledged it in time at the receivers that were told first. Only on an escalation's first one."""
    OPENED = "opened"
    """An incident begins: the receiver has not heard of it."""
    JOINED = "joined"
    """Further alerts are part of it now."""
    WORSENED = "worsened"
    """An alert is more severe than the receiver was told."""
    RESOLVED = "resolved"
    """Alerts are over: all that are left if `Notification.over`."""
    ACKNOWLEDGED = "acknowledged"
    """Somebody took it. Only to receivers that want it."""
    THROTTLED = "throttled"
    """What holds it back has changed, or does so no more. Only to receivers that want it."""
    REPEATED = "repeated"
    """Nothing is new, but it still goes on, and nobody took it."""
    DIGEST = "digest"
    """The daily one."""
    CHANGED = "changed"
    """The configuration, or what a launch record announces."""


UPDATES: Final = frozenset({Change.ACKNOWLEDGED, Change.THROTTLED})
"""What asks nobody to look: it belongs into what was said before."""
NEWS: Final = frozenset(Change) - UPDATES
"""What a receiver wants that can only add to what it said, as a plain webhook of Slack."""


@dataclass(frozen=True, slots=True)
class Line:
    """One alert within a notification.

    Attributes
    ----------
    alert : Alert
        Its latest record of the status that is told.
    change : Change or None
        What is new about it: JOINED (also in a notification that opens an incident), WORSENED, RESOLVED,
        ACKNOWLEDGED or THROTTLED; None for what the receiver knows already.
    acknowledgement : Acknowledgement or None
        Who took it.
    measures : tuple of ThrottleEvent
        What was done about it, or would have been, or was not: the latest of each scope.
    """

    alert: Alert
    change: Change | None = None
    acknowledgement: Acknowledgement | None = None
    measures: tuple[ThrottleEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldBack:
    """What a digest stands for.

    Attributes
    ----------
    notifications : int
        That would have been sent one by one.
    cap, within_s : int, float
        The cap that was reached: notifications, and seconds. 0 in a daily digest.
    """

    notifications: int
    cap: int = 0
    within_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Links:
    """Where people go from here: http(s) URLs, None where nobody configured one."""

    console: str | None = None
    """The lead alert, in the console."""
    runbook: str | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one receiver.

    Attributes
    ----------
    receiver : str
        The name it has in the settings.
    group : str
        Key of the group: the same for ever for the same labels, `kind=retry_loop,owner=,team=care`.
    labels : tuple of (str, str)
        The same as pairs, by name; empty for digests.
    incident : str
        Key of the incident, at most 64 characters of `[a-z0-9-]`, the same at every receiver: for PagerDuty's
        `dedup_key`, a message to update, a thread. When a group begins again later, it is another one.
    sequence : int
        1, 2, … per receiver and incident, the same in every attempt: `idempotency_key` is made of it.
    at : datetime
        Wall time it was put together, UTC.
    changes : frozenset of Change
    firing : tuple of Line
        Alerts of the incident that go on, the most severe first, then the newest: what has `change` and what the
        receiver knows already. For the daily digest: all that fire.
    resolved : tuple of Line
        Alerts that are over and whose end the receiver has not heard of. For the daily digest: all that ended
        within the day.
    lead : Alert or None
        The alert to speak of first: the most severe of what is new. None only in a daily digest of a quiet day, and
        where there are `tidings`.
    omitted : int
        Alerts of the group that are not in `firing`, because a group is told of at most so many.
    reference : str or None
        What the receiver called the incident when it was told first, as `Delivered.reference` gave it: a message's
        channel and time stamp, a Message-ID.
    held_back : HeldBack or None
        In digests.
    escalated_from : tuple of str
        Receivers at which nobody acknowledged it.
    since : datetime or None
        In a daily digest: where the day begins, UTC; it ends at `at`.
    remark : str or None
        What somebody said before that changed how the lead's workflow is judged: `quieter since ada said …`.
    tidings : Tidings or None
        Where the occasion is `changes`: what it is about; then there are no alerts in it.
    """

    receiver: str
    group: str
    labels: tuple[tuple[str, str], ...]
    incident: str
    sequence: int
    at: datetime
    changes: frozenset[Change]
    firing: tuple[Line, ...]
    resolved: tuple[Line, ...]
    lead: Alert | None
    occasion: Occasion = "incident"
    omitted: int = 0
    reference: str | None = None
    held_back: HeldBack | None = None
    escalated_from: tuple[str, ...] = ()
    since: datetime | None = None
    links: Links = field(default_factory=Links)
    remark: str | None = None
    tidings: Tidings | None = None

    @property
    def why(self) -> Change:
        """The foremost of the changes."""
        return next(change for change in Change if change in self.changes)

    @property
    def over(self) -> bool:
        """Whether nothing of the incident goes on any more: close it."""
        return self.occasion not in _OF_NO_INCIDENT and not self.firing

    @property
    def severity(self) -> Severity:
        """Of the most severe alert that goes on, or if none does, that is over."""
        lines = self.firing or self.resolved
        return max((line.alert.severity for line in lines), key=RANK.__getitem__, default="info")

    @property
    def notice(self) -> bool:
        """Whether it asks nobody to do anything: notices, launches among them, digests of a day, and changes."""
        return self.occasion in _OF_NO_INCIDENT or self.severity == "info"

    @property
    def measures(self) -> tuple[ThrottleEvent, ...]:
        """What was done about the lead alert."""
        lines = (*self.firing, *self.resolved)
        return next((line.measures for line in lines if line.alert is self.lead), ())

    @property
    def acknowledgement(self) -> Acknowledgement | None:
        """Who took the incident: the latest acknowledgement, if every alert that goes on has one."""
        found = [line.acknowledgement for line in self.firing]
        taken = [one for one in found if one is not None]
        return max(taken, key=lambda one: one.at) if taken and len(taken) == len(found) else None

    @property
    def news(self) -> tuple[Line, ...]:
        """What the receiver has not heard: the lines with a change, those that go on first."""
        return tuple(line for line in (*self.firing, *self.resolved) if line.change is not None)

    @property
    def cost_nanos(self) -> int:
        """What the alerts in it have cost so far, in all. Alerts about budgets cost nothing themselves."""
        return sum(
            line.alert.cost_nanos for line in (*self.firing, *self.resolved) if not line.alert.of_budget
        )

    @property
    def idempotency_key(self) -> str:
        """`INCIDENT/SEQUENCE`: the same however often this notification is tried."""
        return f"{self.incident}/{self.sequence}"
