"""What every Kafka client of ours is built with, and how a broker that is not there is told."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import BrokerUnavailable, TopicsMissing
from service.kafka import (
    TopicPartition,
    admin_client,
    consumer,
    producer,
    require_topics,
    started,
    transactional_producer,
)
from service.kafka.embedded.broker import EmbeddedBroker
from service.kafka.reader import read
from service.settings import KafkaSettings
from tests.support.broker import create_topics

NOWHERE = KafkaSettings(bootstrap_servers="127.0.0.1:1,127.0.0.1:2")


def builders(kafka: KafkaSettings) -> list[Any]:
    return [
        consumer(kafka, "topic", group_id="group"),
        producer(kafka, client_id="test"),
        transactional_producer(kafka, "test-0"),
        admin_client(kafka),
    ]


async def test_nothing_is_left_at_a_default_that_loses_data() -> None:
    reader = consumer(NOWHERE, group_id="group")
    writer = producer(NOWHERE, client_id="test")
    fencing = transactional_producer(NOWHERE, "test-0")
    try:
        assert reader._enable_auto_commit is False
        assert reader._isolation_level == "read_committed"
        assert reader._auto_offset_reset == "earliest"
        assert writer._sender._acks == -1
        assert writer._txn_manager is not None, "idempotent"
        assert fencing._txn_manager.transactional_id == "test-0"
    finally:
        for client in (reader, writer, fencing):
            await client.stop()


async def test_no_broker_is_one_sentence_with_the_address_and_leaks_nothing() -> None:
    for client in builders(NOWHERE):
        with pytest.raises(
            BrokerUnavailable, match=r"no Kafka broker answers at 127\.0\.0\.1:1,127\.0\.0\.1:2"
        ):
            async with started(client, NOWHERE):
                pytest.fail("there is no broker")


@pytest.mark.broker
async def test_the_wrong_security_is_told_as_such(broker: EmbeddedBroker) -> None:
    secured = KafkaSettings(
        bootstrap_servers=broker.bootstrap,
        security_protocol="SASL_PLAINTEXT",
        sasl_username="u",
        sasl_password="correct-horse",
    )
    with pytest.raises(BrokerUnavailable) as caught:
        async with started(producer(secured, client_id="test"), secured):
            pytest.fail("the broker speaks no SASL")
    assert broker.bootstrap in str(caught.value)
    assert "correct-horse" not in str(caught.value)


@pytest.mark.broker
async def test_missing_topics_are_named_and_present_ones_have_their_partitions(
    broker: EmbeddedBroker, topic_prefix: str
) -> None:
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix)
    there, gone = f"{topic_prefix}there", f"{topic_prefix}gone"
    await create_topics(broker.bootstrap, {there: 2})
    for client in (consumer(kafka, group_id=None), producer(kafka, client_id="test")):
        async with started(client, kafka):
            assert await require_topics(client, [there]) == {
                there: [TopicPartition(there, 0), TopicPartition(there, 1)]
            }
            with pytest.raises(TopicsMissing, match=gone):
                await require_topics(client, [there, gone])


@pytest.mark.broker
async def test_reading_from_the_end_misses_nothing_published_after_it_began(
    broker: EmbeddedBroker, topic_prefix: str
) -> None:
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix)
    topic = f"{topic_prefix}t"
    await create_topics(broker.bootstrap, {topic: 2})
    async with started(transactional_producer(kafka, f"{topic_prefix}x"), kafka) as sender:
        for value in (b"1", b"2"):
            async with sender.transaction():
                await sender.send_and_wait(topic, value, partition=0)
        # Ends at the end although the last offset is a transaction marker and no record.
        assert [r.value async for r in read(kafka, topic)] == [b"1", b"2"]
        assert [r.value async for r in read(kafka, topic, from_start=False)] == []
