"""The loop of the one process that counts.

 1. The lane is open (`service.kafka.leadership`): nobody else can write from now on.
 2. Read what was kept, and go on in the rollups topic from where that stands.
 3. A budget that is new is counted from its window's start: go back as far as that, if it is not too far. What
    others have counted already they know by its offset.
 4. Read, count, let time pass.
 5. Every half second, in one transaction: snapshots, alerts, ledgers, positions.

A crash anywhere leaves what the last transaction left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Final

from schemas.control import Budget
from schemas.reasons import Refused
from schemas.topics import ALERTS, BUDGETS, ROLLUPS
from service.budgets import vault
from service.budgets.accounts import Accounts, Said
from service.budgets.entry import Spend, read
from service.budgets.progress import Progress
from service.kafka import (
    Consumer,
    ConsumerRecord,
    TopicPartition,
    consumer,
    require_topics,
    started,
)
from service.kafka.config_view import ConfigView
from service.kafka.lane import Lane, LaneLost, Send
from service.kafka.leadership import Leadership
from service.rules.calendar import Calendar
from service.runtime import metrics
from service.runtime.clock import Clock
from service.settings import Settings

_LOG = logging.getLogger(__name__)
_POLL_MS: Final = 100
_MAX_RECORDS: Final = 5_000
_COMMIT_S: Final = 0.5
_EARLY_S: Final = 300.0
"""By which an event may be later than the broker's time (`ingest.future_allowance_s`), and so in a window that has
not begun when it is written."""


class Office:
    """Leads the ledgers, from the opening of the lane to its end."""

    def __init__(self, settings: Settings, leadership: Leadership, config: ConfigView, clock: Clock) -> None:
        self._settings = settings
        self._leadership = leadership
        self._config = config
        self._clock = clock

    async def lead(self, lane: Lane) -> None:
        """Steps 2 to 5, until it is somebody else's. Raises Fenced, LaneLost, Stalled, KafkaError."""
        kafka = self._settings.kafka
        try:
            kept, progress = await vault.opened(kafka)  # 2
            async with started(consumer(kafka, group_id=None), kafka) as reader:
                sources = (await require_topics(reader, [kafka.topic(ROLLUPS)]))[kafka.topic(ROLLUPS)]
                reader.assign(sources)
                accounts = Accounts(kept, progress or Progress(), len(sources))
                await _go_on(reader, sources, accounts.progress)
                counting = Counting(
                    self._settings, reader, sources, accounts, lane, self._config, self._clock
                )
                _LOG.info("counting %d budgets", len(kept))
                while await self._leadership.goes_on():
                    await counting.turn()
                if self._leadership.ours:
                    await counting.commit()
        finally:
            # Of a process that stands by they would be what once was.
            metrics.BUDGETS_LAG.clear()
            metrics.BUDGETS_ACCOUNTS.set(0)
            metrics.BUDGETS_WATERMARK_AGE.set(0)


async def _go_on(reader: Consumer, sources: list[TopicPartition], progress: Progress) -> None:
    """Take up the topic where it was left; without that at its end: what is new goes back as far as it needs."""
    first, ends = await reader.beginning_offsets(sources), await reader.end_offsets(sources)
    for source in sources:
        position = progress.positions.get(source.partition)
        if position is None:
            # A partition that was added has nothing that could have been counted.
            position = first[source] if progress.positions else ends[source]
        if position < first[source]:
            _LOG.error(
                "%s-%d: records from offset %d to %d expired before they were read: their spend is in no budget",
                *source,
                position,
                first[source] - 1,
            )
            position = first[source]
        reader.seek(source, position)
    for source in sources:
        progress.positions[source.partition] = await reader.position(source)


