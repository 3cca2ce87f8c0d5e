"""Reading a topic without a group: from its beginning or its end, up to its end as of now or for ever."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer as Consumer
from aiokafka import ConsumerRecord, TopicPartition

from service.kafka.clients import consumer, require_topics, started
from service.settings import KafkaSettings

_POLL_MS = 500


async def read(
    kafka: KafkaSettings,
    topic: str,
    *,
    from_start: bool = True,
    follow: bool = False,
    since: datetime | None = None,
) -> AsyncGenerator[ConsumerRecord, None]:
    """Committed records of every partition, in order within each; with `follow` never ends.

    Parameters
    ----------
    topic : str
        Physical name.
    since : datetime or None
        Begin with the first record of this time or later, in each partition.

    Raises
    ------
    BrokerUnavailable, TopicsMissing
    """
    async with started(consumer(kafka, group_id=None), kafka) as reader:
        partitions = (await require_topics(reader, [topic]))[topic]
        reader.assign(partitions)
        ends = await reader.end_offsets(partitions)
        if since is not None:
            await seek_to_time(reader, ends, since)
        elif from_start:
            await reader.seek_to_beginning(*partitions)
        else:
            # Not seek_to_end: what is published from this moment on must be seen.
            for partition, end in ends.items():
                reader.seek(partition, end)
        while True:
            for records in (await reader.getmany(timeout_ms=_POLL_MS)).values():
                for record in records:
                    yield record
            # Positions and not records tell the end: the last offsets may be transaction markers.
            if not follow and all([await reader.position(tp) >= ends[tp] for tp in partitions]):
                return


async def seek_to_time(reader: Consumer, ends: Mapping[TopicPartition, int], since: datetime) -> None:
    """Go to the first record of this time or later in each partition, or to its end if there is none."""
    found = await reader.offsets_for_times(dict.fromkeys(ends, round(since.timestamp() * 1_000)))
    for partition, end in ends.items():
        place = found.get(partition)
        reader.seek(partition, end if place is None else place.offset)


async def latest(kafka: KafkaSettings, topic: str) -> dict[bytes, bytes]:
    """What a compacted topic holds now: the last value of each key that was not deleted. Raises as `read` does."""
    found: dict[bytes, bytes] = {}
    async with aclosing(read(kafka, topic)) as records:
        async for record in records:
            if record.key is None:
                continue  # nobody of ours: a compacted topic takes no such record
            if record.value is None:
                found.pop(record.key, None)
            else:
                found[record.key] = record.value
    return found


def written_at(record: ConsumerRecord) -> datetime:
    """The record's time: the broker's or its producer's, as the topic is configured. UTC."""
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)
