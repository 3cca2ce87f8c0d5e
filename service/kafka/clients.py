"""The one place that builds Kafka clients: every option that matters is set here, with its reason.

aiokafka's defaults would lose data or time here: `acks=1`, 16 kB batches without compression, `latest`,
auto-commit on, uncommitted records visible.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    TopicAuthorizationFailedError,
)

from service.errors import BrokerUnavailable, TopicsMissing
from service.settings import KafkaSettings

MAX_RECORD_BYTES = 1_048_576
"""Kafka's own default of `message.max.bytes`; no record of ours is near it."""


_C = TypeVar("_C")


def consumer(
    kafka: KafkaSettings, *topics: str, group_id: str | None, from_start: bool = True, **overrides: Any
) -> AIOKafkaConsumer:
    """A consumer that commits only when told and sees only committed records.

    Parameters
    ----------
    topics : str
        Physical names (`kafka.topic(...)`); none to `assign()` or `subscribe()` later.
    group_id : str or None
        None: no group; assign partitions and seek.
    from_start : bool
        Where to begin without a committed offset. False begins at the end.
    overrides
        Any argument of `aiokafka.AIOKafkaConsumer`.

    Not started: use `started`, or `await start()`. Raises SettingsError.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers.split(","),
        "client_id": f"tidegate-{group_id or 'reader'}",
        "group_id": group_id,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest" if from_start else "latest",
        "isolation_level": "read_committed",
        # A batch is worth a round trip, but a person waits for the answer at the end of the line.
        "fetch_max_wait_ms": 100,
        "fetch_max_bytes": 16 * MAX_RECORD_BYTES,
        "max_partition_fetch_bytes": 4 * MAX_RECORD_BYTES,
        # A worker killed hard is replaced within seconds; a slow one has minutes.
        "session_timeout_ms": round(kafka.session_timeout_s * 1000),
        "heartbeat_interval_ms": round(kafka.session_timeout_s * 1000 / 5),
        "max_poll_interval_ms": 120_000,
        "rebalance_timeout_ms": 30_000,
        "request_timeout_ms": 30_000,
        "metadata_max_age_ms": 60_000,
        "retry_backoff_ms": 100,
        **kafka.security(),
        **overrides,
    }
    return AIOKafkaConsumer(*topics, **options)


def producer(kafka: KafkaSettings, *, client_id: str, **overrides: Any) -> AIOKafkaProducer:
    """An idempotent producer: an acknowledged record is on all in-sync replicas, once, in order.

    Not started. Raises SettingsError.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers.split(","),
        "client_id": client_id,
        "acks": "all",
        "enable_idempotence": True,
        # aiokafka compresses lz4 at level 9: an eighth of zstd's speed, for a third more bytes.
        "compression_type": "zstd",
        "linger_ms": 5,
        "max_batch_size": 262_144,
        "max_request_size": MAX_RECORD_BYTES,
        "request_timeout_ms": 30_000,
        "metadata_max_age_ms": 60_000,
        "retry_backoff_ms": 100,
        **kafka.security(),
        **overrides,
    }
    return AIOKafkaProducer(**options)


def transactional_producer(
    kafka: KafkaSettings, transactional_id: str, transaction_timeout_ms: int = 60_000, **overrides: Any
) -> AIOKafkaProducer:
    """A producer that `start()` fences every older one with the same `transactional_id` of. Not started."""
    return producer(
        kafka,
        client_id=overrides.pop("client_id", transactional_id),
        transactional_id=transactional_id,
        transaction_timeout_ms=transaction_timeout_ms,
        **overrides,
    )


def admin_client(kafka: KafkaSettings, **overrides: Any) -> AIOKafkaAdminClient:
    """An admin client. Not started. Raises SettingsError."""
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers.split(","),
        "client_id": "tidegate-admin",
        "request_timeout_ms": 15_000,
        **kafka.security(),
        **overrides,
    }
    return AIOKafkaAdminClient(**options)


@asynccontextmanager
async def started(client: _C, kafka: KafkaSettings) -> AsyncIterator[_C]:
    """Start a client, and stop it in the end whatever happened.

    Raises
    ------
    BrokerUnavailable
        No broker answers there, or it turns us away; the address is in the message, credentials are not.
    """
    some: Any = client
    stop = some.close if isinstance(client, AIOKafkaAdminClient) else some.stop
    try:
        try:
            await some.start()
        except KafkaError as error:
            raise unavailable(error, kafka) from error
        yield client
    finally:
        await stop()


def unavailable(error: KafkaError, kafka: KafkaSettings) -> BrokerUnavailable:
    """What a person should read when a client could not be started."""
    where = kafka.bootstrap_servers
    if isinstance(error, AuthenticationFailedError):
        return BrokerUnavailable(f"the broker at {where} refused the credentials: {error}")
    if isinstance(error, TopicAuthorizationFailedError):
        return BrokerUnavailable(f"the broker at {where} does not authorise this user: {error}")
    if isinstance(error, (KafkaConnectionError, NodeNotReadyError)):
        return BrokerUnavailable(
            f"no Kafka broker answers at {where} over {kafka.security_protocol}: {error}"
        )
    return BrokerUnavailable(f"the broker at {where} failed: {type(error).__name__}: {error}")


async def require_topics(
    client: AIOKafkaConsumer | AIOKafkaProducer, topics: Iterable[str]
) -> dict[str, list[TopicPartition]]:
    """The partitions of topics, as the brokers say, asked with a started client.

    aiokafka itself would wait for a missing topic for ever, and a consumer knows no topic's partitions before
    it is assigned some.

    Raises
    ------
    TopicsMissing
    KafkaError
        No broker answered.
    """
    # Private, and safe: aiokafka is pinned exactly. Its public `topics()` has no partitions.
    inner = client._client if isinstance(client, AIOKafkaConsumer) else client.client
    cluster = await inner.fetch_all_metadata()
    found = {topic: cluster.partitions_for_topic(topic) for topic in topics}
    if missing := sorted(topic for topic, partitions in found.items() if not partitions):
        raise TopicsMissing(missing)
    return {
        topic: sorted(TopicPartition(topic, p) for p in partitions) for topic, partitions in found.items()
    }
