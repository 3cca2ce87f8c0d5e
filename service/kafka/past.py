"""What a topic still holds, all partitions together in the order of time, and detect's states as they are now."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

from schemas.topics import WORKFLOW_STATE
from service.kafka.clients import consumer, require_topics, started
from service.kafka.reader import read
from service.settings import KafkaSettings

_POLL_MS: Final = 500


async def in_time(
    kafka: KafkaSettings, topic: str, since: datetime | None = None
) -> AsyncGenerator[list[Any], None]:
    """Committed records up to the end as of now, merged by the times of their records, a batch at a time.

    Within a partition their order is the partition's. Nothing is read far ahead: of a partition that has records
    waiting here no more are taken until the others have come as far.

    Parameters
    ----------
    topic : str
        Physical name.
    since : datetime or None
        From this time on, by the records' times; None: all there is.

    Raises
    ------
    BrokerUnavailable, TopicsMissing
    """
    async with started(consumer(kafka, group_id=None), kafka) as reader:
        partitions = sorted((await require_topics(reader, [topic]))[topic])
        reader.assign(partitions)
        first, ends = await reader.beginning_offsets(partitions), await reader.end_offsets(partitions)
        starts = dict(first)
        if since is not None:
            moment = round(since.timestamp() * 1_000)
            found = await reader.offsets_for_times(dict.fromkeys(partitions, moment))
            starts = {tp: ends[tp] if place is None else place.offset for tp, place in found.items()}
        for tp, start in starts.items():
            reader.seek(tp, start)
        held: dict[Any, deque[Any]] = {tp: deque() for tp in partitions}
        unread = {tp for tp in partitions if starts[tp] < ends[tp]}
        while True:
            for tp in [tp for tp in unread if await reader.position(tp) >= ends[tp]]:
                # Positions and not records tell the end: the last offsets may be transaction markers.
                unread.discard(tp)
            if wanted := [tp for tp in unread if not held[tp]]:
                for tp, records in (await reader.getmany(*wanted, timeout_ms=_POLL_MS)).items():
                    held[tp].extend(record for record in records if record.offset < ends[tp])
                continue
            batch = _merged(held, unread)
            if not batch:
                return
            yield batch


def _merged(held: dict[Any, deque[Any]], unread: set[Any]) -> list[Any]:
    """The earliest of what is held, as long as every partition that has more to come holds some."""
    batch: list[Any] = []
    while True:
        heads = [(records[0].timestamp, tp) for tp, records in held.items() if records]
        if not heads:
            return batch
        _, earliest = min(heads)
        batch.append(held[earliest].popleft())
        if earliest in unread and not held[earliest]:
            return batch


async def states(kafka: KafkaSettings, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Detect's states by key, as its changelog has them now. `wanted`, by key: the others are not kept.

    The last value of a key counts. Where a worker that was suspended wrote once more than it should, that is one
    state a moment too old, which detect itself would know better (`supersedes`), and decoding all of them costs.

    Raises
    ------
    BrokerUnavailable, TopicsMissing
    """
    found: dict[str, bytes] = {}
    async with aclosing(read(kafka, kafka.topic(WORKFLOW_STATE))) as records:
        async for record in records:
            key = (record.key or b"").decode("utf-8", "replace")
            if not wanted(key):
                continue
            if record.value is None:
                found.pop(key, None)
            else:
                found[key] = record.value
    return found


async def following(
    kafka: KafkaSettings, starts: Mapping[str, Mapping[int, int]], stop: asyncio.Event
) -> AsyncGenerator[list[Any], None]:
    """Committed records of whole topics as they come, without a group; also an empty list now and then.

    Parameters
    ----------
    starts : mapping of str to mapping of int to int
        Physical topic to partition to the offset to begin with. A partition that is not named: with what comes
        from now on.

    Raises
    ------
    BrokerUnavailable, TopicsMissing
    """
    async with started(consumer(kafka, group_id=None), kafka) as reader:
        found = await require_topics(reader, list(starts))
        partitions = [tp for listed in found.values() for tp in listed]
        reader.assign(partitions)
        first, ends = await reader.beginning_offsets(partitions), await reader.end_offsets(partitions)
        for tp in partitions:
            start = starts[tp.topic].get(tp.partition, ends[tp])
            reader.seek(tp, min(max(start, first[tp]), ends[tp]))
        while not stop.is_set():
            yield [r for listed in (await reader.getmany(timeout_ms=_POLL_MS)).values() for r in listed]
