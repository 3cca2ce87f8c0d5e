"""From the stores to the broker, in order, over and over until it has everything."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol

from gateway.aside import Aside
from gateway.broker import KafkaError, KafkaTimeoutError, Producer, abandon, has_topic, not_ours
from gateway.letter import FORMAT_HEADER, unseal
from gateway.overflow import Overflow
from gateway.spool import Entry, Position

_IN_FLIGHT_BYTES: Final = 1_048_576
_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_ASK_S: Final = 2.0
"""How long everything waits to learn whether a topic is there: once, and every minute while it is not."""

_LOG = logging.getLogger(__name__)


class Store(Protocol):
    """Where records wait: a `Spool`, or memory."""

    damaged: int

    @property
    def size_bytes(self) -> int: ...
    @property
    def read_up(self) -> bool: ...
    @property
    def empty(self) -> bool: ...
    def append(self, payloads: Sequence[bytes]) -> int: ...
    def read(self, max_bytes: int = ...) -> list[Entry]: ...
    def acknowledge(self, position: Position) -> None: ...
    def rewind(self) -> None: ...
    def close(self) -> None: ...


class _Sent(NamedTuple):
    store: Store
    after: Position
    size: int
    future: asyncio.Future[Any]
    aside: bool = False


class Delivery:
    """Belongs to one event loop.

    A record that fails for good ends its producer: what came after it may have been delivered, so everything from
    the first record on that is not acknowledged is sent again by a new one. That can double records, with their
    event ids; a broker that was away for however long cannot.

    Only cost events wait for their topic. What is for another one that the broker does not have is set aside.
    """

    def __init__(
        self,
        stores: list[Store],
        overflow: Overflow,
        make_producer: Callable[[], Producer],
        counts: Counter[str],
        events: bytes,
    ) -> None:
        """`stores`: read one after the other; the last is appended to. `overflow`: when that takes nothing.
        `events`: the topic of cost events, on the broker."""
        self._stores: list[Store] = [*stores, overflow]
        self._disk = stores[-1] if stores else None
        self._overflow = overflow
        self._make_producer = make_producer
        self._counts = counts
        self._events = events
        self._aside = Aside(asyncio.get_running_loop().time)
        self._moved = asyncio.Event()
        self._finishing = False
        self._sent: deque[_Sent] = deque()
        self._in_flight = 0
        self._failure: BaseException | None = None

    @property
    def empty(self) -> bool:
        """Whether the broker has everything."""
        return self._aside.empty and all(store.empty for store in self._stores)

    @property
    def size_bytes(self) -> int:
        """Disk and memory that is taken."""
        return self._aside.size_bytes + sum(store.size_bytes for store in self._stores)

    def keep(self, payloads: list[bytes]) -> None:
        """Put records to what waits. On disk, unless older ones wait in memory because the disk took nothing."""
        kept = 0
        if self._disk is not None and self._overflow.empty:
            try:
                kept = self._disk.append(payloads)
            except OSError as error:
                if not self._counts["disk_errors"]:
                    _LOG.warning("the spool takes nothing: %s; events wait in memory", error)
                self._counts["disk_errors"] += 1
        kept += self._overflow.append(payloads[kept:])
        self._counts["dropped"] += len(payloads) - kept
        self._moved.set()

    def finish(self) -> None:
        """`run` returns when the broker has everything that is kept by now."""
        self._finishing = True
        self._moved.set()

    async def run(self) -> None:
        """Deliver until told to finish. Raises OSError when a spool cannot be read."""
        pauses = 0
        while True:
            sender = self._make_producer()
            delivered = self._counts["delivered"]
            try:
                await sender.start()
                await self._deliver(sender)
            except (KafkaError, OSError, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and not not_ours():
                    raise
                self._counts["failures"] += 1
                _LOG.warning("delivery begins again from what is not acknowledged: %r", error)
            else:
                return
            finally:
                await self._end(sender)
                for store in self._stores:
                    store.rewind()
            pauses = 0 if self._counts["delivered"] > delivered else min(pauses + 1, len(_PAUSES_S) - 1)
            await asyncio.sleep(_PAUSES_S[pauses])

    def close(self) -> None:
        """Let go of the stores. Raises OSError."""
        if waiting := self._aside.give_back():
            self.keep(waiting)  # for the next start
        for store in self._stores:
            self._counts["damaged"] += store.damaged
            store.damaged = 0
            store.close()

    async def _deliver(self, sender: Producer) -> None:
        while True:
            self._moved.clear()
            if self._failure is not None:
                raise self._failure
            for topic in self._aside.due():
                await self._ask(sender, topic)
            taken = self._next() if self._in_flight < _IN_FLIGHT_BYTES else None
            if taken is None:
                if self._finishing and all(store.empty for store in self._stores):
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._aside.wait_s()):
                        await self._moved.wait()
                continue
            store, entries = taken
            for entry in entries:
                await self._send(sender, store, entry)

    def _next(self) -> tuple[Store, list[Entry]] | None:
        for store in list(self._stores):
            if entries := store.read():
                return store, entries
            self._counts["damaged"] += store.damaged
            store.damaged = 0
            if not store.empty:
                # The stores after it are later: wait only for what is under way, not to read them.
                continue
            if store not in (self._disk, self._overflow):
                store.close()
                self._stores.remove(store)
        return None

    async def _ask(self, sender: Producer, topic: bytes) -> None:
        there = await has_topic(sender, topic.decode(), _ASK_S)
        if waited := self._aside.heard(topic, there=there):
            self.keep(waited)

    async def _send(self, sender: Producer, store: Store, entry: Entry) -> None:
        letter = unseal(entry.payload)
        aside = False
        if letter is not None and letter.topic != self._events:
            if self._aside.unsure(letter.topic):
                await self._ask(sender, letter.topic)
            aside = self._aside.is_missing(letter.topic)
        if letter is None or aside:
            if letter is None:
                _LOG.warning("a record of a later version of this library is passed over")
                self._counts["damaged"] += 1
            elif not self._aside.put(letter.topic, entry.payload):
                self._counts["dropped"] += 1
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            future.set_result(None)
        else:
            while True:
                try:
                    future = await sender.send(
                        letter.topic.decode(),
                        letter.value,
                        key=letter.key,
                        headers=[(FORMAT_HEADER, letter.format)],
                    )
                except KafkaTimeoutError:
                    # No room in the producer's buffer yet: the record was not taken.
                    if self._failure is not None:
                        raise self._failure from None
                    continue
                break
        self._sent.append(_Sent(store, entry.after, len(entry.payload), future, aside))
        self._in_flight += len(entry.payload)
        future.add_done_callback(self._settle)

    def _settle(self, future: asyncio.Future[Any]) -> None:
        """Acknowledge up to the first record that is under way still; the first call of a batch does so for all."""
        done: dict[int, _Sent] = {}
        while self._sent and self._sent[0].future.done():
            first = self._sent[0]
            failure = None if first.future.cancelled() else first.future.exception()
            if failure is not None or first.future.cancelled():
                self._failure = self._failure or failure or KafkaError("a record was given up")
                break
            self._sent.popleft()
            self._in_flight -= first.size
            self._counts["delivered"] += not first.aside
            done[id(first.store)] = first
        for last in done.values():
            try:
                last.store.acknowledge(last.after)
            except OSError as error:
                # What is not noted comes again, with its event ids, if this process ends before the next note.
                self._counts["disk_errors"] += 1
                _LOG.warning("cannot note in the spool what is delivered: %s", error)
        if not future.cancelled():
            future.exception()  # asked for, so that nobody complains of an error that was never seen
        self._moved.set()

    async def _end(self, sender: Producer) -> None:
        """Let go of a producer, without waiting for a broker that is away."""
        for sent in self._sent:
            sent.future.remove_done_callback(self._settle)
            sent.future.add_done_callback(_seen)
        self._sent.clear()
        self._in_flight = 0
        self._failure = None
        await abandon(sender)


def _seen(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
