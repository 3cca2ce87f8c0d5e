"""Topics made on a real broker, and differences told."""

from __future__ import annotations

import pytest

from schemas.topics import CONFIG, COST_EVENTS, DEAD_LETTERS, ROLLUPS, TOPICS, WORKFLOW_STATE
from service.errors import BrokerUnavailable
from service.kafka.admin import check_topics, configuration, create_topics
from service.kafka.embedded.broker import EmbeddedBroker
from service.settings import KafkaSettings, Settings
from tests.support import broker as support

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(broker: EmbeddedBroker, topic_prefix: str) -> Settings:
    return Settings(
        kafka=KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix, partitions=3)
    )


async def test_what_is_created_is_as_it_should_be(settings: Settings) -> None:
    created = await create_topics(settings)
    assert [outcome.result for outcome in created] == ["created"] * len(TOPICS)
    assert {o.topic: o.partitions for o in created}[settings.kafka.topic(ROLLUPS)] == 3
    assert await check_topics(settings) == []


async def test_creating_twice_changes_nothing(settings: Settings) -> None:
    await create_topics(settings, [COST_EVENTS])
    again = await create_topics(settings, [COST_EVENTS, DEAD_LETTERS])
    assert [outcome.result for outcome in again] == ["exists", "created"]


async def test_every_difference_is_told(settings: Settings) -> None:
    bootstrap, kafka = settings.kafka.bootstrap_servers, settings.kafka
    await support.create_topics(bootstrap, {kafka.topic(CONFIG): 2}, {"cleanup.policy": "delete"})
    await support.create_topics(bootstrap, {kafka.topic(ROLLUPS): 3}, {"retention.ms": "604800000"})
    found = await check_topics(settings, [CONFIG, ROLLUPS, WORKFLOW_STATE])
    assert {(d.topic.removeprefix(kafka.topic_prefix), d.what, d.wanted) for d in found} == {
        ("config", "partitions", "1"),
        ("config", "cleanup.policy", "compact"),
        ("config", "retention.ms", "-1"),
        ("config", "message.timestamp.type", "LogAppendTime"),
        ("config", "min.compaction.lag.ms", "604800000"),
        ("workflow-state", "topic", "present"),
    }


async def test_a_replication_factor_the_broker_cannot_hold_is_refused_in_one_sentence(
    settings: Settings,
) -> None:
    kafka = settings.kafka.model_copy(update={"replication_factor": 3})
    with pytest.raises(BrokerUnavailable, match=r"refuses topic .*cost-events"):
        await create_topics(Settings(kafka=kafka), [COST_EVENTS])


async def test_no_broker_is_said_with_its_address() -> None:
    nobody = Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"))
    with pytest.raises(BrokerUnavailable, match="no Kafka broker answers at"):
        await create_topics(nobody)
    with pytest.raises(BrokerUnavailable, match="no Kafka broker answers at"):
        await check_topics(nobody)


def test_writes_survive_one_broker_when_there_are_three_replicas() -> None:
    assert "min.insync.replicas" not in configuration(CONFIG, KafkaSettings(replication_factor=1))
    assert configuration(CONFIG, KafkaSettings(replication_factor=3))["min.insync.replicas"] == "2"


async def test_the_demos_broker_takes_the_same_topics(
    embedded_broker: EmbeddedBroker, topic_prefix: str
) -> None:
    kafka = KafkaSettings(bootstrap_servers=embedded_broker.bootstrap, topic_prefix=topic_prefix)
    created = await create_topics(Settings(kafka=kafka))
    assert {outcome.result for outcome in created} == {"created"}
    assert await check_topics(Settings(kafka=kafka)) == []
