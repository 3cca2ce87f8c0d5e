"""The load driver: publishes the traffic as gateways would, obeys throttles, and tells what it did.

A process of its own: `python -m service.demo.driver --seed 7 …` with Tidegate's settings in the environment.
On stdout a JSON object a line (`what`: started, totals, caught_up, injected, throttled, gave_up, ended); on stdin
the line `go` starts the scripted events. It ends on SIGTERM, when stdin closes, or when nobody can be told.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import orjson

from schemas.decode import decode
from schemas.reasons import Refused
from schemas.throttles import Release, ThrottleAck, ThrottleCommand
from schemas.topics import COST_EVENTS, THROTTLE_ACKS, THROTTLE_COMMANDS
from service.demo.call import Call, publish
from service.demo.event_clock import EventClock
from service.demo.faults import Faults
from service.demo.gateway import Gateway
from service.demo.injections import Injection, script
from service.demo.traffic import Traffic
from service.ingest.price import Pricer
from service.kafka import Producer, producer, started
from service.kafka.embedded.pacing import pace_empty_fetches
from service.kafka.reader import read
from service.runtime.clock import Clock, SystemClock
from service.runtime.logs import configure
from service.runtime.process import run_role
from service.settings import Settings

_GATEWAY: Final = "demo-gateways"
_CHUNK_S: Final = 60.0
"""Event time published before the driver looks up again."""
_BEAT_S: Final = 0.05
_TELL_S: Final = 0.25
_BUSIEST_IN_S: Final = 5_400.0
"""The demo begins an hour and a half before the busiest time of its organisation's day."""


