"""Topics of a broker that lives for minutes."""

from __future__ import annotations

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.topics import WORKFLOW_STATE
from service.errors import BrokerUnavailable
from service.kafka.admin import create_topics
from service.kafka.embedded.broker import EmbeddedBroker
from service.kafka.embedded.topics import create_state_topic
from service.settings import KafkaSettings, Settings
from tests.support.broker import partitions


@pytest.mark.broker
@pytest.mark.parametrize("kind", ["broker", "embedded_broker"])
async def test_the_states_topic_is_made_once_and_compacted_at_once(
    request: pytest.FixtureRequest, kind: str, topic_prefix: str
) -> None:
    bootstrap = request.getfixturevalue(kind).bootstrap
    kafka = KafkaSettings(bootstrap_servers=bootstrap, topic_prefix=topic_prefix, partitions=3)
    settings = Settings(kafka=kafka)
    await create_state_topic(settings)
    await create_state_topic(settings)
    outcomes = {one.topic: one.result for one in await create_topics(settings)}
    topic = kafka.topic(WORKFLOW_STATE)
    assert outcomes.pop(topic) == "exists"
    assert set(outcomes.values()) == {"created"}
    assert len(await partitions(bootstrap, topic)) == 3
    found = await configuration(bootstrap, topic)
    assert found["cleanup.policy"] == "compact"
    assert (found["segment.bytes"], found["min.compaction.lag.ms"]) == ("1048576", "0")


@pytest.mark.broker
async def test_a_refusal_is_told_with_its_topic(broker: EmbeddedBroker, topic_prefix: str) -> None:
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix, replication_factor=3)
    if not broker.name.startswith("Apache"):
        pytest.skip(f"{broker.name} takes any replication factor")
    with pytest.raises(BrokerUnavailable, match=f"refuses topic {topic_prefix}workflow-state"):
        await create_state_topic(Settings(kafka=kafka))


async def configuration(bootstrap: str, topic: str) -> dict[str, str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    finally:
        await admin.close()
    ((_, _, _, _, entries),) = answer.resources
    return {entry[0]: entry[1] for entry in entries}
