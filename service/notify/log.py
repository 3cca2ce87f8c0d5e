"""The notification log: who was told what last, on a compacted topic that all replicas share."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final

from schemas.decode import decode
from schemas.notifications import NotificationLogEntry
from schemas.reasons import Refused
from schemas.topics import NOTIFICATION_LOG
from service.kafka import Producer, TopicPartition, consumer, started
from service.runtime.metrics import NOTIFY_REFUSED
from service.settings import KafkaSettings

KEEP: Final = timedelta(days=100)
"""Longer than the alerts topic keeps its records: while an alert can be read again, it is known who was told."""

_LOG = logging.getLogger(__name__)


def log_key(receiver: str, fingerprint: str) -> str:
    return f"{receiver}/{fingerprint}"


class Told:
    """What the log amounts to. Pure."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, NotificationLogEntry]] = {}

    def apply(self, entry: NotificationLogEntry) -> None:
        self._entries.setdefault(entry.fingerprint, {})[entry.receiver] = entry

    def forget(self, key: str) -> None:
        """Apply a tombstone."""
        receiver, _, fingerprint = key.rpartition("/")
        by_receiver = self._entries.get(fingerprint, {})
        by_receiver.pop(receiver, None)
        if not by_receiver:
            self._entries.pop(fingerprint, None)

    def last(self, receiver: str, fingerprint: str) -> NotificationLogEntry | None:
        """What a receiver heard last of an incident."""
        return self._entries.get(fingerprint, {}).get(receiver)

    def believe_firing(self, fingerprint: str) -> set[str]:
        """Receivers that were told it fires and not that it is over."""
        return {name for name, e in self._entries.get(fingerprint, {}).items() if e.status == "firing"}

    def expired(self, now: datetime) -> list[str]:
        """Keys of entries that no alert that still exists can be about."""
        return [
            log_key(entry.receiver, entry.fingerprint)
            for by_receiver in self._entries.values()
            for entry in by_receiver.values()
            if now - entry.delivered_at > KEEP
        ]

    def __len__(self) -> int:
        return sum(map(len, self._entries.values()))


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
        key = log_key(entry.receiver, entry.fingerprint).encode()
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
