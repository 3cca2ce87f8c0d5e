"""What a topic still holds, all partitions together in the order of time, and detect's states as they are now."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Any, Final, Self

from aiokafka import TopicPartition

from schemas.topics import WORKFLOW_STATE
from service.kafka.clients import consumer, require_topics, started
from service.kafka.reader import read
from service.settings import KafkaSettings

_POLL_MS: Final = 500


async def in_time(
    kafka: KafkaSettings, topic: str, since: datetime | None = None
) -> AsyncGenerator[list[Any], None]:
    """Committed records up to the end as of now, merged by the times of their records, a batch at a time.

    Parameters and errors are those of `Past`.
    """
    async with Past.of(kafka, topic, since) as past:
        while await past.fill():
            if batch := past.merged():
                yield batch


class Past:
    """The partitions of a topic from a time on to their ends as of now, read side by side.

    Nothing is read far ahead: of a partition that has records waiting here no more are taken.

    Attributes
    ----------
    held : dict of int to deque
        Records that wait, by partition, in its order. Whoever takes them removes them.
    unread : set of int
        Partitions of which more will come.
    partitions : list of int
        All that had anything to read.
    """

    def __init__(self, reader: Any, topic: str, ends: Mapping[int, int], unread: set[int]) -> None:
        self._reader, self._topic, self._ends = reader, topic, ends
        self.unread = unread
        self.partitions = sorted(unread)
        self.held: dict[int, deque[Any]] = {partition: deque() for partition in self.partitions}

    @classmethod
    @asynccontextmanager
    async def of(cls, kafka: KafkaSettings, topic: str, since: datetime | None) -> AsyncIterator[Self]:
        """
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
            places = sorted((await require_topics(reader, [topic]))[topic])
            reader.assign(places)
            starts, ends = await reader.beginning_offsets(places), await reader.end_offsets(places)
            if since is not None:
                moment = round(since.timestamp() * 1_000)
                found = await reader.offsets_for_times(dict.fromkeys(places, moment))
                starts = {tp: ends[tp] if at is None else at.offset for tp, at in found.items()}
            for tp, start in starts.items():
                reader.seek(tp, start)
            unread = {tp.partition for tp in places if starts[tp] < ends[tp]}
            yield cls(reader, topic, {tp.partition: end for tp, end in ends.items()}, unread)

    async def fill(self) -> bool:
        """Wait until every partition that is not read to its end holds records. False when all is taken."""
        while True:
            for partition in list(self.unread):
                # Positions and not records tell the end: the last offsets may be transaction markers.
                if await self._reader.position(self._place(partition)) >= self._ends[partition]:
                    self.unread.discard(partition)
            wanted = [self._place(partition) for partition in self.unread if not self.held[partition]]
            if not wanted:
                return any(self.held.values())
            for tp, records in (await self._reader.getmany(*wanted, timeout_ms=_POLL_MS)).items():
                end = self._ends[tp.partition]
                self.held[tp.partition].extend(record for record in records if record.offset < end)

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    def merged(self) -> list[Any]:
        """Take the earliest of what is held, as long as every partition that has more to come holds some."""
        batch: list[Any] = []
        while True:
            heads = [(records[0].timestamp, partition) for partition, records in self.held.items() if records]
            if not heads:
                return batch
            _, earliest = min(heads)
            batch.append(self.held[earliest].popleft())
            if earliest in self.unread and not self.held[earliest]:
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
