"""Topics of a broker that lives for minutes: what is compacted is compacted at once."""

from __future__ import annotations

from typing import Final

from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from schemas.topics import WORKFLOW_STATE
from service.errors import BrokerUnavailable
from service.kafka.admin import configuration
from service.kafka.clients import admin_client, started, unavailable
from service.settings import Settings

_AT_ONCE: Final = {
    "segment.bytes": "1048576",  # the least that Kafka 4.1 takes
    "min.compaction.lag.ms": "0",
}


async def create_state_topic(settings: Settings) -> None:
    """Make the topic of detect's state as the contract says, but in small segments; nothing if it exists.

    Only closed segments are compacted, and by default one is closed after a gigabyte or a week. noida-db keeps
    every record in memory and serialises all of them once a second while any arrive. A day of the demo's traffic
    writes 700 MB of states, of which one per workflow matters: with the contract's segments the broker then held
    790 MB and took 55 % of a core for a trickle of live traffic, with these 93 MB and 22 %.

    Raises
    ------
    BrokerUnavailable
    """
    kafka = settings.kafka
    topic = NewTopic(
        kafka.topic(WORKFLOW_STATE),
        WORKFLOW_STATE.partitions or kafka.partitions,
        kafka.replication_factor,
        topic_configs=configuration(WORKFLOW_STATE, kafka) | _AT_ONCE,
    )
    async with started(admin_client(kafka), kafka) as admin:
        try:
            ((_, code, detail),) = (await admin.create_topics([topic])).topic_errors
        except KafkaError as error:
            raise unavailable(error, kafka) from error
    if code and for_code(code) is not TopicAlreadyExistsError:
        raise BrokerUnavailable(f"the broker refuses topic {topic.name}: {detail or for_code(code).__name__}")
