"""The notification log: who knows what, on a compacted topic that all replicas share."""

from __future__ import annotations

import logging
from datetime import datetime

from schemas.decode import decode
from schemas.notifications import NotificationLogEntry
from schemas.reasons import Refused
from schemas.topics import NOTIFICATION_LOG
from service.kafka import Producer, TopicPartition, consumer, started
from service.notify.told import Told, log_key
from service.runtime.metrics import NOTIFY_REFUSED
from service.settings import KafkaSettings

_LOG = logging.getLogger(__name__)


class NotificationLog:
    """`Told`, kept on the topic."""

    def __init__(self, kafka: KafkaSettings, producer: Producer) -> None:
        self.told = Told()
        self._kafka = kafka
        self._producer = producer
        self._partition = TopicPartition(kafka.topic(NOTIFICATION_LOG), 0)
        self._next: int | None = None

    async def catch_up(self) -> None:
        """Read on from where the last call ended to the end as of now. Raises KafkaError, BrokerUnavailable."""
        async with started(consumer(self._kafka, group_id=None), self._kafka) as reader:
            reader.assign([self._partition])
            if self._next is not None:
                reader.seek(self._partition, self._next)
            end = (await reader.end_offsets([self._partition]))[self._partition]
            while (position := await reader.position(self._partition)) < end:
                for record in (await reader.getmany(timeout_ms=200)).get(self._partition, []):
                    self._apply(record.key, record.value, record.offset)
            self._next = position

    async def record(self, entry: NotificationLogEntry) -> None:
        """Remember a delivery; returns when all in-sync replicas have it. Raises KafkaError."""
        self.told.apply(entry)
        key = log_key(entry.receiver, entry.group).encode()
        await self._producer.send_and_wait(self._partition.topic, entry.to_json(), key=key, partition=0)

    async def expire(self, now: datetime) -> int:
        """Delete what is too old to matter. Returns how many entries. Raises KafkaError."""
        keys = self.told.expired(now)
        for key in keys:
            self.told.forget(key)
            await self._producer.send_and_wait(self._partition.topic, None, key=key.encode(), partition=0)
        return len(keys)

    def _apply(self, key: bytes | None, value: bytes | None, offset: int) -> None:
        try:
            if value is None:
                self.told.forget((key or b"").decode("utf-8", "replace"))
            else:
                self.told.apply(decode(NotificationLogEntry, value))
        except Refused as refused:
            # Somebody else wrote it. Worst case a receiver is told twice.
            NOTIFY_REFUSED.labels(refused.reason).inc()
            _LOG.warning("notification log, offset %d, left out: %s", offset, refused)
