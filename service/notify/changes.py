"""One receiver's events about changes of the configuration and launches. No I/O: the time is handed in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from schemas.notifications import NotificationLogEntry
from service.notify.notification import Change, Notification
from service.notify.outbox import Delivery
from service.notify.tidings import Tidings
from service.notify.trail import sum_up

GROUP: Final = "changes"
SETTLING: Final = timedelta(seconds=15)
"""A change is told so long after its last record: what belongs to it is there by then, also what others wrote to
the config topic and workers record when they have seen it."""
RECENT: Final = timedelta(minutes=5)
"""Who was never told anything is told what happened so long before the process began, and nothing older."""
EVERY: Final = timedelta(seconds=10)
"""Least time between two events: incidents need the receiver's rate more."""
ONE_BY_ONE: Final = 5
"""When more than so many have to be told, one event sums them up."""
_REST: Final = timedelta(minutes=5)
"""How long a receiver is left alone after it took nothing for all attempts. Nothing is lost meanwhile."""


class Known(Protocol):
    """What has happened, and what is going to."""

    @property
    def forgotten(self) -> datetime:
        """When the last one happened that is not among the tidings any more."""
        ...

    def tidings(self) -> Sequence[Tidings]:
        """By time, no two at the same."""
        ...


class Log(Protocol):
    """Who was told what."""

    def entry(self, receiver: str, group: str) -> NotificationLogEntry | None: ...


class ChangeBox:
    """What one receiver has still to be told of changes and launches, each once, in order.

    It needs no room under the receiver's cap and takes none: nobody is paged by it. The log remembers up to when
    it was told (`told_until`), so that a restart, or another replica, goes on from there.
    """

    def __init__(self, receiver: str, known: Known, log: Log, began: datetime) -> None:
        self._receiver = receiver
        self._known = known
        self._log = log
        self._began = began
        self._rest_until = datetime.min.replace(tzinfo=UTC)
        self._out = False

    def take(self, now: datetime) -> Delivery | None:
        if self._out or (due := self._due_at(now)) is None or due > now:
            return None
        told = self._told_until()
        missed = [one for one in self._untold() if one.until + SETTLING <= now]
        one = missed[0]
        if len(missed) > ONE_BY_ONE or self._known.forgotten > told:
            one = sum_up(missed, told, cut=self._known.forgotten > told)
        self._out = True
        return Delivery(self._said(one, now), due, {})

    def wake_at(self, now: datetime) -> datetime | None:
        return None if self._out else self._due_at(now)

    def refresh(self, delivery: Delivery, now: datetime) -> bool:
        return True

    def done(self, delivery: Delivery, now: datetime, reference: str | None = None) -> NotificationLogEntry:
        said = delivery.said
        assert said.tidings is not None
        return NotificationLogEntry(
            receiver=self._receiver,
            group=GROUP,
            incident=said.incident,
            sequence=1,
            first_at=now,
            sent_at=now,
            told_until=said.tidings.until,
        )

    def give_up(self, delivery: Delivery, now: datetime, *, final: bool) -> NotificationLogEntry | None:
        """What is refused for good is refused the next time, too. Else it is told later, with what came since."""
        if final:
            return self.done(delivery, now)
        self._rest_until = now + _REST
        return None

    def back(self, delivery: Delivery) -> None:
        self._out = False

    def waiting(self, now: datetime) -> int:
        return int(self._out or ((due := self._due_at(now)) is not None and due <= now))

    def clear(self) -> None:
        self._out = False

    def _told_until(self) -> datetime:
        entry = self._log.entry(self._receiver, GROUP)
        if entry is None or entry.told_until is None:
            return self._began - RECENT
        return entry.told_until

    def _untold(self) -> list[Tidings]:
        told = self._told_until()
        return [one for one in self._known.tidings() if one.until > told]

    def _due_at(self, now: datetime) -> datetime | None:
        """When the next one is due, as things are; None: nothing is."""
        if not (untold := self._untold()):
            return None
        entry = self._log.entry(self._receiver, GROUP)
        # A log from a clock that was ahead must not keep it waiting.
        last = min(entry.sent_at, now) + EVERY if entry is not None else self._rest_until
        return max(untold[0].until + SETTLING, last, self._rest_until)

    def _said(self, one: Tidings, now: datetime) -> Notification:
        return Notification(
            receiver=self._receiver,
            group=GROUP,
            labels=(),
            incident=f"changes-{round(one.until.timestamp() * 1e6)}",
            sequence=1,
            at=now,
            changes=frozenset({Change.CHANGED}),
            firing=(),
            resolved=(),
            lead=None,
            occasion="changes",
            tidings=one,
        )
