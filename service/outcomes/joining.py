"""The reader of both topics and the writer of what comes of them, from one opening of the lane to its end."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.dead_letters import DeadLetter
from schemas.decode import decode
from schemas.events import Outcome
from schemas.reasons import Reason, Refused
from schemas.topics import DEAD_LETTERS, OUTCOMES, ROLLUPS
from service.kafka import Consumer, ConsumerRecord, TopicPartition
from service.kafka.lane import Lane, LaneLost, Send
from service.outcomes import vault
from service.outcomes.entry import read
from service.outcomes.join import Drained, Join
from service.outcomes.progress import Progress, Source, Times
from service.outcomes.trace import MAX_OUTCOMES
from service.runtime import metrics
from service.runtime.clock import Clock
from service.settings import Settings

_LOG = logging.getLogger(__name__)
_POLL_MS: Final = 100
_MAX_RECORDS: Final = 2_000
_COMMIT_S: Final = 1.0
_MAX_CHANGED: Final = 20_000
"""Traces in one transaction: some megabytes."""


class Joining:
    """One opening of the lane. See the steps in `service.outcomes.office`.

    Parameters
    ----------
    sources : dict
        Partitions that `reader` has, with the names of their topics in the contract.
    """

    def __init__(
        self,
        settings: Settings,
        reader: Consumer,
        sources: dict[TopicPartition, Source],
        join: Join,
        progress: Progress,
        lane: Lane,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._sources = sources
        self._join = join
        self._progress = progress
        self._lane = lane
        self._clock = clock
        self._times = Times(sources.values(), progress.now)
        self._letters: list[DeadLetter] = []
        self._counts: Counter[str] = Counter()
        self._committed = float("-inf")
        self._moved = False
        self._waiting: set[TopicPartition] = set()

    async def turn(self) -> None:
        """Steps 3 and 4, once. Raises Fenced, LaneLost, Stalled, KafkaError."""
        wall = self._wall()
        batch = await self._reader.getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
        for source, records in batch.items():
            where = self._sources[source]
            for record in records:
                at = wall if record.timestamp < 0 else min(record.timestamp / 1_000, wall)
                self._times.read(where, at)
                self._take(where, record, round(max(at, self._progress.now)))
            await asyncio.sleep(0)
        await self._look(wall)
        if self._join.changed >= _MAX_CHANGED or self._clock.monotonic() - self._committed >= _COMMIT_S:
            self._join.expire(round(self._progress.now - self._settings.outcomes.keep_s))
            await self.commit()  # 4

    async def _look(self, wall: float) -> None:
        """How far all has been read, in offsets and in time; and who has to wait for others."""
        for source, (topic, partition) in self._sources.items():
            # Which may be beyond the last record: of a transaction there is a marker as well.
            position = await self._reader.position(source)
            positions = self._progress.positions[topic]
            self._moved = self._moved or positions[partition] != position
            positions[partition] = position
            end = self._reader.last_stable_offset(source)
            self._times.standing((topic, partition), read_up=end is not None and position >= end)
            if end is not None:
                metrics.OUTCOMES_LAG.labels(topic, partition).set(max(0, end - position))
        self._progress.now = self._times.now(wall)
        ahead = self._times.ahead(wall)
        waiting = {source for source, where in self._sources.items() if where in ahead}
        if waiting != self._waiting:
            self._reader.resume(*(self._waiting - waiting))
            self._reader.pause(*(waiting - self._waiting))
            self._waiting = waiting

    def _take(self, source: Source, record: ConsumerRecord, now: int) -> None:
        topic, partition = source
        self._counts[topic] += 1
        if topic == OUTCOMES.name:
            try:
                outcome = self._outcome(record)
                found = self._join.reach(outcome, now)
                self._counts[found] += 1
                if found == "full":
                    raise Refused(Reason.OUT_OF_RANGE, f"its trace has {MAX_OUTCOMES} outcomes", "trace_id")
            except Refused as refused:
                self._counts[f"refused {refused.reason.value}"] += 1
                self._letters.append(
                    DeadLetter.of(
                        record.topic,
                        partition,
                        record.offset,
                        refused,
                        timestamp_ms=record.timestamp,
                        key=record.key,
                        value=record.value,
                        headers=record.headers,
                    )
                )
            return
        try:
            workflow, traces = read(record.value)
        except Refused as refused:
            # Ingest writes nothing else: somebody else has, or it is of a later release.
            self._counts[f"refused {refused.reason.value}"] += 1
            _LOG.error("%s-%d, offset %d is not counted: %s", topic, partition, record.offset, refused)
            return
        for trace in traces:
            self._join.spend(
                trace.trace_id, workflow, trace.cost_nanos, trace.calls, trace.unpriced_calls, now
            )

    def _outcome(self, record: ConsumerRecord) -> Outcome:
        outcome = decode(Outcome, record.value)
        allowance = self._settings.ingest.future_allowance_s
        if record.timestamp < 0:
            return outcome  # without a time of its own it has no future
        written = datetime.fromtimestamp(record.timestamp / 1_000, UTC)
        if outcome.occurred_at > written + timedelta(seconds=allowance):
            detail = f"later than the record's time by more than {allowance:g} s"
            raise Refused(Reason.IN_THE_FUTURE, detail, "occurred_at")
        return outcome

    async def commit(self) -> None:
        """Step 4. Raises Fenced, LaneLost."""
        for topic in {source.topic for source in self._sources}:
            there = self._reader.partitions_for_topic(topic)
            if there is not None and len(there) != sum(source.topic == topic for source in self._sources):
                raise LaneLost(f"{topic} has {len(there)} partitions now")
        drained = self._join.drain()
        if drained.changed or self._moved:
            await self._lane.commit(self._sends(drained), None)
            metrics.OUTCOMES_TRANSACTIONS.labels("committed").inc()
            self._tally(drained)
        self._committed, self._moved = self._clock.monotonic(), False
        metrics.OUTCOMES_TRACES.set(self._join.traces)
        metrics.OUTCOMES_TIME_AGE.set(self._wall() - self._progress.now)

    def _sends(self, drained: Drained) -> Iterator[Send]:
        rollups, letters = (self._settings.kafka.topic(topic) for topic in (ROLLUPS, DEAD_LETTERS))
        for rollup in drained.rollups:
            yield Send(rollups, rollup.to_json(), rollup.workflow.encode())
        for letter in self._letters:
            yield Send(letters, letter.to_json(), letter.record_key)
        yield from vault.kept(self._settings.kafka, drained, self._progress)

    def _tally(self, drained: Drained) -> None:
        """Counted once it is durable, never before."""
        for name, count in self._counts.items():
            if name.startswith("refused "):
                metrics.OUTCOMES_REFUSED.labels(name.removeprefix("refused ")).inc(count)
            elif name in ("counted", "duplicate"):
                metrics.OUTCOMES_READ.labels(name).inc(count)
        self._counts.clear()
        self._letters = []
        metrics.OUTCOMES_ROLLUPS.inc(len(drained.rollups))
        metrics.OUTCOMES_FORGOTTEN.labels("expired").inc(drained.expired)
        metrics.OUTCOMES_FORGOTTEN.labels("no_room").inc(drained.dropped)
        if drained.dropped:
            _LOG.warning("%d traces forgotten: outcomes.max_traces is reached", drained.dropped)

    def _wall(self) -> float:
        return self._clock.now().timestamp()
