"""The notify role with a clock that stands still until the test says what time it is.

Reads lines `NOW WANTED` on stdin (epoch seconds; offsets that must have been read, `TOPIC=OFFSET,…`), and answers
the latest with `NOW WANTED NEXT` on stdout once nothing more can happen at that time: NEXT is when something next
may, or `-`. A replica that stands by answers nothing: it has read nothing.
"""

from __future__ import annotations

import asyncio
import math
import sys
from datetime import UTC, datetime

from service.notify.app import run
from service.runtime import metrics
from service.settings import Settings

_LOOK_S = 0.004
_CALM = 3
"""Looks in a row that must find nothing to do."""


class ToldClock:
    """Time as the test tells it. Who sleeps is woken when it has come."""

    def __init__(self, start: float) -> None:
        self._now = start
        self._sleepers: dict[asyncio.Event, float] = {}

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._now, UTC)

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers[woken] = self._now + seconds
        try:
            self._wake()
            await woken.wait()
        finally:
            del self._sleepers[woken]

    def set(self, now: float) -> None:
        self._now = max(self._now, now)
        self._wake()

    def _wake(self) -> None:
        for woken, at in self._sleepers.items():
            if at <= self._now + 1e-6:
                woken.set()

    @property
    def following(self) -> float | None:
        """When the next sleeper is to be woken, in whole milliseconds: the test's time knows no less than those."""
        first = min(self._sleepers.values(), default=None)
        return None if first is None else math.ceil(first * 1_000) / 1_000


def has_read(wanted: str) -> bool:
    """Whether each topic has been read so far. The alerts' topic has none of the names that views have."""
    found = {
        sample.labels.get("topic", ""): sample.value
        for metric in (*metrics.NOTIFY_POSITION.collect(), *metrics.VIEW_POSITION.collect())
        for sample in metric.samples
    }
    pairs = [pair.split("=") for pair in wanted.split(",") if pair]
    return all(found.get(topic, 0.0) >= float(offset) for topic, offset in pairs)


def sending() -> bool:
    return any(task.get_name().startswith("to ") for task in asyncio.all_tasks())


class Orders:
    """What the test said last. Time passes as soon as it says so, also for a replica that stands by."""

    def __init__(self, clock: ToldClock) -> None:
        self._clock = clock
        self._wanted: str | None = None
        self._news = asyncio.Event()
        self.ended = asyncio.Event()

    async def hear(self) -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        while line := await reader.readline():
            now, wanted = line.split()
            self._clock.set(float(now))
            self._wanted = wanted.decode()
            self._news.set()
        self.ended.set()

    async def answer(self) -> None:
        while True:
            await self._news.wait()
            calm = 0
            while calm < _CALM:
                await asyncio.sleep(_LOOK_S)
                following = self._clock.following
                at_rest = following is None or following > self._clock.monotonic()
                assert self._wanted is not None
                calm = calm + 1 if has_read(self._wanted) and at_rest and not sending() else 0
            self._news.clear()
            following = self._clock.following
            known = f"{self._clock.monotonic()} {self._wanted}"
            sys.stdout.write(f"{known} {'-' if following is None else following}\n")
            sys.stdout.flush()


async def main() -> None:
    clock = ToldClock(float(sys.argv[1]))
    orders = Orders(clock)
    tasks = [asyncio.create_task(orders.hear()), asyncio.create_task(orders.answer())]
    try:
        await run(Settings.load(None), stop=orders.ended, clock=clock)
    finally:
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
