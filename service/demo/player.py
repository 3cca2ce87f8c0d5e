"""Plays the demo's traffic into the topic as gateways would, obeys throttles, and tells what it did."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import orjson

from schemas.throttles import Release, ThrottleAck, ThrottleCommand
from schemas.topics import COST_EVENTS, THROTTLE_ACKS
from service.demo.call import Call, publish
from service.demo.event_clock import EventClock
from service.demo.faults import Faults
from service.demo.gateway import Gateway
from service.demo.injections import Injection, script
from service.demo.traffic import Traffic
from service.ingest.price import Pricer
from service.kafka import Producer
from service.runtime.clock import Clock
from service.settings import Settings

_GATEWAY: Final = "demo-gateways"
_CHUNK_S: Final = 180.0
"""Event time published before the player looks up again."""
_AHEAD_S: Final = 780.0
"""Event time that any partition may be behind at ingest while the past is published.

In live traffic all partitions are at the same time. Detect waits for the slowest of them, and of a workflow that
is far ahead of it (twenty minutes) it gives up judging and learning from buckets, though never their money.
"""
_BEAT_S: Final = 0.05
_TELL_S: Final = 0.25
_BUSIEST_IN_S: Final = 5_400.0
"""The demo begins an hour and a half before the busiest time of its organisation's day."""


def tell(what: str, **fields: Any) -> None:
    """One line to whoever started us."""
    sys.stdout.buffer.write(orjson.dumps({"what": what, **fields}, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


class Player:
    """Plays the traffic from a day ago up to now as fast as it is taken, then at the clock's speed.

    Parameters
    ----------
    committed : callable
        The next offset of each partition of the cost-events topic, as ingest has committed it.
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
        committed: Callable[[], Awaitable[dict[int, int]]],
        seconds: float | None,
    ) -> None:
        self._sender = sender
        self._kafka = settings.kafka
        self._topic = settings.kafka.topic(COST_EVENTS)
        self._clock = clock
        self._events = events
        self._seconds = seconds
        self._committed = committed
        self._open: dict[int, deque[tuple[int, float]]] = defaultdict(deque)
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
        self._caught_up = False
        self._accepted: Counter[str] = Counter()
        self._nanos: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._failure: BaseException | None = None
        self._unanswered = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then everything sent is acknowledged and the last totals are told."""
        told = self._clock.monotonic()
        tell("started", event_time=self._taken, until=self._events.base)
        while not stop.is_set():
            if self._failure is not None:
                raise self._failure
            now = self._events.at(self._wall())
            until = min(now, self._taken + _CHUNK_S)
            self._inject(until)
            for call in self._traffic.take(until):
                await self._make(call)
            self._taken = until
            if self._clock.monotonic() - told >= _TELL_S:
                told = self._clock.monotonic()
                self._tell_totals()
            if until < now:
                await self._make_room(stop)
                continue
            if not self._caught_up:
                self._caught_up = True
                await self._settle()
                self._open.clear()
                tell("caught_up")
            await self._clock.sleep(_BEAT_S)
        await self._settle()
        self._tell_totals("ended")

    async def _make_room(self, stop: asyncio.Event) -> None:
        """Wait until ingest has caught up with us well enough, in every partition."""
        await self._settle()  # only what is acknowledged has an offset to look for
        while not stop.is_set():
            oldest = min((records[0][1] for records in self._open.values() if records), default=self._taken)
            if self._taken - oldest < _AHEAD_S:
                return
            before = sum(map(len, self._open.values()))
            for partition, offset in (await self._committed()).items():
                records = self._open[partition]
                while records and records[0][0] < offset:
                    records.popleft()
            if sum(map(len, self._open.values())) == before:
                await self._clock.sleep(_BEAT_S)

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
            self._consult(self._injected[call.injection], call, made)
        if not made:
            self._others["rejected"] += 1
            return
        self._calls += 1
        published = publish(call, f"{self._prefix}-{self._calls:x}", self._pricer)
        sent = await self._send(COST_EVENTS.name, call.workflow, published.value)
        sent.add_done_callback(lambda done: self._count(done, call, published.nanos))
        for extra in self._faults.after(call.workflow, published.value):
            await self._send(COST_EVENTS.name, call.workflow, extra.value)
            self._others[extra.what] += 1

    def _consult(self, injection: Injection, call: Call, made: bool) -> None:
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
        self._unanswered += 1
        sent.add_done_callback(self._answered)
        return sent

    def _answered(self, sent: asyncio.Future[Any]) -> None:
        self._unanswered -= 1
        if not sent.cancelled() and sent.exception() is not None:
            self._failure = sent.exception()

    def _count(self, sent: asyncio.Future[Any], call: Call, nanos: int) -> None:
        if sent.cancelled() or sent.exception() is not None:
            return
        self._accepted[call.workflow] += 1
        self._nanos[call.workflow] += nanos
        if not self._caught_up:
            written = sent.result()
            self._open[written.partition].append((written.offset, call.at))

    async def _settle(self) -> None:
        """Wait until the broker has acknowledged everything."""
        await self._sender.flush()
        while self._unanswered:
            await self._clock.sleep(0.001)  # the callbacks come in the loop's next rounds
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
