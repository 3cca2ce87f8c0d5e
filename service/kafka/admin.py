"""Topics on the broker as the contract (`schemas.topics`) says: made, and compared."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from schemas.topics import CONFIG, COST_EVENTS, DAY_MS, OUTCOME_TRACES, TOPICS, WORKFLOW_STATE, Topic
from service.errors import BrokerUnavailable
from service.kafka.clients import admin_client, started, unavailable
from service.settings import KafkaSettings, Settings

_LEADER_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `create_topics` did about one topic."""

    topic: str
    result: Literal["created", "exists"]
    partitions: int


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a topic on the broker is not as the contract says."""

    topic: str
    what: str
    """`topic`, `partitions`, `replication`, or the name of a topic configuration."""
    wanted: str
    found: str


def configuration(topic: Topic, kafka: KafkaSettings) -> dict[str, str]:
    """The topic's configuration on the broker, where the cluster's default will not do."""
    wanted = {"cleanup.policy": topic.cleanup, "retention.ms": str(topic.retention_ms)}
    if kafka.replication_factor > 2:
        # With acks=all: a write survives the loss of a broker, and is still possible without one.
        wanted["min.insync.replicas"] = str(kafka.replication_factor - 1)
    if topic in (COST_EVENTS, CONFIG):
        # Written by others, whose clocks we do not trust: the broker's time tells what lies in the future.
        wanted["message.timestamp.type"] = "LogAppendTime"
    if topic is WORKFLOW_STATE:
        # Recovery reads what is not compacted yet: small segments, cleaned early. But not before the successor
        # of a suspended worker has written every live key again, or the wrong one of the two might be kept.
        wanted["segment.ms"] = wanted["min.compaction.lag.ms"] = str(10 * 60_000)
        wanted["min.cleanable.dirty.ratio"] = "0.1"
    if topic is OUTCOME_TRACES:
        # Read whole at every start. There is one writer, who is fenced: nothing has to wait to be compacted.
        wanted["segment.ms"] = str(10 * 60_000)
        wanted["min.cleanable.dirty.ratio"] = "0.1"
    if topic is CONFIG:
        # A refused record must not compact the last good one away before somebody has mended it, and
        # `tidegate config history` has something to show.
        wanted["min.compaction.lag.ms"] = str(7 * DAY_MS)
    return wanted


async def create_topics(settings: Settings, topics: Sequence[Topic] = TOPICS) -> list[Outcome]:
    """Create the topics that do not exist, wait for their leaders, change none that does.

    Raises
    ------
    BrokerUnavailable
        No broker, no permission, or the broker refuses a topic (replication factor above the brokers' number).
    """
    kafka = settings.kafka
    wanted = [
        NewTopic(
            kafka.topic(topic),
            topic.partitions or kafka.partitions,
            kafka.replication_factor,
            topic_configs=configuration(topic, kafka),
        )
        for topic in topics
    ]
    async with started(admin_client(kafka), kafka) as admin:
        try:
            answer = await admin.create_topics(wanted)
            results = {name: (code, detail) for name, code, detail in answer.topic_errors}
            outcomes = [_outcome(new, *results[new.name], kafka) for new in wanted]
            await _await_leaders(admin, [new.name for new in wanted])
        except KafkaError as error:
            raise unavailable(error, kafka) from error
    return outcomes


def _outcome(new: NewTopic, code: int, detail: str | None, kafka: KafkaSettings) -> Outcome:
    error = for_code(code)
    if error is TopicAlreadyExistsError:
        return Outcome(new.name, "exists", new.num_partitions)
    if code:
        raise BrokerUnavailable(
            f"the broker at {kafka.bootstrap_servers} refuses topic {new.name}: {detail or error.__name__}"
        )
    return Outcome(new.name, "created", new.num_partitions)


async def _await_leaders(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """A new topic answers with an error until each partition has a leader; what comes next would fail."""
    try:
        async with asyncio.timeout(_LEADER_SECONDS):
            while not all(map(_led, await admin.describe_topics(list(names)))):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise BrokerUnavailable("the topics are created but have no leaders yet: try again") from None


def _led(described: Mapping[str, Any]) -> bool:
    return not described["error_code"] and all(p["leader"] >= 0 for p in described["partitions"])


async def check_topics(settings: Settings, topics: Sequence[Topic] = TOPICS) -> list[Difference]:
    """Every difference between the broker's topics and the contract; empty when there is none.

    Raises
    ------
    BrokerUnavailable
    """
    kafka = settings.kafka
    names = [kafka.topic(topic) for topic in topics]
    async with started(admin_client(kafka), kafka) as admin:
        try:
            described = {d["topic"]: d for d in await admin.describe_topics(names) if not d["error_code"]}
            configs = await _configs(admin, sorted(described))
        except KafkaError as error:
            raise unavailable(error, kafka) from error
    return [
        difference
        for topic, name in zip(topics, names, strict=True)
        for difference in _differences(topic, kafka, described.get(name), configs.get(name, {}))
    ]


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    found: dict[str, dict[str, str]] = {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    for response in await admin.describe_configs(resources):
        for code, detail, _, name, entries in response.resources:
            if code:
                raise BrokerUnavailable(f"cannot read the configuration of {name}: {detail}")
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _differences(
    topic: Topic, kafka: KafkaSettings, described: Mapping[str, Any] | None, configs: Mapping[str, str]
) -> list[Difference]:
    name = kafka.topic(topic)
    if described is None:
        return [Difference(name, "topic", "present", "missing")]
    found: list[tuple[str, str, str]] = [
        ("partitions", str(topic.partitions or kafka.partitions), str(len(described["partitions"])))
    ]
    replicas = min(len(partition["replicas"]) for partition in described["partitions"])
    if replicas < kafka.replication_factor:  # more is nobody's loss
        found.append(("replication", str(kafka.replication_factor), str(replicas)))
    for key, wanted in configuration(topic, kafka).items():
        found.append((key, wanted, configs.get(key, "unknown")))
    return [
        Difference(name, what, wanted, actual)
        for what, wanted, actual in found
        if _normal(wanted) != _normal(actual)
    ]


def _normal(value: str) -> str:
    return ",".join(sorted(value.replace(" ", "").split(",")))
