"""What one receiver has still to be told, and whose turn it is. No I/O: the time is handed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from schemas.alerts import Severity
from schemas.control import Cap, Escalation
from schemas.notifications import MAX_RECENT, Acknowledgement, NotificationLogEntry
from schemas.throttles import ThrottleEvent
from service.notify import storm
from service.notify.board import Held, Standing
from service.notify.compose import given_up, notification, remember
from service.notify.group import Look, Member, look
from service.notify.notification import NEWS, RANK, UPDATES, Change, HeldBack, Links, Notification
from service.notify.quiet import Mute
from service.notify.routing import Destination


class World(Protocol):
    """What all receivers have in common."""

    def held(self, fingerprint: str) -> Held | None:
        """An alert that goes on, or is over and not told yet."""
        ...

    def entry(self, receiver: str, group: str) -> NotificationLogEntry | None: ...
    def incident_of(self, group: str) -> str | None: ...
    def acknowledgement(
        self, fingerprint: str, incident: str | None, told_at: datetime | None
    ) -> Acknowledgement | None: ...
    def measures(self, fingerprint: str) -> tuple[ThrottleEvent, ...]: ...
    def mute(self, held: Held, now: datetime) -> Mute | None: ...
    def cap(self, receiver: str) -> Cap: ...
    def links(self, found: Look) -> Links: ...
    def remark(self, found: Look) -> str | None: ...
    def muted(self, receiver: str, why: Mute) -> None:
        """Count something that is not told on purpose."""
        ...

    def escalate(self, receiver: str, fingerprint: str, seat: Seat, to: Escalation) -> None:
        """Nobody took an alert at `receiver`: tell others."""
        ...


@dataclass(frozen=True, slots=True)
class Seat:
    """An alert's place in a group."""

    destination: Destination
    escalated_from: tuple[str, ...] = ()


@dataclass(slots=True)
class _Group:
    key: str
    labels: tuple[tuple[str, str], ...]
    seats: dict[str, Seat] = field(default_factory=dict)
    found: Look = field(default_factory=Look)
    dirty: bool = True
    out: bool = False
    rest_until: datetime | None = None
    held_back: HeldBack | None = None
    refused: dict[str, Severity] = field(default_factory=dict)
    muted_at: dict[str, datetime] = field(default_factory=dict)


@dataclass(slots=True)
class Delivery:
    """One notification on its way. `said` is put together anew for every attempt, and says the same."""

    said: Notification
    due: datetime
    frozen: dict[str, Change]
    attempts: int = 0

    @property
    def urgency(self) -> tuple[int, datetime]:
        """Smaller is more urgent."""
        return -RANK[self.said.severity], self.due


