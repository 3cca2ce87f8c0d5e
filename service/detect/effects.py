"""Sends what a step wants told, and waits until the broker has it: only then may the state be kept."""

from __future__ import annotations

import asyncio

from schemas.dead_letters import DeadLetter
from schemas.reasons import Refused
from schemas.topics import ALERTS, DEAD_LETTERS, ROLLUPS
from service.detect.step import Effects
from service.kafka import KafkaError, Producer
from service.runtime import metrics
from service.runtime.clock import Clock
from service.settings import KafkaSettings


class Outbox:
    """The producer of alerts and dead letters.

    Delivery is at least once: after a crash the same record is sent again under the same fingerprint and sequence,
    by which whoever reads it knows it.
    """

    def __init__(self, producer: Producer, kafka: KafkaSettings, clock: Clock) -> None:
        self._producer = producer
        self._kafka = kafka
        self._clock = clock

    async def send(self, effects: Effects) -> None:
        """Returns when every record is acknowledged. Raises KafkaError, and then nothing may be kept."""
        sends = [
            self._producer.send_and_wait(
                self._kafka.topic(ALERTS), key=alert.fingerprint.encode(), value=alert.to_json()
            )
            for alert in effects.alerts
        ]
        try:
            await asyncio.gather(*sends)
        except KafkaError:
            metrics.DETECT_SEND_ERRORS.inc()
            raise
        self._count(effects)

    async def refuse(
        self,
        partition: int,
        offset: int,
        timestamp: float,
        key: bytes | None,
        value: bytes | None,
        why: Refused,
    ) -> None:
        """Keep a record of the rollups topic that cannot be read. Raises KafkaError."""
        letter = DeadLetter.of(
            self._kafka.topic(ROLLUPS),
            partition,
            offset,
            why,
            timestamp_ms=round(timestamp * 1000),
            key=key,
            value=value,
        )
        metrics.DETECT_REFUSED.labels(why.reason.value).inc()
        topic = self._kafka.topic(DEAD_LETTERS)
        await self._producer.send_and_wait(topic, key=letter.record_key, value=letter.to_json())

    def _count(self, effects: Effects) -> None:
        now = self._clock.now()
        for alert in effects.alerts:
            metrics.DETECT_ALERTS.labels(alert.kind, alert.severity, alert.status).inc()
            if alert.sequence == 1 and alert.fired_at is not None:
                metrics.DETECT_ALERT_DELAY.observe(max(0.0, (now - alert.fired_at).total_seconds()))
                metrics.DETECT_FIRING.labels(alert.kind).inc()
            if alert.status == "resolved":
                metrics.DETECT_FIRING.labels(alert.kind).dec()
