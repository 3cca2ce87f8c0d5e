"""The notify role: reads alerts, tells people. Only puts the parts together."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from schemas.control import ConfigChange
from schemas.notifications import Acknowledgement, NotificationLogEntry, ParkedNotification
from schemas.throttles import ThrottleEvent
from schemas.topics import (
    ACKNOWLEDGEMENTS,
    ALERTS,
    CONFIG,
    CONFIG_HISTORY,
    DEAD_LETTERS,
    NOTIFICATION_LOG,
    PARKED_NOTIFICATIONS,
    THROTTLE_EVENTS,
)
from service.errors import SettingsError
from service.kafka import (
    KafkaError,
    Producer,
    consumer,
    producer,
    require_topics,
    started,
    unavailable,
)
from service.kafka.config_view import ConfigView
from service.kafka.topic_view import TopicView
from service.notify import http
from service.notify.acknowledgements import Acknowledgements
from service.notify.changes import ChangeBox
from service.notify.chronicle import of_the_day
from service.notify.courier import Box, Courier
from service.notify.daily import DailyBox
from service.notify.desk import Desk
from service.notify.log import NotificationLog
from service.notify.outbox import Outbox
from service.notify.reader import AlertReader
from service.notify.resend import ResendBox
from service.notify.retry import RetryPolicy
from service.notify.roster import Enlisted, enlist
from service.notify.routing import Pace
from service.notify.template import Link
from service.notify.told import log_key
from service.notify.trail import Trail
from service.rules.config import ConfigBook
from service.rules.config_signature import Signatures
from service.rules.measures import BACK
from service.runtime.clock import Clock, SystemClock
from service.runtime.health import Health, serve
from service.runtime.tasks import until_one_ends
from service.settings import KafkaSettings, NotifySettings, Settings

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
        link = Link(notify.link) if notify.link else None
        roster = enlist(notify.receivers, client, clock)
        if not roster:
            _LOG.warning("no receivers in the settings: alerts are read, and nobody is told")
        port = await stack.enter_async_context(
            serve(health, settings.health.host, settings.health.port_of("notify"))
        )
        sender = await stack.enter_async_context(started(producer(kafka, client_id="tidegate-notify"), kafka))
        topics = (
            ALERTS, ACKNOWLEDGEMENTS, THROTTLE_EVENTS, NOTIFICATION_LOG, PARKED_NOTIFICATIONS, DEAD_LETTERS
        )  # fmt: skip
        found = await require_topics(sender, [kafka.topic(t) for t in topics])
        if (partitions := len(found[kafka.topic(ALERTS)])) != 1:
            # Alerts of one group may be on any of them, and a group is one replica's.
            raise SettingsError(f"topic {kafka.topic(ALERTS)} has {partitions} partitions and must have 1")
        log = NotificationLog(kafka, sender)
        staff = Staff(kafka, notify, roster, log, sender, clock, link)
        config = ConfigView(kafka, clock, "notify", health=health)
        config.on_change(staff.reconfigure)
        await stack.enter_async_context(config)
        lately = clock.now() - BACK
        views: list[TopicView[Any]] = [
            TopicView(kafka, kafka.topic(ACKNOWLEDGEMENTS), Acknowledgement, staff.acknowledge),
            TopicView(kafka, kafka.topic(THROTTLE_EVENTS), ThrottleEvent, staff.throttled, since=lately),
        ]
        if any(enlisted.changes for enlisted in roster.values()):
            views.append(TopicView(kafka, kafka.topic(CONFIG_HISTORY), ConfigChange, staff.changed))
        for view in views:
            await stack.enter_async_context(view)
        alerts = await stack.enter_async_context(started(consumer(kafka, group_id=notify.group_id), kafka))
        reader = AlertReader(
            kafka,
            alerts,
            sender,
            staff.desk,
            log,
            health,
            clock,
            quiet=staff.quiet,
            wake=staff.wake,
        )
        staff.reader = reader
        _LOG.info("notify: %d receivers, health and metrics on port %d", len(roster), port)
        try:
            await until_one_ends(
                reader.run(stop),
                config.failed(),
                *(view.failed() for view in views),
                staff.read_days(),
                *(courier.run() for courier in staff.couriers.values()),
            )
        except KafkaError as error:
            raise unavailable(error, kafka) from error


class Staff:
    """The desk, and a courier for each receiver."""

    def __init__(
        self,
        kafka: KafkaSettings,
        notify: NotifySettings,
        roster: dict[str, Enlisted],
        log: NotificationLog,
        producer: Producer,
        clock: Clock,
        link: Link | None,
    ) -> None:
        self.reader: AlertReader | None = None
        self.couriers: dict[str, Courier] = {}
        self._kafka = kafka
        self._log = log
        self._producer = producer
        self._days: asyncio.Queue[datetime] = asyncio.Queue()
        self.trail = Trail(Signatures(kafka.topic(CONFIG), kafka.config_secrets()))
        self.desk = Desk(
            log.told,
            Acknowledgements(),
            {name: enlisted.min_severity for name, enlisted in roster.items()},
            pace=_pace(notify),
            link=link,
            woken=lambda name: self.couriers[name].wake(),
        )
        policy = RetryPolicy(notify.max_attempts, notify.backoff_initial_s, notify.backoff_max_s)
        began = clock.now()
        for name, enlisted in roster.items():
            outbox = self.desk.outbox(name, enlisted.receiver.wants)
            daily = DailyBox(name, self.desk, began, self._days.put_nowait)
            boxes: list[Box] = [outbox, daily]
            if enlisted.resend_s is not None:
                every = timedelta(seconds=enlisted.resend_s)
                boxes.append(ResendBox(name, self.desk, every, partial(_on_their_way, outbox, daily)))
            if enlisted.changes:
                boxes.append(ChangeBox(name, self.trail, log.told, began))
            self.couriers[name] = Courier(
                name,
                enlisted.receiver,
                boxes,
                self,
                policy=policy,
                clock=clock,
                chance=random.random,
            )

    # --- what couriers ask and say ------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        return self.reader is not None and self.reader.open

    async def record(self, entry: NotificationLogEntry) -> None:
        await self._log.record(entry)

    async def park(self, parked: ParkedNotification) -> None:
        topic = self._kafka.topic(PARKED_NOTIFICATIONS)
        key = log_key(parked.receiver, parked.alert.fingerprint).encode()
        await self._producer.send_and_wait(topic, parked.to_json(), key=key)

    # --- what changes -------------------------------------------------------------------------------------

    def wake(self) -> None:
        for courier in self.couriers.values():
            courier.wake()

    def reconfigure(self, book: ConfigBook) -> None:
        self.desk.reconfigure(book)
        self.wake()

    def acknowledge(self, said: Acknowledgement) -> None:
        self.desk.acknowledge(said)
        self.wake()

    def throttled(self, event: ThrottleEvent) -> None:
        self.desk.throttled(event)
        self.wake()

    def changed(self, entry: ConfigChange) -> None:
        self.trail.hear(entry)
        self.wake()

    async def quiet(self, within_s: float) -> None:
        """Let the requests that are out end, and start no others."""
        await asyncio.gather(*(courier.quiet(within_s) for courier in self.couriers.values()))

    async def read_days(self) -> None:
        """Read what daily digests ask for. Raises KafkaError, BrokerUnavailable."""
        while True:
            since = await self._days.get()
            reading = asyncio.create_task(of_the_day(self._kafka, since), name="to read the day")
            self.desk.tell_day(since, await reading)
            self.wake()


def _on_their_way(outbox: Outbox, daily: DailyBox, now: datetime) -> int:
    return outbox.out + daily.waiting(now)


def _pace(notify: NotifySettings) -> Pace:
    return Pace(
        wait=timedelta(seconds=notify.group_wait_s),
        page_wait=timedelta(seconds=notify.page_wait_s),
        interval=timedelta(seconds=notify.group_interval_s),
        page_interval=timedelta(seconds=notify.page_interval_s),
        repeat=timedelta(seconds=notify.repeat_interval_s),
    )
