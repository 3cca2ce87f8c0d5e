"""What there is to say about one group of alerts to one receiver, and when. Pure: the time is handed in.

It is found anew each time from what goes on, what the receiver knows and who took it, and kept nowhere: a restart
or another replica comes to the same, and a record that is read twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from schemas.alerts import Alert
from schemas.control import Escalation
from schemas.notifications import MAX_TOLD, Acknowledgement, NotificationLogEntry, ToldAlert
from schemas.throttles import ThrottleEvent
from service.notify.board import Held
from service.notify.notification import NEWS, RANK, Change, Line
from service.notify.quiet import Mute
from service.notify.routing import Destination, Pace
from service.rules.measures import told_at

LOOK_AGAIN: Final = timedelta(seconds=30)
"""How soon it is looked again at what is muted: silences end, and nobody says so."""


@dataclass(frozen=True, slots=True)
class Member:
    """One alert of a group, as things are for this receiver."""

    held: Held
    destination: Destination
    mute: Mute | None = None
    acknowledgement: Acknowledgement | None = None
    escalated_from: tuple[str, ...] = ()
    muted_at: datetime | None = None
    """When it was last seen to be muted: nobody could have answered until then."""
    measures: tuple[ThrottleEvent, ...] = ()
    """What was done about it."""

    @property
    def fingerprint(self) -> str:
        return self.held.alert.fingerprint

    def line(self, alert: Alert, change: Change | None) -> Line:
        return Line(alert, change, self.acknowledgement, self.measures)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a group found.

    Attributes
    ----------
    due : datetime or None
        When it is to be told; None if there is nothing to tell.
    again : datetime or None
        When to look again although nothing was read: something may have changed by itself.
    page : bool
        Whether a critical alert is new in it.
    idle : dict of str to Mute or None
        Members that concern the receiver no more, and why they were never told; None if they were.
    escalations : tuple of (str, Escalation)
        Members that others are to be told of now.
    """

    due: datetime | None = None
    again: datetime | None = None
    firing: tuple[Line, ...] = ()
    resolved: tuple[Line, ...] = ()
    changes: frozenset[Change] = frozenset()
    page: bool = False
    omitted: int = 0
    muted: int = 0
    idle: Mapping[str, Mute | None] = field(default_factory=dict)
    escalations: tuple[tuple[str, Escalation], ...] = ()
    escalated_from: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found:
    """A look in the making."""

    firing: list[Line] = field(default_factory=list)
    resolved: list[Line] = field(default_factory=list)
    joined: list[tuple[datetime, Member]] = field(default_factory=list)
    dues: list[tuple[datetime, bool]] = field(default_factory=list)
    agains: list[datetime] = field(default_factory=list)
    idle: dict[str, Mute | None] = field(default_factory=dict)
    escalations: list[tuple[str, Escalation]] = field(default_factory=list)
    escalated_from: set[str] = field(default_factory=set)
    muted: int = 0
    unattended: int = 0


def look(
    entry: NotificationLogEntry | None,
    members: Sequence[Member],
    now: datetime,
    wants: frozenset[Change] = NEWS,
    frozen: Mapping[str, Change] | None = None,
) -> Look:
    """Look at a group.

    Parameters
    ----------
    entry : NotificationLogEntry or None
        What the receiver knows of it.
    frozen : mapping of str to Change
        When a notification was tried already and is tried again: its changes. Then it says the same, as things
        are now: a receiver that was out of reach hears of a beginning before it hears of the end.
    """
    known = {told.fingerprint: told for told in entry.firing} if entry is not None else {}
    ended = {one.fingerprint: one.sequence for one in entry.ended} if entry is not None else {}
    found = _Found()
    for member in sorted(members, key=lambda m: m.fingerprint):
        told = known.pop(member.fingerprint, None)
        if frozen is not None:
            _again(found, member, told, frozen.get(member.fingerprint))
        elif told is None:
            _untold(found, member, entry, ended.get(member.fingerprint), now)
        else:
            _told(found, member, told, entry, now, wants)
    # What is left in `known` the receiver believes to fire, and no record of it has been read again yet.
    room = MAX_TOLD - len(found.firing) - len(known)
    taken = sorted(found.joined, key=_urgency)[: max(room, 0)]
    for due, member in taken:
        assert member.held.firing is not None
        found.firing.append(member.line(member.held.firing, Change.JOINED))
        found.escalated_from.update(member.escalated_from)
        found.dues.append((due, member.held.firing.severity == "critical"))
    return _sum_up(found, entry, not known, len(found.joined) - len(taken), members, frozen is not None)


def _untold(
    found: _Found, member: Member, entry: NotificationLogEntry | None, ended: int | None, now: datetime
) -> None:
    """An alert that the receiver has not heard of, or whose end it has heard of."""
    held, pace = member.held, member.destination.pace
    if held.firing is None or (ended is not None and held.alert.sequence <= ended):
        found.idle[member.fingerprint] = None
        return
    severity = held.firing.severity
    ready = due = held.first_at + pace.before(severity)
    if entry is not None:
        due = max(due, entry.sent_at + _interval(pace, severity == "critical"))
    if held.over_at is not None and (member.mute is not None or held.over_at <= due):
        found.idle[member.fingerprint] = member.mute or Mute.SHORT
        return
    if member.mute is not None:
        found.muted += 1
        found.agains.append(now + LOOK_AGAIN)
        return
    found.joined.append((due, member))
    _escalate(found, member, max(ready, member.muted_at or ready), now)


