"""Dead letters on the broker: read, looked for among what came after them, and published again, each once.

What a replay publishes and the marks that say so are one transaction, and there is one transactional id for all
replays of an installation, so that of two at the same time the later one fences the earlier:

1. start the producer: it ends for good what a replay that died had begun, and fences one that still runs;
2. read the marks. Only now: before 1. somebody might still have written some;
3. begin a transaction, send mended records and marks, wait until all are acknowledged, commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced

from schemas.dead_letters import DeadLetter, DeadLetterReplay
from schemas.decode import decode
from schemas.reasons import Refused
from schemas.topics import DEAD_LETTER_REPLAYS, DEAD_LETTERS
from service.errors import Fenced, Stalled, TopicsMissing
from service.kafka.clients import (
    MAX_RECORD_BYTES,
    consumer,
    require_topics,
    started,
    transactional_producer,
    unavailable,
)
from service.kafka.reader import read
from service.settings import KafkaSettings

_START_S: Final = 60.0
"""Longest wait for the transaction of a replay that died; the broker ends it after a minute by itself."""
_COMMIT_S: Final = 45.0
_POLL_MS: Final = 500


class Write(NamedTuple):
    """One record of a transaction. Without `partition` the key decides."""

    topic: str
    key: bytes | None
    value: bytes
    partition: int | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()


async def letters(kafka: KafkaSettings) -> AsyncGenerator[DeadLetter | None, None]:
    """Every dead letter up to the end as of now, oldest first; None for a record that is none.

    Raises
    ------
    BrokerUnavailable, TopicsMissing
    """
    async with aclosing(read(kafka, kafka.topic(DEAD_LETTERS))) as records:
        async for record in records:
            try:
                yield decode(DeadLetter, record.value, max_bytes=MAX_RECORD_BYTES)
            except Refused:
                yield None


async def marks(kafka: KafkaSettings) -> AsyncGenerator[DeadLetterReplay, None]:
    """What replays have settled, in their order; nothing where the topic does not exist yet.

    Raises
    ------
    BrokerUnavailable
    """
    try:
        async with aclosing(read(kafka, kafka.topic(DEAD_LETTER_REPLAYS))) as records:
            async for record in records:
                try:
                    yield decode(DeadLetterReplay, record.value)
                except Refused:
                    continue  # not ours, or deleted by hand; `tidegate tail` shows it
    except TopicsMissing:
        return


async def since(
    kafka: KafkaSettings, starts: Mapping[tuple[str, int], int]
) -> AsyncGenerator[Sequence[ConsumerRecord], None]:
    """Committed records of partitions, from an offset each to the end as of now, as they arrive.

    Parameters
    ----------
    starts : dict of (topic, partition) to int
        Where the topic no longer goes back so far: from its beginning.

    Raises
    ------
    BrokerUnavailable, TopicsMissing
    """
    wanted = {TopicPartition(*place): start for place, start in starts.items()}
    async with started(consumer(kafka, group_id=None), kafka) as reader:
        found = await require_topics(reader, {tp.topic for tp in wanted})
        if missing := sorted(f"{tp.topic}/{tp.partition}" for tp in wanted if tp not in found[tp.topic]):
            raise TopicsMissing(missing)
        reader.assign(list(wanted))
        first, ends = await reader.beginning_offsets(list(wanted)), await reader.end_offsets(list(wanted))
        for tp, start in wanted.items():
            reader.seek(tp, min(max(start, first[tp]), ends[tp]))
        while not all([await reader.position(tp) >= end for tp, end in ends.items()]):
            for records in (await reader.getmany(timeout_ms=_POLL_MS)).values():
                yield records


class Replay:
    """The writing side of one replay; see the steps above. Made by `replaying`."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def commit(self, writes: Sequence[Write]) -> None:
        """All of it becomes visible, or nothing.

        Raises
        ------
        Fenced
            Another replay has begun. Nothing of this is visible.
        KafkaError
            It failed. Nothing of this is visible, or all: whoever begins anew reads the marks.
        """
        try:
            async with asyncio.timeout(_COMMIT_S):
                await self._commit(writes)
        except (ProducerFenced, InvalidProducerEpoch):
            raise _fenced() from None
        except TimeoutError:
            raise Stalled(
                f"a transaction was open for more than {_COMMIT_S:g} s; run the replay again"
            ) from None
        except (KafkaError, AssertionError) as error:
            # aiokafka asserts its states: a producer that was fenced between two steps answers so.
            if isinstance(error.__cause__, (ProducerFenced, InvalidProducerEpoch)):
                raise _fenced() from error
            if isinstance(error, AssertionError):
                raise KafkaError(f"the transaction failed: {error}") from error
            raise

    async def _commit(self, writes: Sequence[Write]) -> None:
        async with self._producer.transaction():
            acknowledgements = [
                await self._producer.send(
                    write.topic, write.value, write.key, write.partition, headers=list(write.headers)
                )
                for write in writes
            ]
            # All of them, also after a first failure: none must be left to complain that nobody asked.
            for answer in await asyncio.gather(*acknowledgements, return_exceptions=True):
                if isinstance(answer, BaseException):
                    raise answer


def _fenced() -> Fenced:
    return Fenced("another replay has begun; what this one had not told as published is left to that one")


@asynccontextmanager
async def replaying(kafka: KafkaSettings, topics: Sequence[str]) -> AsyncIterator[Replay]:
    """Step 1: from here on this is the only replay.

    Parameters
    ----------
    topics : sequence of str
        Names on the broker of the topics it will write to.

    Raises
    ------
    BrokerUnavailable, TopicsMissing
    Stalled
        The transaction of a replay that died does not end.
    """
    # One id for the one partition of dead letters.
    producer: Any = transactional_producer(
        kafka, f"{kafka.topic(DEAD_LETTERS)}-0-replay", client_id="tidegate-replay"
    )
    try:
        try:
            async with asyncio.timeout(_START_S):
                await producer.start()
        except TimeoutError:
            raise Stalled(f"an earlier replay's transaction did not end within {_START_S:g} s") from None
        except KafkaError as error:
            raise unavailable(error, kafka) from error
        await require_topics(producer, topics)
        yield Replay(producer)
    finally:
        await producer.stop()
