"""What a rival wrote is held against the expected file whole, or not at all."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from benchmarks.process import RunFailed
from benchmarks.rival import all_of, create_kept
from benchmarks.traffic import START_MS
from service.kafka.clients import admin_client, producer, started
from service.kafka.embedded.apache import ApacheKafka
from service.kafka.embedded.broker import EmbeddedBroker
from service.settings import KafkaSettings, Settings

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(broker: EmbeddedBroker, topic_prefix: str) -> Settings:
    if not isinstance(broker, ApacheKafka):
        pytest.skip(f"{broker.name} deletes nothing")
    return Settings(kafka=KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix))


async def test_windows_of_months_ago_are_kept(settings: Settings, topic_prefix: str) -> None:
    topic = f"{topic_prefix}output"
    await create_kept(settings, topic, 2)
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    async with started(admin_client(settings.kafka), settings.kafka) as admin:
        (answer,) = await admin.describe_configs([resource])
    found = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    assert found["retention.ms"] == "-1"
    assert await all_of(settings, topic) == {0: 0, 1: 0}


async def test_output_the_broker_has_deleted_is_not_the_rivals_fault(
    settings: Settings, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}output"
    await create_kept(settings, topic, 1)
    async with started(producer(settings.kafka, client_id="t"), settings.kafka) as client:
        for _ in range(3):
            await client.send_and_wait(topic, b"{}", partition=0, timestamp_ms=START_MS)
    assert await all_of(settings, topic) == {0: 0}
    async with started(admin_client(settings.kafka), settings.kafka) as admin:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=2)})
    with pytest.raises(RunFailed, match="the broker has deleted some of"):
        await all_of(settings, topic)
