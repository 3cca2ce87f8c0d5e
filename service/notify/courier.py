"""One receiver's deliveries: takes what is due, asks once more whether it must be said, sends, retries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final as Constant
from typing import Literal, Protocol

from schemas.alerts import Alert
from schemas.notifications import NotificationLogEntry, ParkedNotification
from service.notify.backlog import Backlog, Job, Source
from service.notify.pipeline import Mute, RetryPolicy, backoff, repeat, silenced
from service.notify.receiver import Delivered, Final, Receiver, Result, Retry
from service.rules.config import ConfigBook
from service.runtime.clock import Clock
from service.runtime.metrics import (
    NOTIFY_DELAY,
    NOTIFY_MUTED,
    NOTIFY_PARKED,
    NOTIFY_PENDING,
    NOTIFY_RETRIES,
    NOTIFY_SEND_SECONDS,
    NOTIFY_SENDS,
)

MAX_REFUSED: Constant = 10_000
"""States a receiver refused for good that are remembered."""

_LOG = logging.getLogger(__name__)


class Office(Protocol):
    """What all couriers share."""

    @property
    def book(self) -> ConfigBook: ...

    def last_told(self, receiver: str, fingerprint: str) -> NotificationLogEntry | None: ...

    async def delivered(self, entry: NotificationLogEntry) -> None:
        """Make a delivery known to all replicas."""
        ...

    async def park(self, parked: ParkedNotification) -> None:
        """Keep what could not be delivered."""
        ...

    def finished(self, source: Source) -> None:
        """This receiver is done with a record."""
        ...


class Courier:
    """Delivers to one receiver until cancelled. Whatever an attempt raises ends `run`: it is a bug, or Kafka."""

    def __init__(
        self,
        name: str,
        receiver: Receiver,
        office: Office,
        *,
        policy: RetryPolicy,
        repeat_interval: timedelta,
        clock: Clock,
        chance: Callable[[], float],
    ) -> None:
        self.name = name
        self.backlog = Backlog()
        self._receiver = receiver
        self._office = office
        self._policy = policy
        self._repeat_interval = repeat_interval
        self._clock = clock
        self._chance = chance
        self._attempts: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._open = True
        self._refused: dict[str, Alert] = {}

    def put(self, alert: Alert, source: Source) -> None:
        """Have an alert delivered; `Office.finished` says when."""
        if (replaced := self.backlog.put(alert, source)) is not None:
            self._office.finished(replaced)
        NOTIFY_PENDING.labels(self.name).set(len(self.backlog))
        self._wake.set()

    async def run(self) -> None:
        try:
            while True:
                self._wake.clear()
                now = self._clock.monotonic()
                self._begin_what_is_due(now)
                await self._something(now)
                for done in [attempt for attempt in self._attempts if attempt.done()]:
                    self._attempts.discard(done)
                    if not done.cancelled():
                        done.result()
        finally:
            for attempt in self._attempts:
                attempt.cancel()

    def _begin_what_is_due(self, now: float) -> None:
        while self._open and len(self._attempts) < self._receiver.concurrency:
            if (job := self.backlog.take(now)) is None:
                return
            self._attempts.add(asyncio.create_task(self._attempt(job), name=f"to {self.name}"))

    async def quiet(self, within_s: float) -> None:
        """Start nothing more, let what is out end, cancel what has not after `within_s`, and forget the rest."""
        self._open = False
        try:
            if attempts := set(self._attempts):
                _, late = await asyncio.wait(attempts, timeout=within_s)
                for attempt in late:
                    attempt.cancel()
                if late:
                    _LOG.warning("%s: gave up on %d requests; they will be repeated", self.name, len(late))
                    await asyncio.wait(late)
        finally:
            self.backlog.clear()
            NOTIFY_PENDING.labels(self.name).set(0)
            self._open = True
            self._wake.set()

    async def _something(self, now: float) -> None:
        """Return when an attempt ends, something is put, or the next job's time has come."""
        waits: set[asyncio.Task[object]] = {asyncio.create_task(self._wake.wait())}
        due = self.backlog.wake_at()
        if due is not None and self._open and len(self._attempts) < self._receiver.concurrency:
            waits.add(asyncio.create_task(self._clock.sleep(max(0.0, due - now))))
        try:
            await asyncio.wait({*waits, *self._attempts}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _attempt(self, job: Job) -> None:
        alert = job.alert
        if (mute := self._mute(alert)) is not None:
            NOTIFY_MUTED.labels(self.name, mute).inc()
            self._finish(job)
            return
        if job.attempts:
            NOTIFY_RETRIES.labels(self.name).inc()
        began = self._clock.monotonic()
        result = await self._receiver.send(alert)
        ended = self._clock.monotonic()
        NOTIFY_SEND_SECONDS.labels(self.name).observe(ended - began)
        self.backlog.hold(ended + self._receiver.interval_s)
        job.attempts += 1
        await self._settle(job, result)

    async def _settle(self, job: Job, result: Result) -> None:
        alert = job.alert
        what = f"{alert.kind} in {alert.workflow!r} ({alert.fingerprint} #{alert.sequence}, {alert.status})"
        match result:
            case Delivered():
                NOTIFY_SENDS.labels(self.name, "delivered").inc()
                await self._delivered(alert)
                _LOG.info("%s: told of %s", self.name, what)
                self._finish(job)
            case Final(reason, detail):
                NOTIFY_SENDS.labels(self.name, "final").inc()
                _LOG.error("%s: %s, parked: %s: %s", self.name, what, reason, detail)
                self._remember_refusal(alert)
                await self._park(job, "final_error", detail)
            case Retry(reason, detail) if job.attempts >= self._policy.max_attempts:
                NOTIFY_SENDS.labels(self.name, "retryable").inc()
                _LOG.error("%s: %s, parked after %d attempts: %s", self.name, what, job.attempts, detail)
                await self._park(job, "retries_exhausted", detail)
            case Retry(reason, detail, after_s):
                NOTIFY_SENDS.labels(self.name, "retryable").inc()
                now = self._clock.monotonic()
                wait_s = backoff(self._policy, job.attempts, after_s, self._chance())
                if after_s is not None:
                    self.backlog.hold(now + after_s)
                _LOG.warning("%s: %s, again in %.1f s: %s: %s", self.name, what, wait_s, reason, detail)
                if (replaced := self.backlog.again(job, now + wait_s)) is not None:
                    self._office.finished(replaced)

    def _mute(self, alert: Alert) -> Mute | None:
        now = self._clock.now()
        if silenced(alert, self._office.book.silences, now) is not None:
            return Mute.SILENCED
        refused = self._refused.get(alert.fingerprint)
        if refused is not None and (refused.status, refused.severity) == (alert.status, alert.severity):
            return Mute.REFUSED_BEFORE
        return repeat(alert, self._office.last_told(self.name, alert.fingerprint), now, self._repeat_interval)

    def _remember_refusal(self, alert: Alert) -> None:
        self._refused.pop(alert.fingerprint, None)
        self._refused[alert.fingerprint] = alert
        if len(self._refused) > MAX_REFUSED:
            del self._refused[next(iter(self._refused))]

    async def _delivered(self, alert: Alert) -> None:
        now = self._clock.now()
        self._refused.pop(alert.fingerprint, None)
        NOTIFY_DELAY.observe(max(0.0, (now - alert.updated_at).total_seconds()))
        await self._office.delivered(
            NotificationLogEntry(
                receiver=self.name,
                fingerprint=alert.fingerprint,
                status=alert.status,
                severity=alert.severity,
                sequence=alert.sequence,
                delivered_at=now,
            )
        )

    async def _park(
        self, job: Job, outcome: Literal["final_error", "retries_exhausted"], detail: str
    ) -> None:
        NOTIFY_PARKED.labels(self.name, outcome).inc()
        await self._office.park(
            ParkedNotification(
                receiver=self.name,
                alert=job.alert,
                outcome=outcome,
                detail=detail,
                attempts=job.attempts,
                parked_at=self._clock.now(),
            )
        )
        self._finish(job)

    def _finish(self, job: Job) -> None:
        self.backlog.done(job)
        self._office.finished(job.source)
        NOTIFY_PENDING.labels(self.name).set(len(self.backlog))