class Outbox:
    """Groups of one receiver. At most one notification of a group is out at a time: they arrive in order."""

    def __init__(
        self,
        receiver: str,
        world: World,
        *,
        wants: frozenset[Change] = NEWS,
    ) -> None:
        self.receiver = receiver
        self._world = world
        self._wants = wants
        self._groups: dict[str, _Group] = {}
        self._where: dict[str, str] = {}
        self._sent: deque[datetime] = deque(maxlen=MAX_RECENT)
        self._held_since: datetime | None = None
        self._last_digest: datetime | None = None
        self._room_at: datetime | None = None
        self._digest_at: datetime | None = None

    def begin(self, sent: Iterable[datetime], last_digest: datetime | None) -> None:
        """Start with what the log says of the last notifications, in order, and of the last digest."""
        self._sent.clear()
        self._sent.extend(sent)
        self._last_digest = last_digest

    # --- who sits where -----------------------------------------------------------------------------------

    def seat(
        self,
        fingerprint: str,
        destination: Destination,
        key: str,
        labels: tuple[tuple[str, str], ...],
        escalated_from: tuple[str, ...] = (),
    ) -> None:
        """Make an alert part of a group, or of the group it is part of already: there it stays."""
        key = self._where.setdefault(fingerprint, key)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(key, () if storm.is_digest(key) else labels)
        before = group.seats.get(fingerprint)
        if before is not None and before.escalated_from and not escalated_from:
            escalated_from, destination = before.escalated_from, before.destination
        group.seats[fingerprint] = Seat(destination, escalated_from)
        group.dirty = True

    def unseat(self, fingerprint: str) -> None:
        """It is not routed here any more, and the receiver has not heard of it."""
        if (key := self._where.pop(fingerprint, None)) is not None:
            group = self._groups[key]
            group.seats.pop(fingerprint, None)
            group.refused.pop(fingerprint, None)
            group.muted_at.pop(fingerprint, None)
            group.dirty = True
            if not group.seats and not group.out:
                del self._groups[key]

    def seats(self, fingerprint: str) -> bool:
        return fingerprint in self._where

    def seated(self) -> list[str]:
        return list(self._where)

    def escalated(self, fingerprint: str) -> bool:
        """Whether it is here because nobody took it elsewhere."""
        key = self._where.get(fingerprint)
        return key is not None and bool(self._groups[key].seats[fingerprint].escalated_from)

    def standing(self, fingerprint: str) -> Standing:
        """What is still to do about an alert here."""
        key = self._where.get(fingerprint)
        held = self._world.held(fingerprint)
        if key is None or held is None:
            return Standing.NOBODY
        entry = self._world.entry(self.receiver, key)
        told = entry is not None and any(one.fingerprint == fingerprint for one in entry.firing)
        return Standing.TOLD if told and not held.is_over else Standing.OWED

    def touch(self, fingerprint: str | None = None) -> None:
        """Something changed about an alert; None: about any of them."""
        if fingerprint is None:
            for group in self._groups.values():
                group.dirty = True
        elif (key := self._where.get(fingerprint)) is not None:
            self._groups[key].dirty = True

    def touch_muted(self) -> None:
        """What explains others has come or gone."""
        for group in self._groups.values():
            group.dirty = group.dirty or group.found.muted > 0

    # --- whose turn it is ---------------------------------------------------------------------------------

    def take(self, now: datetime) -> Delivery | None:
        """The most urgent notification whose time has come; it is out until `done`, `again` or `give_up`."""
        due = [group for group in self._looked(now) if group.found.due is not None and group.found.due <= now]
        self._room_at = self._room(now) if due else None
        self._digest_at = None
        if not due:
            self._held_since = None
            return None
        if self._room_at is not None:
            digest = self._digest(due, now)
            return None if digest is None else self._out(digest, now)
        self._held_since = None
        return self._out(min(due, key=_urgency), now)

    def wake_at(self, now: datetime) -> datetime | None:
        """When `take` may next have something, if nothing changes until then."""
        times: list[datetime] = []
        waiting = False
        for group in self._groups.values():
            if group.out:
                continue
            if group.dirty:
                return now
            if group.found.again is not None:
                times.append(group.found.again)
            due = _due(group)
            if due is None:
                continue
            if due <= now and self._room_at is not None:
                waiting = True
            else:
                times.append(due)
        if waiting:
            times += [at for at in (self._room_at, self._digest_at) if at is not None]
        return min(times, default=None)

    def _looked(self, now: datetime) -> list[_Group]:
        for group in [g for g in self._groups.values() if not g.out and _stale(g, now)]:
            self._look(group, now)
        return [
            group
            for group in self._groups.values()
            if not group.out and (group.rest_until is None or group.rest_until <= now)
        ]

    def _look(self, group: _Group, now: datetime) -> None:
        entry = self._world.entry(self.receiver, group.key)
        group.found = look(entry, self._members(group, entry, now), now, self._wants)
        group.dirty = False
        for fingerprint, why in group.found.idle.items():
            if why is not None:
                self._world.muted(self.receiver, why)
            self.unseat(fingerprint)
        group.dirty = False
        for fingerprint, escalation in group.found.escalations:
            self._world.escalate(self.receiver, fingerprint, group.seats[fingerprint], escalation)

    def _members(self, group: _Group, entry: NotificationLogEntry | None, now: datetime) -> list[Member]:
        told_at = {told.fingerprint: told.told_at for told in entry.firing} if entry is not None else {}
        incident = entry.incident if entry is not None else None
        members = []
        for fingerprint, seat in list(group.seats.items()):
            held = self._world.held(fingerprint)
            if held is None:
                self.unseat(fingerprint)
                continue
            taken = self._world.acknowledgement(fingerprint, incident, told_at.get(fingerprint))
            mute = self._mute(group, held, now)
            if mute is not None:
                group.muted_at[fingerprint] = now
            muted_at = group.muted_at.get(fingerprint)
            measures = self._world.measures(fingerprint)
            members.append(
                Member(held, seat.destination, mute, taken, seat.escalated_from, muted_at, measures)
            )
        return members

    def _mute(self, group: _Group, held: Held, now: datetime) -> Mute | None:
        refused = group.refused.get(held.alert.fingerprint)
        if refused is not None and held.firing is not None and RANK[held.firing.severity] <= RANK[refused]:
            return Mute.REFUSED_BEFORE
        return self._world.mute(held, now)

    def _room(self, now: datetime) -> datetime | None:
        out = [now] * sum(group.out and group.held_back is None for group in self._groups.values())
        return storm.room_at([*self._sent, *out], self._world.cap(self.receiver), now)

    def _digest(self, due: list[_Group], now: datetime) -> _Group | None:
        """The group of a digest of all that is new, if it is time for one."""
        new = [
            (group, line.alert.fingerprint)
            for group in sorted(due, key=_urgency)
            for line in group.found.firing
            if line.change is Change.JOINED
        ]
        if not new:
            return None
        cap = self._world.cap(self.receiver)
        self._held_since = self._held_since or now
        self._digest_at = storm.digest_at(self._held_since, self._last_digest, cap)
        if now < self._digest_at:
            return None
        digest = _Group(storm.group(now), (), held_back=HeldBack(len(due), cap.notifications, cap.within_s))
        if digest.key in self._groups:
            return None
        for group, fingerprint in new:
            digest.seats[fingerprint] = group.seats[fingerprint]
            self.unseat(fingerprint)
            self._where[fingerprint] = digest.key
        self._groups[digest.key] = digest
        self._look(digest, now)
        self._held_since, self._last_digest = None, now
        return digest if digest.found.changes else None

    def _out(self, group: _Group, now: datetime) -> Delivery:
        group.out = True
        found, due = group.found, group.found.due or now
        lines = (*found.firing, *found.resolved)
        frozen = {line.alert.fingerprint: line.change for line in lines if line.change is not None}
        return Delivery(self._said(group, found, now), due, frozen)

    def _said(self, group: _Group, found: Look, now: datetime) -> Notification:
        return notification(
            self.receiver,
            group.key,
            group.labels,
            found,
            self._world.entry(self.receiver, group.key),
            now,
            incident=self._world.incident_of(group.key),
            held_back=group.held_back,
            links=self._world.links(found),
            remark=self._world.remark(found),
        )

    # --- what came of it ----------------------------------------------------------------------------------

    def refresh(self, delivery: Delivery, now: datetime) -> bool:
        """Before another attempt: say the same as things are now. False if there is nothing left to say."""
        group = self._groups[delivery.said.group]
        entry = self._world.entry(self.receiver, group.key)
        found = look(entry, self._members(group, entry, now), now, self._wants, delivery.frozen)
        if Change.REPEATED in delivery.said.changes and found.firing:
            found = replace(found, changes=found.changes | {Change.REPEATED})
        if not found.changes:
            return False
        delivery.said = self._said(group, found, now)
        return True

    def done(self, delivery: Delivery, now: datetime, reference: str | None = None) -> NotificationLogEntry:
        """It was delivered. Returns what is to be remembered, and then to be told by `back`."""
        group = delivery.said.group
        entry = self._world.entry(self.receiver, group)
        window = timedelta(seconds=self._world.cap(self.receiver).within_s)
        if delivery.said.held_back is None:
            self._sent.append(now)
        return remember(delivery.said, entry, now, window, reference)

    def give_up(self, delivery: Delivery, now: datetime, *, final: bool) -> NotificationLogEntry | None:
        """Nobody will take it. Returns what is to be remembered, if anything, and then to be told by `back`.

        What goes on is tried again after a while, unless it was refused for good; the end is not.
        """
        said, group = delivery.said, self._groups[delivery.said.group]
        idle = said.changes <= {Change.REPEATED, *UPDATES}
        paces = [seat.destination.pace for seat in group.seats.values()]
        rest = min((pace.repeat if idle else pace.interval for pace in paces), default=timedelta(0))
        group.rest_until = now + max(rest, timedelta(seconds=1))
        for line in said.firing:
            held = self._world.held(line.alert.fingerprint)
            if line.change is not None and (final or (held is not None and held.is_over)):
                group.refused[line.alert.fingerprint] = line.alert.severity
        return given_up(said, self._world.entry(self.receiver, said.group))

    def back(self, delivery: Delivery) -> None:
        """It is out no more, and what is to be remembered of it is."""
        group = self._groups[delivery.said.group]
        group.out, group.dirty, group.held_back = False, True, None
        for line in delivery.said.resolved:
            held = self._world.held(line.alert.fingerprint)
            if held is None or held.is_over:
                self.unseat(line.alert.fingerprint)
        if not group.seats:
            self._groups.pop(group.key, None)

    def clear(self) -> None:
        """Forget everything; nothing may be out."""
        self._groups.clear()
        self._where.clear()
        self._held_since = self._room_at = None

    @property
    def out(self) -> int:
        """Notifications that are on their way."""
        return sum(group.out for group in self._groups.values())

    def waiting(self, now: datetime) -> int:
        """Notifications that are out, or whose time has come."""
        return sum(g.out or ((due := _due(g)) is not None and due <= now) for g in self._groups.values())

    def __len__(self) -> int:
        return len(self._groups)


def _due(group: _Group) -> datetime | None:
    due = group.found.due
    return due if due is None or group.rest_until is None else max(due, group.rest_until)


def _stale(group: _Group, now: datetime) -> bool:
    found = group.found
    return (
        group.dirty
        or (found.again is not None and found.again <= now)
        # What is due is looked at once more: it may be muted or acknowledged by now.
        or (found.due is not None and found.due <= now)
    )


def _urgency(group: _Group) -> tuple[bool, int, datetime, str]:
    found = group.found
    worst = max((RANK[line.alert.severity] for line in (*found.firing, *found.resolved)), default=0)
    assert found.due is not None
    return not found.page, -worst, found.due, group.key
