"""What a topic still holds, all partitions together in the order of time, and detect's states as they are now."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable
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


async def states(
    kafka: KafkaSettings, wanted: Callable[[str], bool], supersedes: Callable[[bytes, bytes], bool]
) -> dict[str, bytes]:
    """Detect's states by key, as its changelog has them now.

    Parameters
    ----------
    wanted : callable
        By key. The others are not kept.
    supersedes : callable
        (old, new) values of one key to whether the new one is the later state: see `service.detect.state`.

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
            elif key not in found or supersedes(found[key], record.value):
                found[key] = record.value
    return found
