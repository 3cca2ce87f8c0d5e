"""What Tidegate needs of a broker, asked of every broker it may be run on."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer

from service.kafka.embedded.broker import EmbeddedBroker
from tests.support.broker import create_topics, read_all


async def test_a_record_comes_back(broker: EmbeddedBroker, topic_prefix: str) -> None:
    topic = topic_prefix + "a"
    await create_topics(broker.bootstrap, {topic: 2})
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, b"v", key=b"k", partition=1)
    (record,) = await read_all(broker.bootstrap, topic)
    assert (record.partition, record.key, record.value) == (1, b"k", b"v")
