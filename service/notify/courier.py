"""One receiver's deliveries: takes what is due, sends, tries again, remembers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final as Constant
from typing import Literal, Protocol

from schemas.notifications import NotificationLogEntry, ParkedNotification
from service.notify import change_text
from service.notify.notification import Notification
from service.notify.outbox import Delivery
from service.notify.receiver import Delivered, Final, Receiver, Result, Retry
from service.notify.retry import RetryPolicy, backoff
from service.runtime.clock import Clock
from service.runtime.metrics import (
    NOTIFY_DELAY,
    NOTIFY_PARKED,
    NOTIFY_PENDING,
    NOTIFY_RETRIES,
    NOTIFY_SEND_SECONDS,
    NOTIFY_SENDS,
)

_PATIENCE_S: Constant = 3_600.0
"""Longest sleep: a wall clock that is set meanwhile is noticed after it."""

_LOG = logging.getLogger(__name__)


class Box(Protocol):
    """Where a notification came from, and where it is said what became of it."""

    def refresh(self, delivery: Delivery, now: datetime) -> bool: ...
    def done(
        self, delivery: Delivery, now: datetime, reference: str | None
    ) -> NotificationLogEntry | None: ...
    def give_up(self, delivery: Delivery, now: datetime, *, final: bool) -> NotificationLogEntry | None: ...
    def back(self, delivery: Delivery) -> None: ...
    def take(self, now: datetime) -> Delivery | None: ...
    def wake_at(self, now: datetime) -> datetime | None: ...
    def waiting(self, now: datetime) -> int: ...
    def clear(self) -> None: ...


class Office(Protocol):
    """What all couriers share."""

    @property
    def open(self) -> bool:
        """Whether the alerts are ours and have been read up to the end: else nothing is begun."""
        ...

    async def record(self, entry: NotificationLogEntry) -> None:
        """Make a delivery known to all replicas."""
        ...

    async def park(self, parked: ParkedNotification) -> None:
        """Keep what could not be delivered."""
        ...


class _Trip:
    """A delivery under way, and when it may be tried (again)."""

    def __init__(self, box: Box, delivery: Delivery, not_before: float) -> None:
        self.box = box
        self.delivery = delivery
        self.not_before = not_before


class Courier:
    """Delivers to one receiver until cancelled. Whatever an attempt raises ends `run`: it is a bug, or Kafka."""

    def __init__(
        self,
        name: str,
        receiver: Receiver,
        boxes: list[Box],
        office: Office,
        *,
        policy: RetryPolicy,
        clock: Clock,
        chance: Callable[[], float],
    ) -> None:
        self.name = name
        self._receiver = receiver
        self._boxes = boxes
        self._office = office
        self._policy = policy
        self._clock = clock
        self._chance = chance
        self._trips: list[_Trip] = []
        self._attempts: set[asyncio.Task[None]] = set()
        self._held_until = 0.0
        self._wake = asyncio.Event()
        self._stopped = False

    def wake(self) -> None:
        """Something changed: look again whose turn it is."""
        self._wake.set()

    async def run(self) -> None:
        try:
            while True:
                self._wake.clear()
                self._begin_what_is_due()
                await self._something()
                for done in [attempt for attempt in self._attempts if attempt.done()]:
                    self._attempts.discard(done)
                    if not done.cancelled():
                        done.result()
        finally:
            for attempt in self._attempts:
                attempt.cancel()

    async def quiet(self, within_s: float) -> None:
        """Start nothing more, let what is out end, cancel what has not after `within_s`, and forget the rest."""
        self._stopped = True
        try:
            if attempts := set(self._attempts):
                _, late = await asyncio.wait(attempts, timeout=within_s)
                for attempt in late:
                    attempt.cancel()
                if late:
                    _LOG.warning("%s: gave up on %d requests; they will be repeated", self.name, len(late))
                    await asyncio.wait(late)
        finally:
            self._trips.clear()
            for box in self._boxes:
                box.clear()
            NOTIFY_PENDING.labels(self.name).set(0)
            self._stopped = False
            self._wake.set()

    # --- whose turn it is ---------------------------------------------------------------------------------

    @property
    def _may_begin(self) -> bool:
        return not self._stopped and self._office.open and len(self._attempts) < self._receiver.concurrency

    def _begin_what_is_due(self) -> None:
        while self._may_begin and (trip := self._next()) is not None:
            self._attempts.add(asyncio.create_task(self._attempt(trip), name=f"to {self.name}"))
        now = self._clock.now()
        waiting = len(self._trips) + sum(box.waiting(now) for box in self._boxes)
        NOTIFY_PENDING.labels(self.name).set(waiting)

    def _next(self) -> _Trip | None:
        """The most urgent of what is tried again and what is new."""
        elapsed, now = self._clock.monotonic(), self._clock.now()
        if elapsed < self._held_until:
            return None
        for box in self._boxes:
            if (delivery := box.take(now)) is not None:
                self._trips.append(_Trip(box, delivery, elapsed))
        ready = [trip for trip in self._trips if trip.not_before <= elapsed]
        if not ready:
            return None
        chosen = min(ready, key=lambda trip: trip.delivery.urgency)
        self._trips.remove(chosen)
        return chosen

    def _sleep_s(self) -> float | None:
        """How long nothing can begin that is known by now; None: not before something happens."""
        if not self._may_begin:
            return None
        elapsed, now = self._clock.monotonic(), self._clock.now()
        waits = [trip.not_before - elapsed for trip in self._trips]
        for box in self._boxes:
            if (at := box.wake_at(now)) is not None:
                waits.append((at - now).total_seconds())
        if not waits:
            return None
        return min(max(min(waits), self._held_until - elapsed, 0.0), _PATIENCE_S)

    async def _something(self) -> None:
        """Return when an attempt ends, something changes, or the next one's time has come."""
        waits: set[asyncio.Task[object]] = {asyncio.create_task(self._wake.wait())}
        if (sleep_s := self._sleep_s()) is not None:
            waits.add(asyncio.create_task(self._clock.sleep(sleep_s)))
        try:
            await asyncio.wait({*waits, *self._attempts}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    # --- one attempt --------------------------------------------------------------------------------------

    async def _attempt(self, trip: _Trip) -> None:
        delivery = trip.delivery
        if delivery.attempts:
            # A silence may have begun meanwhile, and the numbers are newer.
            if not trip.box.refresh(delivery, self._clock.now()):
                trip.box.back(delivery)
                return
            NOTIFY_RETRIES.labels(self.name).inc()
        began = self._clock.monotonic()
        result = await self._receiver.send(delivery.said)
        ended = self._clock.monotonic()
        NOTIFY_SEND_SECONDS.labels(self.name).observe(ended - began)
        self._held_until = max(self._held_until, ended + self._receiver.interval_s)
        delivery.attempts += 1
        await self._settle(trip, result)

    async def _settle(self, trip: _Trip, result: Result) -> None:
        said, attempts = trip.delivery.said, trip.delivery.attempts
        what = describe(said)
        match result:
            case Delivered(reference):
                NOTIFY_SENDS.labels(self.name, "delivered").inc()
                await self._delivered(trip, reference)
                _LOG.info("%s: told of %s", self.name, what)
            case Final(reason, detail):
                NOTIFY_SENDS.labels(self.name, "final").inc()
                _LOG.error("%s: %s, parked: %s: %s", self.name, what, reason, detail)
                await self._park(trip, "final_error", detail)
            case Retry(reason, detail) if attempts >= self._policy.max_attempts:
                NOTIFY_SENDS.labels(self.name, "retryable").inc()
                _LOG.error("%s: %s, parked after %d attempts: %s", self.name, what, attempts, detail)
                await self._park(trip, "retries_exhausted", detail)
            case Retry(reason, detail, after_s):
                NOTIFY_SENDS.labels(self.name, "retryable").inc()
                now = self._clock.monotonic()
                wait_s = backoff(self._policy, attempts, after_s, self._chance())
                if after_s is not None:
                    self._held_until = max(self._held_until, now + after_s)
                _LOG.warning("%s: %s, again in %.1f s: %s: %s", self.name, what, wait_s, reason, detail)
                trip.not_before = now + wait_s
                self._trips.append(trip)

    async def _delivered(self, trip: _Trip, reference: str | None) -> None:
        now = self._clock.now()
        for line in trip.delivery.said.news:
            NOTIFY_DELAY.observe(max(0.0, (now - line.alert.updated_at).total_seconds()))
        entry = trip.box.done(trip.delivery, now, reference)
        if entry is not None:
            await self._office.record(entry)
        trip.box.back(trip.delivery)

    async def _park(
        self, trip: _Trip, outcome: Literal["final_error", "retries_exhausted"], detail: str
    ) -> None:
        NOTIFY_PARKED.labels(self.name, outcome).inc()
        now, said = self._clock.now(), trip.delivery.said
        entry = trip.box.give_up(trip.delivery, now, final=outcome == "final_error")
        if said.lead is not None:
            others = [line.alert.fingerprint for line in said.news if line.alert is not said.lead]
            await self._office.park(
                ParkedNotification(
                    receiver=self.name,
                    alert=said.lead,
                    others=others,
                    outcome=outcome,
                    detail=detail,
                    attempts=trip.delivery.attempts,
                    parked_at=now,
                )
            )
        if entry is not None:
            await self._office.record(entry)
        trip.box.back(trip.delivery)


def describe(said: Notification) -> str:
    """`retry_loop in 'support-agent' (incident 4be1… #1, opened; 1 firing, 0 over)`."""
    if said.tidings is not None:
        return f"{change_text.title(said.tidings)!r} ({said.incident})"
    lead = "nothing" if said.lead is None else f"{said.lead.kind} in {said.lead.workflow!r}"
    return (
        f"{lead} (incident {said.incident} #{said.sequence}, {said.why};"
        f" {len(said.firing)} firing, {len(said.resolved)} over)"
    )
