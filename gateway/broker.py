"""How the library talks to Kafka: the only file in it that knows aiokafka."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from schemas.topics import Topic

__all__ = [
    "Connection",
    "KafkaError",
    "KafkaTimeoutError",
    "Producer",
    "TopicPartition",
    "abandon",
    "at_most",
    "consumer",
    "has_topic",
    "not_ours",
    "producer",
]

_STOP_S: Final = 5.0
_LOG = logging.getLogger(__name__)


class Producer(Protocol):
    """What is used of aiokafka's producer."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def send(
        self, topic: str, value: bytes, *, key: bytes, headers: list[tuple[str, bytes]]
    ) -> asyncio.Future[Any]: ...
    async def partitions_for(self, topic: str) -> set[int]: ...


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the broker is, and how to get in.

    Attributes
    ----------
    bootstrap_servers : str
        `host:port`, several with commas.
    topic_prefix : str
        As the service's `kafka.topic_prefix`.
    security_protocol : str
        PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL; SASL needs mechanism, username and password.
    ssl_context : ssl.SSLContext or None
        For SSL and SASL_SSL; None: the system's authorities.
    """

    bootstrap_servers: str = "localhost:9092"
    topic_prefix: str = "tidegate."
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)

    def topic(self, topic: Topic) -> str:
        """The topic's name on the broker."""
        return f"{self.topic_prefix}{topic.name}"

    def options(self) -> Mapping[str, Any]:
        """Arguments of any client."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers.split(","),
            "security_protocol": self.security_protocol,
            "metadata_max_age_ms": 60_000,
            # Each attempt of a client that finds no broker is a line in the log.
            "retry_backoff_ms": 500,
        }
        if self.security_protocol.startswith("SASL_"):
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self.ssl_context or ssl.create_default_context()
        return options


def producer(connection: Connection, client_id: str) -> AIOKafkaProducer:
    """Idempotent: what is acknowledged is on all in-sync replicas, once and in order. Not started.

    It never gives up on a record while the broker is away: a retry that goes through after all is recognised by
    its sequence number.
    """
    return AIOKafkaProducer(
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        # aiokafka's lz4 is at level 9: an eighth of zstd's speed, for a third more bytes.
        compression_type="zstd",
        linger_ms=5,
        max_batch_size=131_072,
        request_timeout_ms=30_000,
        **connection.options(),
    )


async def has_topic(sender: Producer, topic: str, within_s: float) -> bool:
    """Whether the broker has a topic that may be written to. False as well if it has not said so in time: aiokafka
    asks for 30 s before it believes that there is none, and a send waits as long."""
    try:
        async with asyncio.timeout(within_s):
            await sender.partitions_for(topic)
    except (
        TimeoutError,
        InvalidTopicError,
        TopicAuthorizationFailedError,
        UnknownTopicOrPartitionError,
    ):
        return False
    return True


async def abandon(sender: Producer) -> None:
    """Close a producer without flushing it: its `stop` would wait for a broker that is away. Some seconds at most.

    Private, and safe: aiokafka is pinned exactly.
    """
    if isinstance(sender, AIOKafkaProducer) and sender._sender.sender_task is not None:
        sender._closed = True
        # Cancelled, it still waits for its requests, which are repeated for as long as the broker is away.
        sender._sender.sender_task.cancel()
        await asyncio.wait([sender._sender.sender_task], timeout=1.0)
        await at_most(_STOP_S, sender.client.close())
    else:
        await at_most(_STOP_S, sender.stop())


async def at_most(seconds: float, closing: Coroutine[Any, Any, None]) -> None:
    """Let something close for so long, whatever comes of it; a warning says what did.

    In a task of its own: what aiokafka closes lets the CancelledError of its own inner tasks out, which would pass
    for a cancellation of whoever closes it.
    """
    what = getattr(closing, "__qualname__", "closing")
    task = asyncio.create_task(closing)
    await asyncio.wait([task], timeout=seconds)
    if not task.done():
        task.cancel()
        _LOG.warning("%s: not closed within %g s", what, seconds)
    elif not task.cancelled() and (error := task.exception()) is not None:
        _LOG.warning("%s: %r", what, error)


def not_ours() -> bool:
    """Whether a CancelledError that was caught came out of aiokafka, and nobody cancelled this task."""
    task = asyncio.current_task()
    return task is not None and not task.cancelling()


def consumer(connection: Connection, client_id: str) -> AIOKafkaConsumer:
    """Without a group: every gateway process reads all of the topics that it is assigned. Not started."""
    return AIOKafkaConsumer(
        client_id=client_id,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        # A command should not wait.
        fetch_max_wait_ms=100,
        request_timeout_ms=30_000,
        **connection.options(),
    )
