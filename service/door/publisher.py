"""Events onto the topic: done when the broker has acknowledged every one of them, and not before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from service.door.batch import Event
from service.errors import BrokerUnavailable
from service.kafka import KafkaError, KafkaTimeoutError, Producer, producer, require_topics, unavailable
from service.runtime.clock import Clock
from service.runtime.health import Health
from service.runtime.metrics import DOOR_ACK_SECONDS, DOOR_NOT_ACKNOWLEDGED
from service.settings import KafkaSettings

HEADER: Final = "tidegate-door"
"""Of each record: the name of the token it came in with."""
FORMAT: Final = ("tidegate-format", b"tidegate")
"""Of each record: it is a cost event of the wire format, whatever ingest takes the others on the topic for."""
_CLOSE_S: Final = 5.0
_TURN: Final = 200
"""Events sent before others get a turn: some milliseconds."""

_LOG = logging.getLogger(__name__)


class NotAcknowledged(Exception):
    """Not every event is known to be on the topic. Some may be: sending all of them again does no harm."""


class Publishes(Protocol):
    """Where a batch goes."""

    async def publish(self, events: Sequence[Event], token: str) -> None:
        """Return when every event is acknowledged by all in-sync replicas. Raises NotAcknowledged."""
        ...


class Publisher:
    """An idempotent producer with a deadline.

    aiokafka never gives up on a record of an idempotent producer: what was not acknowledged in time stays in
    its buffers (some 500 kB per partition at most) and is sent when the broker is back, which is why a repeated
    batch must do no harm. Until then one of these records is kept as a *canary*, and every other batch is
    refused at once instead of waiting for its deadline: the first acknowledgement ends that.

    Batches are handed to the producer one after the other, so that each waits for little but its own records.
    The deadline begins anew while they are taken: many events are not a broker that is away.

    A record that fails for good ends the process: it leaves a gap in the producer's sequence numbers, after
    which the broker refuses whatever follows.
    """

    def __init__(
        self,
        sender: Producer,
        kafka: KafkaSettings,
        topic: str,
        clock: Clock,
        health: Health,
        timeout_s: float,
    ) -> None:
        self._sender = sender
        self._kafka = kafka
        self._topic = topic
        self._clock = clock
        self._health = health
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self._canary: asyncio.Future[Any] | None = None
        self._broken = asyncio.Event()
        self._error: KafkaError | None = None
        health.set_ready("broker", True)

    async def failed(self) -> None:
        """Return never. Raises BrokerUnavailable when a record has failed for good."""
        await self._broken.wait()
        assert self._error is not None
        raise unavailable(self._error, self._kafka) from self._error

    async def publish(self, events: Sequence[Event], token: str) -> None:
        """As `Publishes.publish`. No progress for `timeout_s`, or broken, or waiting for the canary."""
        sent: list[asyncio.Future[Any]] = []
        began = self._clock.monotonic()
        try:
            async with self._turn:
                if self._broken.is_set() or self._canary is not None:
                    DOOR_NOT_ACKNOWLEDGED.inc()
                    raise NotAcknowledged("the broker does not acknowledge at the moment")
                await self._send(events, [(HEADER, token.encode()), FORMAT], sent)
            async with asyncio.timeout(self._timeout_s):
                await asyncio.wait(sent)
            if errors := [error for future in sent if (error := future.exception()) is not None]:
                raise errors[0]
        except (TimeoutError, KafkaTimeoutError):
            DOOR_NOT_ACKNOWLEDGED.inc()
            self._wait_for(next((future for future in sent if not future.done()), None))
            raise NotAcknowledged(f"the broker did not acknowledge within {self._timeout_s:g} s") from None
        except KafkaError as error:
            DOOR_NOT_ACKNOWLEDGED.inc()
            self._break(error)
            raise NotAcknowledged(f"the broker refused: {type(error).__name__}") from error
        finally:
            for future in sent:
                if future is not self._canary and not future.cancel():
                    future.exception()  # asked for, so that nobody complains of an error that was never seen
        DOOR_ACK_SECONDS.observe(self._clock.monotonic() - began)

    async def _send(
        self, events: Sequence[Event], headers: list[tuple[str, bytes]], sent: list[asyncio.Future[Any]]
    ) -> None:
        """Hand all to the producer, which waits when its buffers are full. Raises TimeoutError or KafkaError."""
        for at in range(0, len(events), _TURN):
            async with asyncio.timeout(self._timeout_s):
                for event in events[at : at + _TURN]:
                    sent.append(
                        await self._sender.send(self._topic, event.value, key=event.key, headers=headers)
                    )
                await asyncio.sleep(0)

    def _wait_for(self, canary: asyncio.Future[Any] | None) -> None:
        if canary is None or self._canary is not None:
            return
        _LOG.warning("the broker has not acknowledged for %g s: 503 until it does", self._timeout_s)
        self._health.set_ready("broker", False, "waiting for an acknowledgement")
        self._canary = canary
        canary.add_done_callback(self._answered)

    def _answered(self, canary: asyncio.Future[Any]) -> None:
        self._canary = None
        if canary.cancelled():
            return
        error = canary.exception()
        if isinstance(error, KafkaError):
            self._break(error)
        else:
            _LOG.info("the broker acknowledges again")
            self._health.set_ready("broker", True)

    def _break(self, error: KafkaError) -> None:
        self._health.set_ready("broker", False, "a record failed for good")
        self._error = self._error or error
        self._broken.set()


@asynccontextmanager
async def publisher(
    kafka: KafkaSettings, topic: str, clock: Clock, health: Health, timeout_s: float
) -> AsyncIterator[Publisher]:
    """A publisher to an existing topic. At the end its buffers are flushed, for 5 s at most.

    What is still in them then was promised to nobody: its requests were answered 503.

    Raises
    ------
    BrokerUnavailable
        No broker or no such topic.
    """
    sender = producer(kafka, client_id="tidegate-door")
    try:
        try:
            await sender.start()
            await require_topics(sender, [topic])
            # … and once more so that the first request does not wait for it.
            await sender.partitions_for(topic)
        except BrokerUnavailable:
            raise
        except KafkaError as error:
            raise unavailable(error, kafka) from error
        yield Publisher(sender, kafka, topic, clock, health, timeout_s)
    finally:
        try:
            async with asyncio.timeout(_CLOSE_S):
                await sender.stop()
        except TimeoutError:
            _LOG.warning("the broker took nothing for %g s: what was answered 503 is given up", _CLOSE_S)
        except KafkaError as error:
            _LOG.warning("while stopping: %r", error)
