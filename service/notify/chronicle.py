"""The alerts of the last day, read from the topic when a daily digest asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from schemas.alerts import Alert
from schemas.decode import decode
from schemas.reasons import Refused
from schemas.topics import ALERTS
from service.kafka import consumer, require_topics, started
from service.kafka.reader import seek_to_time
from service.settings import KafkaSettings

_BEFORE: Final = timedelta(hours=1)
"""Alerts that fire are sent at least once a day: a little longer ago there is one of each."""


async def of_the_day(kafka: KafkaSettings, since: datetime) -> list[Alert]:
    """Latest records of the alerts that went on at some time since then. Raises KafkaError, BrokerUnavailable."""
    latest: dict[str, Alert] = {}
    async with started(consumer(kafka, group_id=None), kafka) as reader:
        topic = kafka.topic(ALERTS)
        partitions = (await require_topics(reader, [topic]))[topic]
        reader.assign(partitions)
        ends = await reader.end_offsets(partitions)
        await seek_to_time(reader, ends, since - _BEFORE)
        while any([await reader.position(tp) < end for tp, end in ends.items()]):
            for records in (await reader.getmany(timeout_ms=200)).values():
                for record in records:
                    _take(latest, record.value)
    return went_on(latest, since)


def _take(latest: dict[str, Alert], value: bytes | None) -> None:
    try:
        alert = decode(Alert, value)
    except Refused:
        return  # on the dead-letters topic since it was read first
    if alert.status != "pending":
        known = latest.get(alert.fingerprint)
        if known is None or known.sequence <= alert.sequence:
            latest[alert.fingerprint] = alert


def went_on(latest: Mapping[str, Alert], since: datetime) -> list[Alert]:
    """Those that fire, and those that ended since then."""
    return [a for a in latest.values() if a.status == "firing" or (a.resolved_at or a.updated_at) >= since]
