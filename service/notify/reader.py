"""Reads alerts in, and commits what is finished. The numbers are those of README.md."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from schemas.alerts import Alert
from schemas.dead_letters import DeadLetter
from schemas.decode import decode
from schemas.reasons import Refused
from schemas.topics import ALERTS, DEAD_LETTERS
from service.kafka import (
    CommitFailedError,
    Consumer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    IllegalStateError,
    Producer,
    TopicPartition,
)
from service.kafka.reader import written_at
from service.notify.board import Source
from service.notify.desk import Desk
from service.notify.log import NotificationLog
from service.runtime.clock import Clock
from service.runtime.health import Health
from service.runtime.metrics import NOTIFY_ALERTS, NOTIFY_LAG, NOTIFY_POSITION, NOTIFY_REFUSED
from service.settings import KafkaSettings

QUIET_S: Final = 15.0
"""How long requests that are out may take to end when partitions go or the process stops."""
MAX_ALERT_BYTES: Final = 1_048_576
_POLL_MS: Final = 200
_MAX_RECORDS: Final = 500
_COMMIT_S: Final = 1.0

_LOG = logging.getLogger(__name__)


class AlertReader(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types, and asks for the class
    """Reads alerts onto the desk while its partitions are ours.

    Whatever is read while partitions change hands is thrown away and read again from the committed offsets, after
    the notification log has been read to its end. So a record never meets an older log than its last owner left,
    and nobody is told anything before all that is there has been read.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        consumer: Consumer,
        producer: Producer,
        desk: Desk,
        log: NotificationLog,
        health: Health,
        clock: Clock,
        *,
        quiet: Callable[[float], Awaitable[None]],
        wake: Callable[[], None],
    ) -> None:
        """`quiet`: let requests that are out end, and begin none. `wake`: there may be something to begin."""
        self._kafka = kafka
        self._topic = kafka.topic(ALERTS)
        self._consumer = consumer
        self._producer = producer
        self._desk = desk
        self._log = log
        self._health = health
        self._clock = clock
        self._quiet = quiet
        self._wake = wake
        self._moving = True
        self._stale = True
        self._ends: dict[TopicPartition, int] = {}
        self._caught_up = False
        self._seen = 0.0
        self._committed: dict[int, int] = {}
        self._committed_at = 0.0
        self._failure: Exception | None = None

    @property
    def open(self) -> bool:
        """Whether the partitions are ours, as far as that can be known, and have been read up to the end.

        A process that stood still for a session's length may have lost them and not know it yet.
        """
        return self._ours() and self._caught_up and bool(self._ends) and not self._doubtful()

    async def run(self, stop: asyncio.Event) -> None:
        self._health.expect("alerts")
        self._consumer.subscribe([self._topic], listener=self)
        while not stop.is_set():
            if self._failure is not None:
                raise self._failure
            if self._stale and not self._moving:
                self._stale = False
                await self._begin()
            await self._read()
            doubtful = self._doubtful()
            if doubtful or self._clock.monotonic() - self._committed_at >= _COMMIT_S:
                # The coordinator answers a commit only to the partition's owner.
                await self._commit(always=doubtful)
            self._seen = _now()
            self._health.beat("alerts")
        await self._quiet(QUIET_S)
        await self._commit()

    async def _begin(self) -> None:
        """1. Take up the partitions where the last owner left them."""
        await self._log.catch_up()
        expired = await self._log.expire(self._clock.now())
        partitions = self._consumer.assignment()
        self._desk.take_up(any(partition.partition == 0 for partition in partitions))
        try:
            for partition in partitions:
                if (offset := await self._consumer.committed(partition)) is None:
                    await self._consumer.seek_to_beginning(partition)
                else:
                    self._consumer.seek(partition, offset)
            self._ends = await self._consumer.end_offsets(list(partitions)) if partitions else {}
        except IllegalStateError:
            return  # taken away meanwhile: the next round begins again
        self._seen = _now()
        self._caught_up = False
        ids = sorted(partition.partition for partition in partitions)
        _LOG.info("partitions %s; %d log entries, %d expired", ids, len(self._log.told), expired)
        # Without a partition too: a replica that stands by is as ready as it can be.
        self._health.set_ready("alerts", True)

    async def _read(self) -> None:
        """2. and 3. Read alerts onto the desk."""
        batch = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
        for partition, records in batch.items():
            for record in records:
                if not self._ours():
                    return
                alert = await self._decoded(record)
                if not self._ours():
                    return
                source = Source(record.partition, record.offset)
                if alert is None:
                    self._desk.board.skip(source)
                else:
                    self._desk.accept(alert, source, min(written_at(record), self._clock.now()))
            NOTIFY_POSITION.labels(partition.partition).set(records[-1].offset + 1)
            if (end := self._consumer.highwater(partition)) is not None:
                NOTIFY_LAG.labels(partition.partition).set(max(0, end - records[-1].offset - 1))
        if not self._caught_up and await self._at_the_end():
            # Nothing is told before all is known: what is over by now, and what explains what.
            self._caught_up = True
            self._wake()
        elif batch:
            self._wake()

    async def _at_the_end(self) -> bool:
        try:
            positions = [await self._consumer.position(tp) >= end for tp, end in self._ends.items()]
        except IllegalStateError:
            return False
        return self._ours() and all(positions)

    async def _decoded(self, record: ConsumerRecord) -> Alert | None:
        """The alert in a record; None if it is none, and then it is on the dead-letters topic."""
        try:
            alert = decode(Alert, record.value, max_bytes=MAX_ALERT_BYTES)
        except Refused as refused:
            NOTIFY_REFUSED.labels(refused.reason).inc()
            _LOG.error("alert %s/%d/%d refused: %s", record.topic, record.partition, record.offset, refused)
            await self._bury(record, refused)
            return None
        NOTIFY_ALERTS.labels(alert.status).inc()
        return alert

    async def _bury(self, record: ConsumerRecord, refused: Refused) -> None:
        letter = DeadLetter.of(
            record.topic,
            record.partition,
            record.offset,
            refused,
            timestamp_ms=record.timestamp,
            key=record.key,
            value=record.value,
            headers=record.headers,
        )
        topic = self._kafka.topic(DEAD_LETTERS)
        await self._producer.send_and_wait(topic, letter.to_json(), key=letter.record_key)

    def _ours(self) -> bool:
        """Whether the partitions are the same as when `_begin` last ended."""
        return not (self._stale or self._moving)

    def _doubtful(self) -> bool:
        """Whether this process stood still for so long that somebody else may have the partitions by now."""
        return _now() - self._seen > 0.7 * self._kafka.session_timeout_s

    async def _commit(self, *, always: bool = False) -> None:
        """7. Commit up to the oldest alert that somebody has still to be told of."""
        if not self._caught_up:
            return
        self._committed_at = self._clock.monotonic()
        offsets: Mapping[int, int] = self._desk.sweep(self._clock.now())
        changed = {p: o for p, o in offsets.items() if always or o != self._committed.get(p)}
        if not changed:
            return
        try:
            await self._consumer.commit({TopicPartition(self._topic, p): o for p, o in changed.items()})
        except (CommitFailedError, IllegalStateError) as error:
            # Partitions are changing hands. The log keeps what is told from being told again.
            _LOG.info("commit left to the next owner: %s", error)
            self._stale = always or self._stale
        else:
            self._committed.update(changed)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """8. Hand over: end what is out, commit, forget."""
        self._moving = self._stale = True
        try:
            await self._quiet(QUIET_S)
            if revoked:
                await self._commit()
            self._caught_up = False
            self._desk.forget()
            self._committed.clear()
            # Where others are now is theirs to say.
            NOTIFY_POSITION.clear()
            NOTIFY_LAG.clear()
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and go on: the loop raises it
            self._failure = error

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._moving, self._stale = False, True


def _now() -> float:
    """The event loop's time: the process's own, also where the clock of the world is another."""
    return asyncio.get_running_loop().time()
