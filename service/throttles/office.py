"""The loop of the one process that throttles.

 1. The lane is open: nobody else commands from now on.
 2. Read what was kept, and go on in the alerts and acknowledgements from where that stands.
 3. Read. While there is more to read at once, read on: what is over by the end of it needs no command.
 4. Let time pass with what has come.
 5. In one transaction: commands, events, alerts, and what must be kept of them.

A crash anywhere leaves what the last transaction left.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from schemas.alerts import Alert
from schemas.decode import decode
from schemas.reasons import Refused
from schemas.throttles import ThrottleAck
from schemas.topics import ALERTS, THROTTLE_ACKS, THROTTLE_COMMANDS, THROTTLE_EVENTS
from service.kafka import Consumer, ConsumerRecord, TopicPartition, consumer, require_topics, started
from service.kafka.config_view import ConfigView
from service.kafka.lane import Lane, Send
from service.kafka.leadership import Leadership
from service.runtime import metrics
from service.runtime.clock import Clock
from service.settings import Settings
from service.throttles import vault
from service.throttles.desk import Desk, Said

_POLL_MS: Final = 100
_MAX_RECORDS: Final = 2_000
_KEEP_S: Final = 10.0
"""Positions alone are kept this often: what is read twice after a crash says nothing new."""
_LOG = logging.getLogger(__name__)


class Office:
    """Leads one desk from the opening of the lane to its end."""

    def __init__(self, settings: Settings, leadership: Leadership, config: ConfigView, clock: Clock) -> None:
        self._settings = settings
        self._leadership = leadership
        self._config = config
        self._clock = clock
        kafka = settings.kafka
        self._alerts, self._acks = kafka.topic(ALERTS), kafka.topic(THROTTLE_ACKS)
        self._commands, self._events = kafka.topic(THROTTLE_COMMANDS), kafka.topic(THROTTLE_EVENTS)

    async def lead(self, lane: Lane) -> None:
        """Steps 2 to 5, until it is somebody else's. Raises Fenced, LaneLost, Stalled, KafkaError."""
        kafka = self._settings.kafka
        desk, positions = await vault.opened(kafka, self._settings.throttles.ack_wait_s)  # 2
        version, kept_at = None, self._clock.monotonic()
        try:
            async with started(consumer(kafka, group_id=None), kafka) as reader:
                sources = await self._go_on(reader, positions)
                while await self._leadership.goes_on():
                    if self._config.book.version != version:
                        version = self._config.book.version
                        desk.use(self._config.book)
                    changed = await self._read(reader, sources, desk, positions)  # 3
                    now = self._clock.now().timestamp()
                    said = desk.turn(now) if changed or now >= desk.due() else Said()  # 4
                    since = self._clock.monotonic() - kept_at
                    if changed or said or since >= _KEEP_S:
                        await lane.commit(self._sends(said, desk, positions), None)  # 5
                        metrics.THROTTLES_TRANSACTIONS.labels("committed").inc()
                        kept_at = self._clock.monotonic()
                        _count(said, desk)
        finally:
            # Of a process that stands by they would be what once was.
            metrics.THROTTLES_ACTIVE.clear()
            metrics.THROTTLES_INCIDENTS.set(0)

    async def _go_on(self, reader: Consumer, positions: dict[str, int]) -> list[TopicPartition]:
        found = await require_topics(reader, [self._alerts, self._acks])
        sources = [source for topic in (self._alerts, self._acks) for source in found[topic]]
        reader.assign(sources)
        first = await reader.beginning_offsets(sources)
        for source in sources:
            reader.seek(source, max(positions.get(_name(source), 0), first[source]))
        return sources

    async def _read(
        self, reader: Consumer, sources: list[TopicPartition], desk: Desk, positions: dict[str, int]
    ) -> bool:
        """Whether anything came that may change what is done."""
        changed, timeout = False, _POLL_MS
        while batch := await reader.getmany(timeout_ms=timeout, max_records=_MAX_RECORDS):
            for source, records in batch.items():
                for record in records:
                    changed |= self._take(source, record, desk)
            timeout = 0
            if not await self._leadership.goes_on():
                break
        for source in sources:
            positions[_name(source)] = await reader.position(source)
        return changed

    def _take(self, source: TopicPartition, record: ConsumerRecord, desk: Desk) -> bool:
        try:
            if source.topic == self._alerts:
                desk.take(decode(Alert, record.value, max_bytes=1_048_576))
            else:
                desk.heard(decode(ThrottleAck, record.value))
        except Refused as refused:
            # What is no alert is notify's to keep as a dead letter; what a gateway garbles is told here alone.
            metrics.THROTTLES_REFUSED.labels(refused.reason.value).inc()
            _LOG.error("%s-%d, offset %d is passed over: %s", *source, record.offset, refused)
            return False
        return True

    def _sends(self, said: Said, desk: Desk, positions: dict[str, int]) -> Iterator[Send]:
        for command in said.commands:
            yield Send(self._commands, command.to_json(), command.scope.key.encode())
        for event in said.events:
            yield Send(self._events, event.to_json(), event.scope.key.encode())
        for alert in said.alerts:
            yield Send(self._alerts, alert.to_json(), alert.fingerprint.encode())
        yield from vault.kept(self._settings.kafka, desk, positions)


def _count(said: Said, desk: Desk) -> None:
    for command in said.commands:
        metrics.THROTTLES_COMMANDS.labels(command.action.action, command.mode).inc()
    for event in said.events:
        metrics.THROTTLES_CHANGES.labels(event.change, event.mode).inc()
        if event.change == "barred":
            metrics.THROTTLES_BARRED.labels(event.why or "").inc()
    for alert in said.alerts:
        metrics.THROTTLES_ALERTS.labels(alert.verdict.detector, alert.status).inc()
    climbs = desk.throttling.climbs.values()
    for mode in ("enforce", "dry_run"):
        active = sum(climb.active and climb.mode == mode for climb in climbs)
        metrics.THROTTLES_ACTIVE.labels(mode).set(active)
    metrics.THROTTLES_INCIDENTS.set(len(desk.incidents))


def _name(source: TopicPartition) -> str:
    return f"{source.topic}-{source.partition}"
