"""The notify role: reads alerts, tells people. The numbers are those of README.md."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final

from schemas.topics import ALERTS, DEAD_LETTERS, NOTIFICATION_LOG, PARKED_NOTIFICATIONS
from service.kafka import (
    CommitFailedError,
    Consumer,
    ConsumerRebalanceListener,
    IllegalStateError,
    KafkaError,
    TopicPartition,
    consumer,
    producer,
    require_topics,
    started,
    unavailable,
)
from service.kafka.config_view import ConfigView
from service.notify import http
from service.notify.courier import Courier
from service.notify.desk import Desk
from service.notify.log import NotificationLog
from service.notify.pipeline import RetryPolicy
from service.notify.roster import enlist
from service.notify.template import Link
from service.runtime.clock import Clock, SystemClock
from service.runtime.health import Health, serve
from service.runtime.metrics import NOTIFY_LAG
from service.runtime.tasks import until_one_ends
from service.settings import NotifySettings, Settings

MAX_UNFINISHED: Final = 1_000
"""Alerts read and not finished; beyond, reading pauses until half of them are."""
QUIET_S: Final = 15.0
"""How long requests that are out may take to end when partitions go or the process stops."""
_POLL_MS: Final = 200
_MAX_RECORDS: Final = 100

_LOG = logging.getLogger(__name__)


async def run(settings: Settings, *, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run the role until `stop` is set, then let requests that are out end, commit, and leave the group.

    Raises
    ------
    SettingsError
        A receiver's secret cannot be read.
    BrokerUnavailable
        No broker or topic, or it failed for longer than the client retries: what was not committed is read again.
    """
    clock = clock or SystemClock()
    kafka, notify = settings.kafka, settings.notify
    health = Health("notify", clock, settings.health.stall_after_s)
    health.set_ready("alerts", False, "waiting for partitions")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(http.client())
        roster = enlist(notify.receivers, client, clock, Link(notify.link) if notify.link else None)
        if not roster:
            _LOG.warning("no receivers in the settings: alerts are read, and nobody is told")
        port = await stack.enter_async_context(
            serve(health, settings.health.host, settings.health.port_of("notify"))
        )
        sender = await stack.enter_async_context(started(producer(kafka, client_id="tidegate-notify"), kafka))
        needed = [kafka.topic(t) for t in (ALERTS, NOTIFICATION_LOG, PARKED_NOTIFICATIONS, DEAD_LETTERS)]
        await require_topics(sender, needed)
        config = await stack.enter_async_context(ConfigView(kafka, clock, "notify", health=health))
        reader = await stack.enter_async_context(started(consumer(kafka, group_id=notify.group_id), kafka))
        log = NotificationLog(kafka, sender)
        desk = Desk(kafka, config, log, sender)
        couriers = [
            _courier(name, enlisted.receiver, desk, notify, clock) for name, enlisted in roster.items()
        ]
        for courier, enlisted in zip(couriers, roster.values(), strict=True):
            desk.employ(courier, enlisted.min_severity)
        counter = Counter(reader, kafka.topic(ALERTS), desk, log, health, clock)
        _LOG.info("notify: %d receivers, health and metrics on port %d", len(couriers), port)
        try:
            await until_one_ends(counter.run(stop), config.failed(), *(courier.run() for courier in couriers))
        except KafkaError as error:
            raise unavailable(error, kafka) from error


def _courier(name: str, receiver: Any, desk: Desk, notify: NotifySettings, clock: Clock) -> Courier:
    return Courier(
        name,
        receiver,
        desk,
        policy=RetryPolicy(notify.max_attempts, notify.backoff_initial_s, notify.backoff_max_s),
        repeat_interval=timedelta(seconds=notify.repeat_interval_s),
        clock=clock,
        chance=random.random,
    )


class Counter(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types, and asks for the class
    """Reads alerts in, and commits what is finished.

    Whatever is read while partitions change hands is thrown away and read again from the committed offsets, after
    the notification log has been read to its end. So a record never meets an older log than its last owner left.
    """

    def __init__(
        self,
        reader: Consumer,
        topic: str,
        desk: Desk,
        log: NotificationLog,
        health: Health,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._topic = topic
        self._desk = desk
        self._log = log
        self._health = health
        self._clock = clock
        self._moving = True
        self._stale = True
        self._paused = False
        self._failure: Exception | None = None

    async def run(self, stop: asyncio.Event) -> None:
        self._health.expect("alerts")
        self._reader.subscribe([self._topic], listener=self)
        while not stop.is_set():
            if self._failure is not None:
                raise self._failure
            if self._stale and not self._moving:
                self._stale = False
                await self._begin()
            await self._read()
            await self._commit()
            self._health.beat("alerts")
        await self._desk.quiet(QUIET_S)
        await self._commit()

    async def _begin(self) -> None:
        """1. Take up the partitions where the last owner left them."""
        await self._log.catch_up()
        expired = await self._log.expire(self._clock.now())
        partitions = self._reader.assignment()
        try:
            for partition in partitions:
                if (offset := await self._reader.committed(partition)) is None:
                    await self._reader.seek_to_beginning(partition)
                else:
                    self._reader.seek(partition, offset)
        except IllegalStateError:
            return  # taken away meanwhile: the next round begins again
        ids = sorted(partition.partition for partition in partitions)
        _LOG.info("partitions %s; %d log entries, %d expired", ids, len(self._log.told), expired)
        # Without a partition too: a replica that stands by is as ready as it can be.
        self._health.set_ready("alerts", True)

    async def _read(self) -> None:
        self._pause_or_resume()
        batch = await self._reader.getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
        for partition, records in batch.items():
            for record in records:
                if not self._ours():
                    return
                alert = await self._desk.read(record)
                if not self._ours():
                    return
                self._desk.accept(record, alert)
            if (end := self._reader.highwater(partition)) is not None:
                NOTIFY_LAG.labels(partition.partition).set(max(0, end - records[-1].offset - 1))

    def _ours(self) -> bool:
        """Whether the partitions are the same as when `_begin` last ended."""
        return not (self._stale or self._moving)

    def _pause_or_resume(self) -> None:
        unfinished = self._desk.unfinished
        if unfinished >= MAX_UNFINISHED and not self._paused:
            _LOG.warning("%d alerts wait for delivery: reading pauses", unfinished)
        self._paused = unfinished >= (MAX_UNFINISHED // 2 if self._paused else MAX_UNFINISHED)
        partitions = self._reader.assignment()
        if self._paused:
            self._reader.pause(*partitions)
        else:
            self._reader.resume(*partitions)

    async def _commit(self) -> None:
        """7. Commit, in order, what is finished."""
        offsets = self._desk.committable()
        if not offsets:
            return
        try:
            await self._reader.commit(
                {TopicPartition(self._topic, partition): offset for partition, offset in offsets.items()}
            )
        except (CommitFailedError, IllegalStateError) as error:
            # Partitions are changing hands. The log keeps what is told from being told again.
            _LOG.info("commit left to the next owner: %s", error)
        else:
            self._desk.committed(offsets)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """8. Hand over: end what is out, commit, forget."""
        self._moving = self._stale = True
        try:
            await self._desk.quiet(QUIET_S)
            if revoked:
                await self._commit()
            self._desk.forget()
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and go on: the loop raises it
            self._failure = error

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._moving, self._stale = False, True
