"""One partition while this process owns it: its lane, its fold, and the one commit that is on its way."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Self

from schemas.topics import DEAD_LETTERS, ROLLUPS, TRACE_COSTS
from service.errors import Fenced
from service.ingest.dead_letter import DeadLetterLimits
from service.ingest.dedup import SeenIds
from service.ingest.delta import Delta
from service.ingest.fold import Batch, Fold
from service.ingest.pace import PATIENCE_S, STEP_S, Standing
from service.ingest.price import Pricer
from service.ingest.scopes import Watching
from service.ingest.tally import tally
from service.ingest.trace_costs import Joining, told
from service.kafka import Consumer, ConsumerRecord, TopicPartition
from service.kafka.lane import Lane, LaneLost, Send
from service.runtime import metrics
from service.runtime.clock import Clock
from service.settings import Settings

_LOG = logging.getLogger(__name__)
_BREATH: Final = 2_000
"""Most records folded before heartbeats and commits get a turn: some 10 ms."""
_GASP: Final = 50
"""Fewest. Where calls are few, many records are hours, and how far time has come is looked at between breaths."""
_BREATH_S: Final = STEP_S / 4
"""Event time that a breath should span at most."""
_TICK_S: Final = 1.0
_GATHER_S: Final = 1.0
"""Longest that a batch waits to have fewer rollups."""
_CATCH_UP_S: Final = 2.0
"""Oldest that a batch may grow while many records wait."""
_BATCH_BYTES: Final = 67_108_864
"""Of record values in one batch. They are kept until it is committed where they are refused."""
_SKEW_S: Final = 60.0
"""By which this machine's clock and the broker's may differ, when asked how long a partition has been silent."""
_LOG_APPEND_TIME: Final = 1
_offset: Final = attrgetter("offset")
_value: Final = attrgetter("value")


@dataclass(frozen=True, slots=True)
class Parked:
    """The fold of a partition that was given up with everything committed.

    As good as one rebuilt from the tail if the partition comes back with its committed offset where it was left.
    """

    fold: Fold
    position: int
    appended: float | None


class Stream:
    """Folds and commits one partition. Made by `open`; when a commit fails, thrown away.

    Attributes
    ----------
    position : int
        The offset after the last record that was folded or remembered.
    held : deque of ConsumerRecord, or of what has its fields that are read here (`leave_as_read`)
        Polled after that, and not folded yet.
    appended : float or None
        When the broker was given the last record folded or remembered, epoch seconds; minus infinity before the
        first. None: it does not say, its times are the producers' own.
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
        joining: Joining,
        appended: float | None = float("-inf"),
    ) -> None:
        kafka = settings.kafka
        self.source: TopicPartition = lane.source
        self.fold = fold
        self.position = position
        self.held: deque[ConsumerRecord] = deque()
        self.appended = appended
        self.committing: asyncio.Task[None] | None = None
        self._settings = settings.ingest
        self._rollups, self._dead_letters = kafka.topic(ROLLUPS), kafka.topic(DEAD_LETTERS)
        self._trace_costs, self._joining = kafka.topic(TRACE_COSTS), joining
        self._lane = lane
        self._committed = committed
        self._clock = clock
        self._since: float | None = None  # when the oldest record not yet drained was folded
        # When the last batch or tick was drained, the last look, and the last fold.
        self._told = self._looked = self._moved = clock.monotonic()
        self._value_bytes = 0
        self._breath = _GASP
        self._read_up_at: float | None = None  # for the first time after a backlog
        self._ticks = 0  # of the batch that is on its way
        self._told_traces = 0
        self._began: float | None = None  # the watermark with which the batch began

    @classmethod
    async def open(
        cls,
        settings: Settings,
        consumer: Consumer,
        source: TopicPartition,
        partitions: int,
        pricer: Pricer,
        watching: Watching,
        joining: Joining,
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
            fold, appended = parked.fold, parked.appended
            fold.partitions = partitions
        else:
            fold, appended = _new_fold(settings, source, partitions, pricer, watching), float("-inf")
        _LOG.info("%s-%d: from %d, remembering from %d", *source, opening.committed, opening.start)
        return cls(settings, lane, fold, opening.committed, opening.start, clock, joining, appended)

    def standing(self, waiting: int | None) -> Standing:
        """For `pace.limit`. `waiting`: records on the broker that have not been folded; None: not known yet.

        A partition that was read up a moment ago holds detect's time back until it is idle, and so the others
        wait for it that long; but only after a backlog, or a trickle of old events would hold them for ever.
        """
        now = self._clock.monotonic()
        if waiting is None or waiting > 0:
            return Standing(self.fold.watermark, now - self._moved < PATIENCE_S)
        awaited = self._read_up_at is not None and now - self._read_up_at <= self._settings.idle_timeout_s
        return Standing(self.fold.watermark, awaited and not self.fold.idle)

    async def take(self, may_go_on: Callable[[float], bool]) -> None:
        """Step 6, and 4 for records of the tail: fold what is held, while the watermark may go on from where it is.

        Raises
        ------
        TooManyDeadLetters
        """
        started = self._clock.monotonic()
        while self.held and not self.full and may_go_on(self.fold.watermark):
            self._fold(self._next_breath())
            await asyncio.sleep(0)
        if self._since is None and self.fold.records:
            self._since = started
        metrics.INGEST_FOLD_SECONDS.observe(self._clock.monotonic() - started)

    def _next_breath(self) -> list[ConsumerRecord]:
        """As many records as the last ones let expect to span little time; of the tail, or fresh, never both."""
        held = self.held
        breath = [held.popleft() for _ in range(min(self._breath, len(held)))]
        tail = bisect_left(breath, self._committed, key=_offset)
        if 0 < tail < len(breath):
            held.extendleft(reversed(breath[tail:]))
            del breath[tail:]
        return breath

    def _fold(self, breath: Sequence[ConsumerRecord]) -> None:
        last, before = breath[-1], self.fold.watermark
        if last.offset < self._committed:
            self.fold.remember(breath)
        else:
            self.fold.take(breath)
            self._value_bytes += sum(map(len, filter(None, map(_value, breath))))
        self.position = last.offset + 1
        self.appended = last.timestamp / 1_000 if last.timestamp_type == _LOG_APPEND_TIME else None
        self._moved = self._clock.monotonic()
        if self.fold.records and self._began is None:
            self._began = before if before > float("-inf") else self.fold.watermark
        passed = self.fold.watermark - before
        if passed <= _BREATH_S / 2:
            self._breath = min(2 * self._breath, _BREATH)
        elif passed > _BREATH_S:
            self._breath = max(self._breath // 2, _GASP)

    def look(self, read_up: bool) -> None:
        """Let time pass. `read_up`: there is nothing to read, so its watermark may go on by itself."""
        now = self._clock.monotonic()
        elapsed, self._looked = now - self._looked, now
        if read_up:
            self._read_up_at = now if self._read_up_at is None else self._read_up_at
            was_idle = self.fold.idle
            # Also one that ended hours before others did must not hold them back for the length of the timeout.
            silent = self.appended is not None and (
                self._clock.now().timestamp() - self.appended > self._settings.idle_timeout_s + _SKEW_S
            )
            self.fold.advance_idle(elapsed, silent=silent)
            if self.fold.idle and not was_idle:
                self._told = float("-inf")  # to be told at once

    @property
    def full(self) -> bool:
        """A whole batch is folded: of records, of bytes, or of event time."""
        return (
            self.fold.records >= self._settings.max_batch_records
            or self._value_bytes >= _BATCH_BYTES
            or (self._began is not None and self.fold.watermark - self._began >= STEP_S)
        )

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
        if not hurry:
            self._read_up_at = None
        due = waited >= self._gathering_s or now - self._told >= _TICK_S
        if self.full or (due if hurry else waited >= _CATCH_UP_S):
            self._start_commit(now)

    @property
    def _gathering_s(self) -> float:
        """How long a batch waits for more of the same workflows: longer where it makes many rollups."""
        settings = self._settings
        wanted = min(self.fold.deltas / settings.rollups_per_s, _GATHER_S)
        return max(settings.commit_interval_ms / 1_000, wanted)

    def _start_commit(self, now: float) -> None:
        batch = self.fold.drain()
        value_bytes, self._value_bytes = self._value_bytes, 0
        self._since, self._began, self._told = None, None, now
        if not batch.empty:
            self.committing = asyncio.create_task(self._commit(batch, value_bytes))

    async def _commit(self, batch: Batch, value_bytes: int) -> None:
        """Steps 7 to 10 for one batch."""
        started = self._clock.monotonic()
        partitions = 0 if batch.tick is None else await self._lane.partitions(self._rollups)
        try:
            await self._lane.commit(
                self._sends(batch, partitions), None if batch.last_offset is None else batch.last_offset + 1
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
        tally(batch, self.source.partition, self._ticks, value_bytes)
        metrics.INGEST_TRACE_COSTS.inc(self._told_traces)

    def _sends(self, batch: Batch, partitions: int) -> Iterator[Send]:
        self._ticks = self._told_traces = 0
        for record in batch.in_time():
            if isinstance(record, Delta):
                key = record.workflow.encode()
                yield Send(self._rollups, record.to_json(), key)
                if self._joining.tells(record):
                    for value in told(record):
                        self._told_traces += 1
                        yield Send(self._trace_costs, value, key)
                continue
            # On every partition, after the rollups of the buckets that it closes.
            tick = record.to_json()
            yield from (Send(self._rollups, tick, partition=partition) for partition in range(partitions))
            self._ticks += partitions
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
        return Parked(self.fold, self.position, self.appended) if self.position >= self._committed else None

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


def _new_fold(
    settings: Settings, source: TopicPartition, partitions: int, pricer: Pricer, watching: Watching
) -> Fold:
    ingest = settings.ingest
    limits = DeadLetterLimits(
        ingest.dead_letter_max_ratio, ingest.dead_letter_ratio_window, ingest.dead_letter_max_streak
    )
    return Fold(
        source.partition, partitions, ingest, pricer, topic=source.topic, limits=limits, watching=watching
    )
