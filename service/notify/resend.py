"""Saying again what still fires, to receivers that take silence for its end. No I/O: the time is handed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from schemas.notifications import Acknowledgement, NotificationLogEntry
from service.notify.board import Held
from service.notify.group import Look
from service.notify.notification import RANK, Change, Line, Links, Notification
from service.notify.outbox import Delivery


class Known(Protocol):
    """What is asked about a receiver's incidents."""

    def held(self, fingerprint: str) -> Held | None: ...
    def entry(self, receiver: str, group: str) -> NotificationLogEntry | None: ...
    def believers(self, receiver: str) -> Iterator[tuple[str, str]]: ...
    def acknowledgement(
        self, fingerprint: str, incident: str | None, told_at: datetime | None
    ) -> Acknowledgement | None: ...
    def links(self, found: Look) -> Links: ...


class ResendBox:
    """One receiver's open incidents, each said again every so often as far as the receiver knows it.

    Nothing of it is news, so nothing is remembered of it and nothing parked. It waits while news is on its way:
    what is over must not be said to fire after its end was told. News that waits itself, for a cap or for company,
    does not hold it up.
    """

    def __init__(
        self, receiver: str, known: Known, every: timedelta, news: Callable[[datetime], int]
    ) -> None:
        """`news`: how many other notifications to the receiver are on their way."""
        self._receiver = receiver
        self._known = known
        self._every = every
        self._news = news
        self._queue: deque[str] = deque()
        self._began: datetime | None = None
        self._out = False

    def take(self, now: datetime) -> Delivery | None:
        if self._out or self._news(now):
            return None
        if not self._queue:
            if self._began is not None and now - self._began < self._every:
                return None
            self._queue.extend(sorted(self._groups()))
            self._began = now
        while self._queue:
            said = self._said(self._queue.popleft(), now)
            if said is not None:
                self._out = True
                return Delivery(said, now, {})
        return None

    def wake_at(self, now: datetime) -> datetime | None:
        if self._out or self._news(now):
            return None
        if self._queue or self._began is None:
            return now
        return self._began + self._every

    def refresh(self, delivery: Delivery, now: datetime) -> bool:
        """Whether it is worth another attempt: not when the next one is due, and as it is now."""
        said = self._said(delivery.said.group, now)
        if said is None or said.incident != delivery.said.incident or now - delivery.due >= self._every:
            return False
        delivery.said = said
        return True

    def done(self, delivery: Delivery, now: datetime, reference: str | None = None) -> None:
        """Nothing is to be remembered."""

    def give_up(self, delivery: Delivery, now: datetime, *, final: bool) -> None:
        """Nothing is lost: it is said again in its time."""

    def back(self, delivery: Delivery) -> None:
        self._out = False

    def waiting(self, now: datetime) -> int:
        return int(self._out)

    def clear(self) -> None:
        self._queue.clear()
        self._out, self._began = False, None

    def _groups(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for fingerprint, group in self._known.believers(self._receiver):
            found.setdefault(group, []).append(fingerprint)
        return found

    def _said(self, group: str, now: datetime) -> Notification | None:
        entry = self._known.entry(self._receiver, group)
        if entry is None:
            return None
        lines = []
        for told in entry.firing:
            held = self._known.held(told.fingerprint)
            if held is None or held.is_over or held.firing is None:
                continue  # its end is told as news
            taken = self._known.acknowledgement(told.fingerprint, entry.incident, told.told_at)
            lines.append(Line(held.firing, acknowledgement=taken))
        if not lines:
            return None
        firing = tuple(sorted(lines, key=lambda line: -RANK[line.alert.severity]))
        said = Notification(
            receiver=self._receiver,
            group=group,
            labels=(),
            incident=entry.incident,
            sequence=entry.sequence,
            at=now,
            changes=frozenset({Change.REPEATED}),
            firing=firing,
            resolved=(),
            lead=None,  # nothing is new
            reference=entry.reference,
        )
        return replace(said, links=self._known.links(Look(firing=firing)))
