"""One partition while this process owns it: its lane, its fold, and the one commit that is on its way."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Self

from schemas.topics import DEAD_LETTERS, ROLLUPS
from service.errors import Fenced
from service.ingest.dead_letter import DeadLetterLimits
from service.ingest.dedup import SeenIds
from service.ingest.fold import Batch, Fold
from service.ingest.price import Pricer
from service.ingest.tally import tally
from service.kafka import Consumer, ConsumerRecord, TopicPartition
from service.kafka.lane import Lane, LaneLost, Send
from service.runtime import metrics
from service.runtime.clock import Clock
from service.settings import Settings

_LOG = logging.getLogger(__name__)
_BREATH: Final = 2_000
"""Records folded before heartbeats and commits get a turn: some 10 ms."""
_TICK_S: Final = 1.0
_CATCH_UP_S: Final = 2.0
"""Oldest that a batch may grow while many records wait."""
_BATCH_BYTES: Final = 67_108_864
"""Of record values in one batch. They are kept until it is committed where they are refused."""
_offset: Final = attrgetter("offset")
_value: Final = attrgetter("value")


@dataclass(frozen=True, slots=True)
class Parked:
    """The fold of a partition that was given up with everything committed.

    As good as one rebuilt from the tail if the partition comes back with its committed offset where it was left.
    """

    fold: Fold
    position: int


class Stream:
    """Folds and commits one partition. Made by `open`; when a commit fails, thrown away.

    Attributes
    ----------
    position : int
        The offset after the last record that was folded or remembered.
    committing : Task or None
        At most one commit at a time; the next batch is folded meanwhile.
    """

    def __init__(
        self,
        settings: Settings,
        lane: Lane,
        fold: Fold,
        committed: int,
        position: int,
        clock: Clock,
    ) -> None:
        kafka = settings.kafka
        self.source: TopicPartition = lane.source
        self.fold = fold
        self.position = position
        self.committing: asyncio.Task[None] | None = None
        self._settings = settings.ingest
        self._rollups, self._dead_letters = kafka.topic(ROLLUPS), kafka.topic(DEAD_LETTERS)
        self._lane = lane
        self._committed = committed
        self._clock = clock
        self._since: float | None = None  # when the oldest record not yet drained was folded
        self._told = self._looked = (
            clock.monotonic()
        )  # when the last batch or tick was drained, and the last look
        self._value_bytes = 0

    @classmethod
    async def open(
        cls,
        settings: Settings,
        consumer: Consumer,
        source: TopicPartition,
        partitions: int,
        pricer: Pricer,
        parked: Parked | None,
        clock: Clock,
    ) -> Self:
        """Steps 1 to 3. Step 4 happens as the records of the tail come in.

        Raises
        ------
        KafkaError, Stalled
        """
        ingest = settings.ingest
        tail = SeenIds(ingest.dedup_offsets).tail
        lane = Lane(settings.kafka, ingest.group_id, source, max_age_s=ingest.transaction_max_age_s)
        try:
            opening = await lane.open(
                consumer,
                lambda committed: 0 if parked and parked.position == committed else tail(committed),
            )
        except BaseException:
            await lane.close()
            raise
        if parked and parked.position == opening.committed:
            fold = parked.fold
            fold.partitions = partitions
        else:
            fold = _new_fold(settings, source, partitions, pricer)
        _LOG.info("%s-%d: from %d, remembering from %d", *source, opening.committed, opening.start)
        return cls(settings, lane, fold, opening.committed, opening.start, clock)

    async def take(self, records: Sequence[ConsumerRecord]) -> None:
        """Step 6, and 4 for records of the tail.

        Raises
        ------
        TooManyDeadLetters
        """
        started = self._clock.monotonic()
        fresh = bisect_left(records, self._committed, key=_offset)
        for part, take in ((records[:fresh], self.fold.remember), (records[fresh:], self.fold.take)):
            for i in range(0, len(part), _BREATH):
                breath = part[i : i + _BREATH]
                take(breath)
                self.position = breath[-1].offset + 1
                await asyncio.sleep(0)
        self._value_bytes += sum(map(len, filter(None, map(_value, records[fresh:]))))
        if self._since is None and self.fold.records:
            self._since = started
        metrics.INGEST_FOLD_SECONDS.observe(self._clock.monotonic() - started)

    def look(self, read_up: bool) -> None:
        """Let time pass. `read_up`: there is nothing to read, so its watermark may go on by itself."""
        now = self._clock.monotonic()
        elapsed, self._looked = now - self._looked, now
        if read_up:
            self.fold.advance_idle(elapsed)

    @property
    def full(self) -> bool:
        """A whole batch is folded."""
        return self.fold.records >= self._settings.max_batch_records or self._value_bytes >= _BATCH_BYTES

    def commit_if_due(self, waiting: int) -> None:
        """Start a commit when a batch is full or old enough, or when there may be a tick to send.

        Parameters
        ----------
        waiting : int
            Records on the broker that have not been folded. With a whole batch of them waiting there is no
            hurry to be won: fuller batches have fewer rollups for the same calls, and so catch up sooner.
        """
        if self.committing is not None:
            return
        now = self._clock.monotonic()
        waited = now - (self._since if self._since is not None else now)
        hurry = waiting < self._settings.max_batch_records
        due = waited * 1_000 >= self._settings.commit_interval_ms or now - self._told >= _TICK_S
        if self.full or (due if hurry else waited >= _CATCH_UP_S):
            self._start_commit(now)

    def _start_commit(self, now: float) -> None:
        batch = self.fold.drain()
        value_bytes, self._value_bytes = self._value_bytes, 0
        self._since, self._told = None, now
        if not batch.empty:
            self.committing = asyncio.create_task(self._commit(batch, value_bytes))

    async def _commit(self, batch: Batch, value_bytes: int) -> None:
        """Steps 7 to 10 for one batch."""
        started = self._clock.monotonic()
        ticks = 0 if batch.tick is None else await self._lane.partitions(self._rollups)
        try:
            await self._lane.commit(
                self._sends(batch, ticks), None if batch.last_offset is None else batch.last_offset + 1
            )
        except Fenced:
            metrics.INGEST_FENCED.inc()
            metrics.INGEST_TRANSACTIONS.labels("fenced").inc()
            raise
        except LaneLost:
            metrics.INGEST_TRANSACTIONS.labels("aborted").inc()
            raise
        metrics.INGEST_TRANSACTIONS.labels("committed").inc()
        metrics.INGEST_COMMIT_SECONDS.observe(self._clock.monotonic() - started)
        tally(batch, self.source.partition, ticks, value_bytes)

    def _sends(self, batch: Batch, ticks: int) -> Iterator[Send]:
        for delta in batch.deltas:
            yield Send(self._rollups, delta.to_json(), delta.workflow.encode())
        if batch.tick is not None:
            # After the rollups: on every partition they are read before the time that closes their bucket.
            tick = batch.tick.to_json()
            yield from (Send(self._rollups, tick, partition=partition) for partition in range(ticks))
        for letter in batch.dead_letters:
            yield Send(self._dead_letters, letter.to_json(), letter.record_key)

    def reap(self) -> None:
        """Forget a commit that has ended.

        Raises
        ------
        Fenced, LaneLost
            Everything folded since the last commit is void: `close` this and open another.
        """
        if self.committing is not None and self.committing.done():
            ended, self.committing = self.committing, None
            ended.result()

    async def finish(self) -> Parked | None:
        """Commit what is folded.

        Raises
        ------
        Fenced, LaneLost
        """
        await self._settled()
        if self.fold.records:
            self._start_commit(self._clock.monotonic())
            await self._settled()
        return Parked(self.fold, self.position) if self.position >= self._committed else None

    async def _settled(self) -> None:
        ending, self.committing = self.committing, None
        if ending is not None:
            await ending

    async def close(self) -> None:
        """Stop the producer; what is not committed is void. Raises Stalled."""
        if self.committing is not None:
            self.committing.cancel()
            await asyncio.gather(self.committing, return_exceptions=True)
        await self._lane.close()


def _new_fold(settings: Settings, source: TopicPartition, partitions: int, pricer: Pricer) -> Fold:
    ingest = settings.ingest
    limits = DeadLetterLimits(
        ingest.dead_letter_max_ratio, ingest.dead_letter_ratio_window, ingest.dead_letter_max_streak
    )
    return Fold(source.partition, partitions, ingest, pricer, topic=source.topic, limits=limits)
