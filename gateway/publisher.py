"""Cost events on their way to Kafka, without the call that they are about ever waiting for it.

1. `publish` puts the event into a queue in memory, bounded in bytes, and returns.
2. A thread of its own takes everything from the queue every few milliseconds and appends it to the spool on disk
   in one write. From then on it survives the process.
3. The same thread reads the spool in order and hands it to an idempotent producer. While the broker is away the
   spool grows; when it is back, the rest follows where it stopped.
4. What the broker has acknowledged, up to the first record that it has not, is noted in the spool.

Everything goes through the spool, also while the broker is well: there is one way, which is the tested one, and
nothing is lost that the broker had not acknowledged yet when the process was killed. After such an end the last
records come again, with the same event ids, by which ingest recognises them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from gateway.broker import Connection, Producer, producer
from gateway.delivery import Delivery, Store
from gateway.letter import Letter, seal
from gateway.overflow import Overflow
from gateway.slots import claim
from gateway.spool import MAX_BYTES, Fsync
from schemas.events import UNATTRIBUTED, CostEvent, Outcome
from schemas.throttles import ThrottleAck
from schemas.topics import COST_EVENTS, OUTCOMES, THROTTLE_ACKS

_GATHER_S: Final = 0.005
"""How long events gather in memory before they are written together: what a killed process loses."""
_STOP_S: Final = 5.0
_MAX_BYTES: Final = 98_304
"""Of one record: within a batch of the producer, and half as much again as ingest reads. What the broker could not
take would hold up everything behind it."""

_LOG = logging.getLogger(__name__)


class Publisher:
    """Publishes from any thread and any event loop. Start it in the process that publishes, after it has forked."""

    def __init__(
        self,
        connection: Connection,
        spool: Path | None,
        *,
        name: str = "gateway",
        max_memory_bytes: int = 16_777_216,
        max_spool_bytes: int = MAX_BYTES,
        fsync: Fsync = "never",
        make_producer: Callable[[], Producer] | None = None,
    ) -> None:
        """Nothing is opened before `start`.

        Parameters
        ----------
        spool : Path or None
            A folder for all processes of this gateway on this machine. None: only memory, which a killed process
            loses and which is full after `max_memory_bytes`.
        max_memory_bytes, max_spool_bytes : int
            When both are full, new events are dropped and counted: the oldest are the ones that explain how an
            incident began, and the call never waits.
        fsync : "never", "segment" or "append"
            See `gateway.spool`. Any of them survives `kill -9`; only the last one a power cut.
        """
        self._connection = connection
        self._folder = spool
        self._name = name
        self._max_memory_bytes = max_memory_bytes
        self._max_spool_bytes = max_spool_bytes
        self._fsync: Fsync = fsync
        self._make_producer = make_producer or (lambda: producer(connection, name))
        self._events = connection.topic(COST_EVENTS).encode()
        self._outcomes = connection.topic(OUTCOMES).encode()
        self._acks = connection.topic(THROTTLE_ACKS).encode()
        self._lock = threading.Lock()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._awake = False
        self._open = True
        self._published = self._dropped = 0
        self._counts: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._delivery: Delivery | None = None
        self._close_within_s = 0.0
        self._all_delivered = False

    def publish(self, event: CostEvent) -> bool:
        """Take one event. False if it was dropped: it is too large, there is no room for it, or this is closed."""
        return self._put(Letter(self._events, (event.workflow or UNATTRIBUTED).encode(), event.to_json()))

    def publish_foreign(self, key: str, value: bytes, form: str) -> bool:
        """Take one event in a format that ingest reads by an adapter, as `litellm`. False as for `publish`."""
        return self._put(Letter(self._events, key.encode(), value, form.encode()))

    def publish_outcome(self, outcome: Outcome) -> bool:
        """Take one outcome. False as for `publish`."""
        return self._put(Letter(self._outcomes, outcome.trace_id.encode(), outcome.to_json()))

    def acknowledge(self, ack: ThrottleAck) -> bool:
        """Take one answer to a throttle command. False as for `publish`."""
        return self._put(Letter(self._acks, ack.command_id.encode(), ack.to_json()))

    def start(self) -> Self:
        """Open the spool and begin to deliver, also if the broker is away. Raises OSError."""
        if self._thread is not None:
            raise RuntimeError("a publisher is started once")
        stores: list[Store] = []
        if self._folder is not None:
            own, left = claim(self._folder, max_bytes=self._max_spool_bytes, fsync=self._fsync)
            stores = [*left, own]
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(stores)), name="tidegate-publisher", daemon=True
        )
        self._thread.start()
        return self

    def close(self, timeout_s: float = 10.0) -> bool:
        """Take no more, write what is queued to the spool, and wait so long until the broker has all of it.

        True if it has. What it has not stays in the spool for the next start. Blocks: in a coroutine, call it in a
        thread. A second time does nothing.
        """
        with self._lock:
            self._open = False
            self._close_within_s = timeout_s
            loop, thread = self._loop, self._thread
        if thread is None:
            return not self._queue
        if loop is not None and thread.is_alive():
            loop.call_soon_threadsafe(self._woken.set)
        thread.join(timeout_s + _STOP_S)
        return self._all_delivered

    def counts(self) -> dict[str, int]:
        """For metrics: `published`, `dropped`, `delivered`, `failures` (producers), `disk_errors`, `damaged`."""
        with self._lock:
            told = {"published": self._published, "dropped": self._dropped + self._counts["dropped"]}
        return told | {
            name: self._counts[name] for name in ("delivered", "failures", "disk_errors", "damaged")
        }

    @property
    def waiting_bytes(self) -> int:
        """Memory that is taken by events, and disk that is taken by the spool: what a full one is near to."""
        return self._queued_bytes + (self._delivery.size_bytes if self._delivery is not None else 0)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, letter: Letter) -> bool:
        payload = seal(letter)
        with self._lock:
            full = self._queued_bytes + len(payload) > self._max_memory_bytes
            if full or len(payload) > _MAX_BYTES or not self._open:
                self._dropped += 1
                return False
            self._queue.append(payload)
            self._queued_bytes += len(payload)
            self._published += 1
            # To wake the thread is a system call: once for all that gathers until it has looked.
            wake, self._awake = not self._awake, True
            loop = self._loop
        if wake and loop is not None:
            loop.call_soon_threadsafe(self._woken.set)
        return True

    async def _run(self, stores: list[Store]) -> None:
        """The thread: gather what is queued into the stores, and deliver, until it is closed."""
        delivery = Delivery(
            stores, Overflow(self._max_memory_bytes), self._make_producer, self._counts, self._events
        )
        with self._lock:
            self._delivery = delivery
            self._loop = asyncio.get_running_loop()
            self._woken.set()
        delivering = asyncio.create_task(delivery.run())
        delivering.add_done_callback(lambda _: self._woken.set())
        try:
            while self._open and not delivering.done():
                await self._woken.wait()
                self._woken.clear()
                if self._open:
                    await asyncio.sleep(_GATHER_S)
                delivery.keep(self._taken())
            # Closed: nothing comes after this.
            delivery.keep(self._taken())
            delivery.finish()
            await asyncio.wait([delivering], timeout=self._close_within_s)
        finally:
            with self._lock:
                # Whatever ended it: nothing is taken any more that nobody delivers, and what was taken is kept.
                self._open, self._loop = False, None
            delivery.keep(self._taken())
            delivering.cancel()
            await asyncio.wait([delivering])
            self._all_delivered = delivery.empty
            delivery.close()
        if not delivering.cancelled() and (error := delivering.exception()) is not None:
            _LOG.error("the publisher ended, and drops what is published: %r", error)

    def _taken(self) -> list[bytes]:
        with self._lock:
            payloads = list(self._queue)
            self._queue.clear()
            self._queued_bytes = 0
            self._awake = False
        return payloads
