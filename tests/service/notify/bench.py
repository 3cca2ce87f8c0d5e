"""A desk with one courier, and the office it works for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from schemas.alerts import Alert
from schemas.notifications import NotificationLogEntry, ParkedNotification
from service.notify.acknowledgements import Acknowledgements
from service.notify.board import Source
from service.notify.courier import Courier
from service.notify.desk import Desk
from service.notify.receiver import Delivered, Final, Receiver, Retry
from service.notify.retry import RetryPolicy
from service.notify.routing import Pace
from service.notify.told import Told
from service.runtime.clock import Clock, ManualClock
from tests.service.notify.support import NOW, Script, alert
from tests.support.patience import PATIENCE_S

POLICY = RetryPolicy(max_attempts=3, initial_s=1.0, max_s=60.0)


class Bench:
    """A desk with one courier, and the office it works for."""

    def __init__(
        self,
        *answers: Delivered | Retry | Final,
        interval_s: float = 0.0,
        concurrency: int = 1,
        to: Receiver | None = None,
        clock: Clock | None = None,
        policy: RetryPolicy = POLICY,
        pace: Pace | None = None,
    ) -> None:
        self.clock = ManualClock(NOW)
        self._time = clock or self.clock
        self._policy = policy
        self.script = Script(*answers, interval_s=interval_s, concurrency=concurrency)
        self.open = True
        self.entries: list[NotificationLogEntry] = []
        self.parked: list[ParkedNotification] = []
        self.desk = Desk(Told(), Acknowledgements(), {"slack": "info"}, pace=pace)
        self.courier = self.courier_to(to or self.script)
        self._offset = 0

    def courier_to(self, receiver: Receiver) -> Courier:
        return Courier(
            "slack",
            receiver,
            [self.desk.outbox("slack")],
            self,
            policy=self._policy,
            clock=self._time,
            chance=lambda: 0.0,
        )

    async def record(self, entry: NotificationLogEntry) -> None:
        self.desk.told.apply(entry)
        self.entries.append(entry)

    async def park(self, parked: ParkedNotification) -> None:
        self.parked.append(parked)

    def put(self, *alerts: Alert) -> None:
        for one in alerts:
            self.desk.accept(one, Source(0, self._offset), self._time.now())
            self._offset += 1
        self.courier.wake()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        work = asyncio.create_task(self.courier.run())
        try:
            yield
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110 - nothing announces it
                # In manual time nothing takes any; real requests do.
                await asyncio.sleep(0 if self._time is self.clock else 0.005)

    async def deliver(self, count: int) -> None:
        async with self.at_work():
            await self.until(lambda: len(self.entries) + len(self.parked) == count)


def page(number: int) -> Alert:
    """Each of a group of its own."""
    return alert(fingerprint=str(number), team=f"team-{number}")
