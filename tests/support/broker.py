"""The broker under test, and the few things every broker test does to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from service.kafka.embedded.apache import ApacheKafka
from service.kafka.embedded.broker import BrokerStartError, EmbeddedBroker, choose
from tests.support.patience import PATIENCE_S

Isolation = Literal["read_committed", "read_uncommitted"]


def apache_required() -> bool:
    """Whether a test run must not fall back to another broker: in CI, or when asked for."""
    return (
        os.environ.get("CI", "").lower() == "true" or os.environ.get("TIDEGATE_REQUIRE_APACHE_KAFKA") == "1"
    )


def describe_choice() -> str:
    """One line for the head of a test run; starts and fetches nothing."""
    reason = ApacheKafka().available()
    if reason is None:
        return f"{ApacheKafka.name}, started at its first use"
    if apache_required():
        return f"none: Apache Kafka is required and cannot run here: {reason}"
    return f"noida-db, because Apache Kafka cannot run here: {reason}"


def broker_under_test() -> EmbeddedBroker:
    """Apache Kafka, started; noida-db where that cannot run and is not required. Raises BrokerStartError."""
    broker = choose("apache" if apache_required() else "auto")
    broker.start()
    return broker


async def create_topics(
    bootstrap: str, topics: Mapping[str, int], configs: Mapping[str, str] | None = None
) -> None:
    """Create `topics` (name to number of partitions), all with `configs`, and wait until each has leaders."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        wanted = [NewTopic(n, p, 1, topic_configs=dict(configs or {})) for n, p in topics.items()]
        answer = await admin.create_topics(wanted)
        for name, code, message in answer.topic_errors:
            if code:
                raise BrokerStartError(f"cannot create topic {name}: {message} ({code})")
        async with asyncio.timeout(PATIENCE_S):
            while not _all_led(await admin.describe_topics(list(topics)), topics):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await admin.close()


def _all_led(described: Iterable[dict[str, Any]], topics: Mapping[str, int]) -> bool:
    leaders = {
        topic["topic"]: [p for p in topic["partitions"] if p["error_code"] == 0 and p["leader"] >= 0]
        for topic in described
        if topic["error_code"] == 0
    }
    return all(len(leaders.get(name, [])) == count for name, count in topics.items())


async def partitions(bootstrap: str, topic: str) -> list[TopicPartition]:
    """The partitions of `topic` in order; empty when there is no such topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    return sorted(TopicPartition(topic, p["partition"]) for p in described["partitions"])


async def read_all(
    bootstrap: str, topic: str, isolation: Isolation = "read_committed", timeout_s: float = PATIENCE_S
) -> list[Any]:
    """Every record of `topic` up to its end as of now: aiokafka ConsumerRecords by (partition, offset).

    The end is the last stable offset when `isolation` is "read_committed": what an open transaction wrote is
    not waited for. Joins no group. Raises TimeoutError.
    """
    assigned = await partitions(bootstrap, topic)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level=isolation,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        consumer.assign(assigned)
        await consumer.seek_to_beginning(*assigned)
        ends = await consumer.end_offsets(assigned)
        records: list[Any] = []
        async with asyncio.timeout(timeout_s):
            # Positions and not records tell the end: the last offsets may be transaction markers.
            while any([await consumer.position(tp) < ends[tp] for tp in assigned]):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records += batch
    finally:
        await consumer.stop()
    before_end = [r for r in records if r.offset < ends[TopicPartition(r.topic, r.partition)]]
    return sorted(before_end, key=lambda r: (r.partition, r.offset))
