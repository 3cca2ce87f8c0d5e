"""A fenced lane: exactly-once output for one input partition, without KIP-447.

aiokafka cannot tie a producer's transactions to the consumer's generation (KIP-447, aiokafka #844), so its
documented consume-process-produce loop may process records twice when partitions change hands. The older
protocol is safe: one `transactional.id` per input partition, so that whoever takes the partition over fences
whoever had it.

     1. assign: start the transactional producer of the partition. Kafka lets it start only when the former
        owner's open transaction is ended for good, and refuses that owner from then on.
     2. read `committed()`. Only now: before 1. the former owner might still move it.
     3. `seek()` back to the tail from which what is remembered is rebuilt.
     4. rebuild it from [tail, committed); nothing of it is sent.
     5. poll
     6. fold
     7. begin a transaction
     8. send; wait until all of it is acknowledged
     9. send the offset after the last folded record to the transaction
    10. commit: output and offset become visible together, or neither does

1, 2, 3 are `open`, 7 to 10 are `commit`; 4, 5 and 6 are the owner's. When anything in 7 to 10 fails, the
transaction is aborted and the owner must throw away what it folded, close the lane, and begin at 1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidProducerEpoch, KafkaError, MessageSizeTooLargeError, ProducerFenced
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import OffsetAndMetadata

from service.errors import Fenced, Stalled
from service.kafka import stable_offsets
from service.kafka.clients import MAX_RECORD_BYTES, transactional_producer
from service.settings import KafkaSettings

_LOG = logging.getLogger(__name__)
_START_S: Final = 60.0
"""Longest wait for the former owner's transaction to end; its timeout at the broker is a minute."""
_ABORT_S: Final = 5.0
_CLOSE_S: Final = 10.0
_RETRY_MS: Final = 20
"""Kafka answers the end of a transaction before its markers are written; until then the next one is told to
try again. aiokafka's usual 100 ms would be most of a commit's time."""
_BATCH_BYTES: Final = 786_432
"""Before compression, and so surely below what a broker takes (`message.max.bytes`) after it."""
_BREATH: Final = 500
_MAX_HASHES: Final = 100_000