def _told(
    found: _Found,
    member: Member,
    told: ToldAlert,
    entry: NotificationLogEntry | None,
    now: datetime,
    wants: frozenset[Change],
) -> None:
    """An alert that the receiver believes to fire."""
    assert entry is not None
    held, taken = member.held, member.acknowledgement
    if held.is_over or held.firing is None:
        found.resolved.append(member.line(held.alert, Change.RESOLVED))
        return
    alert = held.firing
    if member.mute is None and RANK[alert.severity] > RANK[told.severity]:
        found.firing.append(member.line(alert, Change.WORSENED))
        page = alert.severity == "critical"
        found.dues.append((entry.sent_at + _interval(member.destination.pace, page), page))
    elif taken is not None and not told.acknowledged and Change.ACKNOWLEDGED in wants:
        found.firing.append(member.line(alert, Change.ACKNOWLEDGED))
        found.dues.append((taken.at, False))
    elif (done_at := _news_of_measures(member, told, wants)) is not None:
        found.firing.append(member.line(alert, Change.THROTTLED))
        # A ladder's first steps come close upon each other.
        found.dues.append((max(done_at, entry.sent_at + _interval(member.destination.pace, True)), False))
    else:
        found.firing.append(member.line(alert, None))
    if member.mute is not None:
        found.muted += 1
        found.agains.append(now + LOOK_AGAIN)
    elif taken is None:
        # A notice asks nobody to do anything.
        found.unattended += alert.severity != "info"
        _escalate(found, member, told.told_at, now)


def _news_of_measures(member: Member, told: ToldAlert, wants: frozenset[Change]) -> datetime | None:
    """When something was done of which the receiver has not heard, if it wants to."""
    if member.mute is not None or Change.THROTTLED not in wants:
        return None
    done_at = told_at(member.measures)
    known = told.throttled_at
    return done_at if done_at is not None and (known is None or done_at > known) else None


def _again(found: _Found, member: Member, told: ToldAlert | None, change: Change | None) -> None:
    """An alert in a notification that is tried again."""
    held = member.held
    if change is None and told is None:
        return
    if change is Change.RESOLVED and held.is_over:
        found.resolved.append(member.line(held.alert, change))
    elif held.firing is not None:
        if told is None and member.mute is not None:
            return
        change = None if change is Change.RESOLVED else change
        found.firing.append(member.line(held.firing, change))
        if change is Change.JOINED:
            found.escalated_from.update(member.escalated_from)


def _escalate(found: _Found, member: Member, since: datetime, now: datetime) -> None:
    if member.acknowledgement is not None or member.held.is_over:
        return
    for escalation in member.destination.escalations:
        at = since + timedelta(seconds=escalation.after_s)
        if at <= now:
            found.escalations.append((member.fingerprint, escalation))
        else:
            found.agains.append(at)


def _interval(pace: Pace, page: bool) -> timedelta:
    return min(pace.page_interval, pace.interval) if page else pace.interval


def _urgency(joining: tuple[datetime, Member]) -> tuple[int, datetime, str]:
    due, member = joining
    assert member.held.firing is not None
    return -RANK[member.held.firing.severity], due, member.fingerprint


def _sum_up(
    found: _Found,
    entry: NotificationLogEntry | None,
    all_known: bool,
    omitted: int,
    members: Sequence[Member],
    again: bool,
) -> Look:
    if found.resolved and entry is not None and not again:
        closing = not found.firing and all_known
        pace = members[0].destination.pace
        found.dues.append((entry.sent_at + _interval(pace, closing), False))
    lines = [*found.firing, *found.resolved]
    changes = {line.change for line in lines if line.change is not None}
    due = min((at for at, _ in found.dues), default=None)
    if Change.JOINED in changes and (entry is None or not entry.firing):
        changes.add(Change.OPENED)
    if found.escalated_from:
        changes.add(Change.ESCALATED)
    if not changes and found.unattended and entry is not None:
        repeat = min(member.destination.pace.repeat for member in members)
        if repeat:
            changes, due = {Change.REPEATED}, entry.sent_at + repeat
    return Look(
        due=due if changes else None,
        again=min(found.agains, default=None),
        firing=tuple(sorted(found.firing, key=_order)),
        resolved=tuple(sorted(found.resolved, key=_order)),
        changes=frozenset(changes),
        page=any(page for _, page in found.dues),
        omitted=omitted,
        muted=found.muted,
        idle=found.idle,
        escalations=tuple(found.escalations),
        escalated_from=tuple(sorted(found.escalated_from)),
    )


def _order(line: Line) -> tuple[int, float, str]:
    """The most severe first, then the newest."""
    return -RANK[line.alert.severity], -line.alert.started_at.timestamp(), line.alert.fingerprint


def lead(firing: Iterable[Line], resolved: Iterable[Line]) -> Alert | None:
    """The alert to speak of first: of what is new and goes on, else of what is over, else of what goes on."""
    going, over = list(firing), list(resolved)
    news = [line for line in going if line.change is not None]
    first = min(news or over or going, key=_order, default=None)
    return first.alert if first is not None else None