class Counting:
    """The reader of rollups and the writer of what comes of them, from one opening of the lane to its end."""

    def __init__(
        self,
        settings: Settings,
        reader: Consumer,
        sources: list[TopicPartition],
        accounts: Accounts,
        lane: Lane,
        config: ConfigView,
        clock: Clock,
    ) -> None:
        kafka = settings.kafka
        self._settings = settings
        self._reader = reader
        self._sources = sources
        self._accounts = accounts
        self._lane = lane
        self._config = config
        self._clock = clock
        self._snapshots, self._alerts = kafka.topic(BUDGETS), kafka.topic(ALERTS)
        self._version = ""
        self._committed = float("-inf")

    async def turn(self) -> None:
        """Steps 3 to 5, once. Raises Fenced, LaneLost, Stalled, KafkaError."""
        book = self._config.book
        if book.version != self._version:
            self._version = book.version
            await self._go_back(self._accounts.use(book, self._wall()))  # 3
        batch = await self._reader.getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
        for source, records in batch.items():
            for record in records:
                self._take(source.partition, record)
            await asyncio.sleep(0)
        positions = self._accounts.progress.positions
        for source in self._sources:  # beyond the last record there may be a transaction's marker
            positions[source.partition] = await self._reader.position(source)
            end = self._reader.highwater(source)
            if end is not None:
                metrics.BUDGETS_LAG.labels(source.partition).set(max(0, end - positions[source.partition]))
        progress = self._accounts.progress
        progress.rereading = {
            name: until
            for name, until in progress.rereading.items()
            if name in self._accounts.accounts
            and any(positions[partition] < offset for partition, offset in until.items())
        }
        if self._clock.monotonic() - self._committed >= _COMMIT_S:
            await self.commit()  # 5

    def _take(self, partition: int, record: ConsumerRecord) -> None:
        try:
            entry = read(record.value)
        except Refused as refused:
            # Detect reads the same topic, and keeps what is no rollup as a dead letter.
            metrics.BUDGETS_REFUSED.labels(refused.reason.value).inc()
            _LOG.error("rollups-%d, offset %d is not counted: %s", partition, record.offset, refused)
            return
        if isinstance(entry, Spend):
            self._accounts.count(partition, record.offset, entry)
        elif entry is not None:
            self._accounts.pass_time(partition, entry, record.timestamp / 1_000)

    async def _go_back(self, new: list[Budget]) -> None:
        """Step 3 for budgets that have just begun."""
        progress = self._accounts.progress
        positions = progress.positions
        # What is folded for them by label begins only now, with their record.
        told = [budget for budget in new if budget.scope.kind in ("workflow", "organisation")]
        if not told:
            return
        wall = self._wall()
        starts = {budget.name: Calendar.of(budget).window_at(wall).start for budget in told}
        first = await self._reader.beginning_offsets(self._sources)
        reached = {
            partition: max([position, *(until.get(partition, 0) for until in progress.rereading.values())])
            for partition, position in positions.items()
        }
        # The longest windows last: if they are too far back, the others still are not.
        for budget in sorted(told, key=lambda budget: -starts[budget.name]):
            start = starts[budget.name]
            at = {source: round((start - _EARLY_S) * 1_000) for source in self._sources}
            found = await self._reader.offsets_for_times(at)
            back = {
                source: min(positions[source.partition], found[source].offset)
                if found[source] is not None
                else positions[source.partition]
                for source in self._sources
            }
            records = sum(positions[source.partition] - offset for source, offset in back.items())
            if records > self._settings.budgets.reread_records:
                _LOG.info(
                    "budget %s counts from now on: its window began %d records ago", budget.name, records
                )
                continue
            # What expired may have been of this window.
            if all(first[source] == 0 or offset > first[source] for source, offset in back.items()):
                self._accounts.since(budget.name, start)
            progress.rereading[budget.name] = reached
            for source, offset in back.items():
                self._reader.seek(source, offset)
        for source in self._sources:
            positions[source.partition] = await self._reader.position(source)

    async def commit(self) -> None:
        """Step 5. Raises Fenced, LaneLost."""
        there = self._reader.partitions_for_topic(self._sources[0].topic)
        if there is not None and len(there) != len(self._sources):
            raise LaneLost(f"{self._sources[0].topic} has {len(there)} partitions now")
        wall = self._wall()
        said = self._accounts.tell(wall, self._accounts.progress.rereading)
        await self._lane.commit(self._sends(said, wall), None)
        self._committed = self._clock.monotonic()
        metrics.BUDGETS_TRANSACTIONS.labels("committed").inc()
        metrics.BUDGETS_SNAPSHOTS.inc(len(said.snapshots))
        for alert in said.alerts:
            metrics.BUDGETS_ALERTS.labels(alert.kind, alert.status).inc()
        metrics.BUDGETS_ACCOUNTS.set(len(self._accounts.accounts))
        if watermark := self._accounts.progress.watermark:
            metrics.BUDGETS_WATERMARK_AGE.set(wall - watermark)

    def _sends(self, said: Said, wall: float) -> Iterator[Send]:
        for name in said.ended:
            yield Send(self._snapshots, None, name.encode())
        for snapshot in said.snapshots:
            yield Send(self._snapshots, snapshot.to_json(), snapshot.budget.encode())
        for alert in said.alerts:
            yield Send(self._alerts, alert.to_json(), alert.fingerprint.encode())
        yield from vault.kept(self._settings.kafka, self._accounts, wall)

    def _wall(self) -> float:
        return self._clock.now().timestamp()