class Send(NamedTuple):
    """One record to write; a `value` of None is a tombstone. Without `partition` the key decides, by Kafka's
    default partitioner (murmur2)."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int | None = None


class Opening(NamedTuple):
    """Where a lane begins.

    Attributes
    ----------
    start : int
        Where the consumer stands: no record before it comes.
    committed : int
        Records before it were accounted for by an earlier owner; they are only remembered (4).
    """

    start: int
    committed: int


class LaneLost(Exception):
    """The transaction failed and was aborted, for another reason than a new owner: open the lane again."""


class Lane:
    """The output side of one input partition. Not started; `open` it.

    Parameters
    ----------
    group_id : str
        Of the consumer. The transactional id is `GROUP-TOPIC-PARTITION`: the same for whoever owns it.
    max_age_s : float
        Longest time a transaction may be open; below the broker's timeout of 60 s.
    """

    def __init__(
        self, kafka: KafkaSettings, group_id: str, source: TopicPartition, *, max_age_s: float
    ) -> None:
        self.source = source
        self._group_id = group_id
        self._max_age_s = max_age_s
        self._transactional_id = f"{group_id}-{source.topic}-{source.partition}"
        self._producer: AIOKafkaProducer = transactional_producer(
            kafka,
            self._transactional_id,
            retry_backoff_ms=_RETRY_MS,
            # Batches come ready.
            linger_ms=0,
            max_batch_size=_BATCH_BYTES,
        )
        self._hashes: dict[bytes, int] = {}

    async def open(self, consumer: AIOKafkaConsumer, tail: Callable[[int], int]) -> Opening:
        """Steps 1 to 3: fence, read the committed offset, seek back from it by `tail(committed)` offsets.

        Without a committed offset the lane begins at the first record there is.

        Raises
        ------
        KafkaError
        Stalled
            The former owner's transaction did not end.
        """
        try:
            async with asyncio.timeout(_START_S):
                await self._producer.start()  # 1
        except TimeoutError:
            raise Stalled(
                f"transactional id {self._transactional_id} could not be initialised within {_START_S:g} s"
            ) from None
        committed = await stable_offsets.committed(consumer, self._group_id, self.source)  # 2
        first: int = (await consumer.beginning_offsets([self.source]))[self.source]
        if committed is None:
            committed = first
        elif committed < first:
            _LOG.error(
                "%s-%d: records from offset %d to %d expired before they were read: their spend is lost",
                *self.source,
                committed,
                first - 1,
            )
            committed = first
        start = max(committed - tail(committed), first)
        consumer.seek(self.source, start)  # 3
        return Opening(start, committed)

    async def partitions(self, topic: str) -> int:
        """How many partitions an output topic has now."""
        return len(await self._producer.partitions_for(topic))

    async def commit(self, sends: Iterable[Send], next_offset: int | None) -> None:
        """Steps 7 to 10. `next_offset`: the one after the last folded record; None leaves it where it is.

        Records are asked for one after the other, so that not all of them need be in memory twice.

        Raises
        ------
        Fenced
            Another owner has started. Nothing of this is visible.
        LaneLost
            Nothing of this is visible; it was aborted.
        """
        try:
            async with asyncio.timeout(self._max_age_s):
                await self._commit(sends, next_offset)
        except (ProducerFenced, InvalidProducerEpoch):
            raise Fenced(f"{self._transactional_id}: another process has taken the partition over") from None
        except TimeoutError:
            await self._abort()
            raise LaneLost(f"the transaction was open for more than {self._max_age_s:g} s") from None
        except (KafkaError, AssertionError) as error:
            # aiokafka asserts its states: a producer that failed between two steps answers so.
            await self._abort()
            if isinstance(error.__cause__, (ProducerFenced, InvalidProducerEpoch)):
                raise Fenced(f"{self._transactional_id}: {error!r}") from error
            raise LaneLost(f"{type(error).__name__}: {error}") from error
        except asyncio.CancelledError:
            await self._abort()
            raise

    async def _commit(self, sends: Iterable[Send], next_offset: int | None) -> None:
        producer = self._producer
        await producer.begin_transaction()  # 7
        packed = await self._pack(sends)
        # All of them, also after a first failure: none must be left to complain that nobody asked. A record
        # that is refused for its size does not fail the transaction by itself, so the answers decide.
        answers = (self._deliver(where, batches) for where, batches in packed.items())  # 8
        for answer in await asyncio.gather(*answers, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer
        if next_offset is not None:
            offsets = {self.source: OffsetAndMetadata(next_offset, "")}
            await producer.send_offsets_to_transaction(offsets, self._group_id)  # 9
        await producer.commit_transaction()  # 10

    async def _pack(self, sends: Iterable[Send]) -> dict[TopicPartition, list[BatchBuilder]]:
        """Records in whole batches: one by one, with a future for each, they cost more than all that was folded."""
        packed: dict[TopicPartition, list[BatchBuilder]] = {}
        partitions: dict[str, int] = {}
        for i, (topic, value, key, partition) in enumerate(sends):
            if i % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)  # heartbeats and health must get their turn among thousands
            if value is not None and len(value) > MAX_RECORD_BYTES:
                raise MessageSizeTooLargeError(f"{len(value)} bytes, at most {MAX_RECORD_BYTES} are written")
            if partition is None:
                if topic not in partitions:
                    partitions[topic] = await self.partitions(topic)
                partition = self._partition_of(key, partitions[topic])
            where = TopicPartition(topic, partition)
            batches = packed.get(where)
            if batches is None:
                batches = packed[where] = [self._producer.create_batch()]
            if batches[-1].append(key=key, value=value, timestamp=None) is None:
                batches.append(self._producer.create_batch())
                if batches[-1].append(key=key, value=value, timestamp=None) is None:
                    raise MessageSizeTooLargeError(f"{len(value or b'')} bytes do not fit an empty batch")
        return packed

    def _partition_of(self, key: bytes | None, partitions: int) -> int:
        if partitions == 1 or key is None:
            return 0
        hashed = self._hashes.get(key)
        if hashed is None:
            if len(self._hashes) >= _MAX_HASHES:
                self._hashes.clear()
            # aiokafka's is Python, byte by byte: some 10 µs.
            hashed = self._hashes[key] = murmur2(key) & 0x7FFFFFFF
        return hashed % partitions

    async def _deliver(self, where: TopicPartition, batches: Sequence[BatchBuilder]) -> None:
        for batch in batches:
            batch.close()
            await (await self._producer.send_batch(batch, where.topic, partition=where.partition))

    async def _abort(self) -> None:
        try:
            async with asyncio.timeout(_ABORT_S):
                await self._producer.abort_transaction()
        except (KafkaError, AssertionError, TimeoutError) as error:
            # The broker aborts it when the producer starts anew, or after its own timeout.
            _LOG.warning("%s: cannot abort: %r", self._transactional_id, error)

    async def close(self) -> None:
        """Stop the producer.

        Raises
        ------
        Stalled
            It hangs. The process must end: nothing else ends its background tasks for sure.
        """
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._producer.stop()
        except TimeoutError:
            raise Stalled(f"{self._transactional_id}: the producer does not stop") from None
        except KafkaError as error:
            _LOG.warning("%s: while stopping: %r", self._transactional_id, error)


def pass_over_fences(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """For `loop.set_exception_handler`: aiokafka leaves futures of a fenced transaction that nobody can await.

    The fence itself was raised by `commit`; without this each is told twice more, with a traceback.
    """
    if not isinstance(context.get("exception"), ProducerFenced):
        loop.default_exception_handler(context)
