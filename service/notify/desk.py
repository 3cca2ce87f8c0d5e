"""Where alerts are read, handed to the couriers, and ticked off.

The numbers are those of README.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from schemas.alerts import Alert, Severity
from schemas.dead_letters import DeadLetter
from schemas.decode import decode
from schemas.notifications import NotificationLogEntry, ParkedNotification
from schemas.reasons import Refused
from schemas.topics import DEAD_LETTERS, PARKED_NOTIFICATIONS
from service.kafka import ConsumerRecord, Producer
from service.kafka.config_view import ConfigView
from service.notify.backlog import Source
from service.notify.courier import Courier
from service.notify.log import NotificationLog, log_key
from service.notify.offsets import Offsets
from service.notify.pipeline import route
from service.rules.config import ConfigBook
from service.runtime.metrics import NOTIFY_ALERTS, NOTIFY_MUTED, NOTIFY_REFUSED, bounded
from service.settings import KafkaSettings

MAX_ALERT_BYTES: Final = 1_048_576
NOBODY: Final = "nobody"

_LOG = logging.getLogger(__name__)


class Desk:
    """Knows every alert that was read and is not finished, by partition."""

    def __init__(
        self, kafka: KafkaSettings, config: ConfigView, log: NotificationLog, producer: Producer
    ) -> None:
        self._kafka = kafka
        self._config = config
        self._log = log
        self._producer = producer
        self._couriers: dict[str, Courier] = {}
        self._severities: dict[str, Severity] = {}
        self._offsets: dict[int, Offsets] = {}
        self._committed: dict[int, int] = {}
        self._unknown: set[str] = set()

    def employ(self, courier: Courier, min_severity: Severity) -> None:
        """From now on alerts of `min_severity` and above may be given to a courier."""
        self._couriers[courier.name] = courier
        self._severities[courier.name] = min_severity

    # --- what couriers ask and say ------------------------------------------------------------------------

    @property
    def book(self) -> ConfigBook:
        return self._config.book

    def last_told(self, receiver: str, fingerprint: str) -> NotificationLogEntry | None:
        return self._log.told.last(receiver, fingerprint)

    async def delivered(self, entry: NotificationLogEntry) -> None:
        await self._log.record(entry)

    async def park(self, parked: ParkedNotification) -> None:
        topic = self._kafka.topic(PARKED_NOTIFICATIONS)
        key = log_key(parked.receiver, parked.alert.fingerprint).encode()
        await self._producer.send_and_wait(topic, parked.to_json(), key=key)

    def finished(self, source: Source) -> None:
        self._offsets[source.partition].finish(source.offset)

    # --- reading ------------------------------------------------------------------------------------------

    async def read(self, record: ConsumerRecord) -> Alert | None:
        """2. The alert in a record; None if it is none, and then it is on the dead-letters topic."""
        try:
            alert = decode(Alert, record.value, max_bytes=MAX_ALERT_BYTES)
        except Refused as refused:
            NOTIFY_REFUSED.labels(refused.reason).inc()
            _LOG.error("alert %s/%d/%d refused: %s", record.topic, record.partition, record.offset, refused)
            await self._bury(record, refused)
            return None
        NOTIFY_ALERTS.labels(alert.status).inc()
        return alert

    def accept(self, record: ConsumerRecord, alert: Alert | None) -> None:
        """3. and 4.: route what `read` found, and hand it to the couriers."""
        receivers = self._route(alert) if alert is not None and alert.status != "pending" else ()
        self._offsets.setdefault(record.partition, Offsets()).begin(record.offset, len(receivers))
        for name in receivers:
            assert alert is not None
            self._couriers[name].put(alert, Source(record.partition, record.offset))

    def _route(self, alert: Alert) -> tuple[str, ...]:
        involved = self._log.told.believe_firing(alert.fingerprint) | {
            name for name, courier in self._couriers.items() if courier.backlog.holds(alert.fingerprint)
        }
        routing = route(alert, self.book.routes, self._severities, involved)
        for name in routing.below:
            NOTIFY_MUTED.labels(name, "severity").inc()
        for name in routing.unknown:
            NOTIFY_MUTED.labels(bounded("receiver", name), "no_receiver").inc()
            if name not in self._unknown and len(self._unknown) < 1_000:
                self._unknown.add(name)
                _LOG.warning("a route names the receiver %r, which is not in the settings", name)
        if not routing.receivers and not routing.below:
            NOTIFY_MUTED.labels(NOBODY, "no_receiver").inc()
        return routing.receivers

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

    # --- ticking off --------------------------------------------------------------------------------------

    @property
    def unfinished(self) -> int:
        """Alerts read and not finished."""
        return sum(map(len, self._offsets.values()))

    def committable(self) -> dict[int, int]:
        """7. Offsets by partition that may be committed and have not been."""
        return {
            partition: offset
            for partition, offsets in self._offsets.items()
            if (offset := offsets.committable) is not None and offset != self._committed.get(partition)
        }

    def committed(self, offsets: Mapping[int, int]) -> None:
        self._committed.update(offsets)

    async def quiet(self, within_s: float) -> None:
        """Let the requests that are out end, and start no others. What has not finished stays uncommitted."""
        await asyncio.gather(*(courier.quiet(within_s) for courier in self._couriers.values()))

    def forget(self) -> None:
        """The partitions belong to somebody else. Call `quiet` before."""
        self._offsets.clear()
        self._committed.clear()