def tell(what: str, **fields: Any) -> None:
    """One line to whoever started us."""
    sys.stdout.buffer.write(orjson.dumps({"what": what, **fields}, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


class Driver:
    """Plays the traffic from a day ago up to now as fast as it is taken, then at the clock's speed.

    Parameters
    ----------
    rate : float
        Most events a second while catching up. Bounded, so that the partitions' event times stay together as
        they do in live traffic.
    """

    def __init__(
        self,
        sender: Producer,
        settings: Settings,
        clock: Clock,
        events: EventClock,
        *,
        seed: int,
        backfill_s: float,
        rate: float,
        seconds: float | None,
    ) -> None:
        self._sender = sender
        self._kafka = settings.kafka
        self._topic = settings.kafka.topic(COST_EVENTS)
        self._clock = clock
        self._events = events
        self._seconds = seconds
        self._rate = rate
        self._busiest = events.base + _BUSIEST_IN_S
        self._taken = events.base - backfill_s
        self._started = self._taken
        self._traffic = Traffic(seed, self._taken, self._busiest)
        self._prefix = f"{round(self._taken):x}"
        self._pricer = Pricer()
        self._faults = Faults(seed)
        self._gateway = Gateway()
        self._script: Iterator[Injection] = iter(())
        self._upcoming: Injection | None = None
        self._injected: dict[str, Injection] = {}
        self._announced: set[str] = set()
        self._calls = 0
        self._accepted: Counter[str] = Counter()
        self._nanos: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._failure: BaseException | None = None
        self._waiting: set[asyncio.Future[Any]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then everything sent is acknowledged and the last totals are told."""
        caught_up = False
        told = self._clock.monotonic()
        began, sent = told, 0
        tell("started", event_time=self._taken, until=self._events.base)
        while not stop.is_set():
            if self._failure is not None:
                raise self._failure
            now = self._events.at(self._wall())
            until = min(now, self._taken + _CHUNK_S)
            self._inject(until)
            for call in self._traffic.take(until):
                await self._make(call)
                sent += 1
            self._taken = until
            if self._clock.monotonic() - told >= _TELL_S:
                told = self._clock.monotonic()
                self._tell_totals()
            if until < now:
                early = began + sent / self._rate - self._clock.monotonic()
                await self._clock.sleep(max(early, 0.0))
                continue
            if not caught_up:
                caught_up = True
                await self._settle()
                tell("caught_up")
            await self._clock.sleep(_BEAT_S)
        await self._settle()
        self._tell_totals("ended")

    def go(self) -> None:
        """Start the scripted events."""
        begin = self._taken + 0.5
        length = None if self._seconds is None else self._seconds * self._events.speed
        self._script = script(begin, self._busiest, length)
        self._upcoming = next(self._script, None)

    async def obey(self, command: ThrottleCommand) -> None:
        """Take in a throttle command and answer it."""
        result, detail = self._gateway.obey(command, self._taken)
        if result == "applied" and not isinstance(command.action, Release):
            tell("throttled", at=self._wall(), command=command.model_dump(mode="json", exclude_none=True))
        ack = ThrottleAck(
            command_id=command.command_id,
            gateway=_GATEWAY,
            result=result,
            detail=detail,
            acked_at=self._clock.now(),
        )
        await self._send(THROTTLE_ACKS.name, command.command_id, ack.to_json())

    def _inject(self, until: float) -> None:
        while self._upcoming is not None and self._upcoming.start <= until + _CHUNK_S:
            self._injected[self._upcoming.name] = self._upcoming
            self._traffic.inject(self._upcoming)
            self._upcoming = next(self._script, None)

    async def _make(self, call: Call) -> None:
        made = self._gateway.admit(call)
        if call.injection is not None:
            self._answer(self._injected[call.injection], call, made)
        if not made:
            self._others["rejected"] += 1
            return
        self._calls += 1
        published = publish(call, f"{self._prefix}-{self._calls:x}", self._pricer)
        sent = await self._send(COST_EVENTS.name, call.workflow, published.value)
        sent.add_done_callback(lambda done: self._count(done, call.workflow, published.nanos))
        for extra in self._faults.after(call.workflow, published.value):
            await self._send(COST_EVENTS.name, call.workflow, extra.value)
            self._others[extra.what] += 1

    def _answer(self, injection: Injection, call: Call, made: bool) -> None:
        name = injection.name
        if made and name not in self._announced:
            self._announced.add(name)
            tell(
                "injected",
                name=name,
                workflow=injection.workflow,
                kind=injection.kind,
                benign=injection.benign,
                trace_id=call.trace_id if injection.kind == "retry_loop" else None,
                at=self._wall(),
                ends=injection.end,
            )
        if not injection.answered(made):
            self._traffic.end(name)
            tell("gave_up", name=name)

    async def _send(self, topic: str, key: str, value: bytes) -> asyncio.Future[Any]:
        name = f"{self._kafka.topic_prefix}{topic}"
        sent: asyncio.Future[Any] = await self._sender.send(name, value, key.encode())
        self._waiting.add(sent)
        sent.add_done_callback(self._acknowledged)
        return sent

    def _acknowledged(self, sent: asyncio.Future[Any]) -> None:
        self._waiting.discard(sent)
        if not sent.cancelled() and sent.exception() is not None:
            self._failure = sent.exception()

    def _count(self, sent: asyncio.Future[Any], workflow: str, nanos: int) -> None:
        if not sent.cancelled() and sent.exception() is None:
            self._accepted[workflow] += 1
            self._nanos[workflow] += nanos

    async def _settle(self) -> None:
        """Wait until the broker has acknowledged everything."""
        await self._sender.flush()
        while self._waiting:
            await asyncio.wait(set(self._waiting))
        await asyncio.sleep(0)
        if self._failure is not None:
            raise self._failure

    def _tell_totals(self, what: str = "totals") -> None:
        tell(
            what,
            workflows={name: [n, self._nanos[name]] for name, n in self._accepted.items()},
            event_time=self._taken,
            progress=min(1.0, (self._taken - self._started) / max(self._events.base - self._started, 1.0)),
            **{name: self._others[name] for name in ("rejected", "duplicate", "malformed")},
        )

    def _wall(self) -> float:
        return self._clock.now().timestamp()


async def _listen(driver: Driver, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        if line.strip() == b"go":
            driver.go()
    stop.set()  # whoever started us is gone


async def _follow_throttles(driver: Driver, settings: Settings) -> None:
    topic = settings.kafka.topic(THROTTLE_COMMANDS)
    async for record in read(settings.kafka, topic, from_start=False, follow=True):
        if record.value is None:
            continue
        try:
            command = decode(ThrottleCommand, record.value)
        except Refused as refused:
            tell("unreadable", topic=topic, offset=record.offset, why=str(refused))
            continue
        await driver.obey(command)


async def drive(stop: asyncio.Event, given: argparse.Namespace, settings: Settings, clock: Clock) -> None:
    """Run the driver with what it listens to."""
    kafka = settings.kafka
    wall = clock.now().timestamp()
    events = EventClock.begin(wall, given.speed, given.seconds)
    async with started(producer(kafka, client_id="tidegate-demo-driver", linger_ms=10), kafka) as sender:
        driver = Driver(
            sender,
            settings,
            clock,
            events,
            seed=given.seed,
            backfill_s=given.backfill_hours * 3_600,
            rate=given.rate,
            seconds=given.seconds,
        )
        tasks = [
            asyncio.create_task(_listen(driver, stop)),
            asyncio.create_task(_follow_throttles(driver, settings)),
            asyncio.create_task(driver.run(stop)),
        ]
        try:
            done, _ = await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m service.demo.driver", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--backfill-hours", type=float, default=24.0)
    parser.add_argument("--rate", type=float, default=6_000.0, help="most events a second while catching up")
    parser.add_argument("--seconds", type=float, default=None, help="length of the script, wall time")
    return parser.parse_args()


def main() -> int:
    given = _arguments()
    settings = Settings.load()
    pace_empty_fetches()
    configure(settings.log)
    return run_role(lambda stop: drive(stop, given, settings, SystemClock()))


if __name__ == "__main__":
    sys.exit(main())
