"""The audit trail of the config topic on `config-history`, which is never deleted: read, and completed.

`tidegate config` writes its entries with its changes. What anybody else writes to the config topic, every worker
sees; it waits a moment, so that one is the first, and adds what is missing then. The config topic keeps whatever
was written for at least a week (`min.compaction.lag.ms`): while some worker runs once a week, the trail is whole.
Should two add the same, readers take it once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import uuid4

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from schemas.control import ConfigChange
from schemas.topics import CONFIG_HISTORY
from service.errors import BrokerUnavailable, TopicsMissing
from service.kafka.clients import producer, started
from service.kafka.config_change import Change, Intent, history_entry
from service.kafka.config_topic import Standing
from service.kafka.config_trail import each_once, recorded
from service.runtime import metrics
from service.runtime.clock import Clock
from service.settings import KafkaSettings

_PATIENCE_S: Final = (1.0, 6.0)
_RETRY_S: Final = 30.0
_LOG = logging.getLogger(__name__)
_Identity = tuple[int, datetime]
"""Offset and time: a topic that was made again begins to count anew."""


async def history(kafka: KafkaSettings, now: Standing | None = None) -> list[ConfigChange]:
    """Every change that is known, oldest first, each once; with what `now` still shows and nobody has recorded.

    Raises
    ------
    BrokerUnavailable
    """
    known: list[ConfigChange] = []
    try:
        known, _ = await recorded(kafka, 0)
    except TopicsMissing:
        if now is None:
            raise
    shown = [] if now is None else [_seen(change, "config topic") for change in now.changes]
    return each_once([*known, *shown])


class Scribe:
    """Adds to the trail what a worker saw on the config topic and nobody has recorded; runs beside the reader."""

    def __init__(self, kafka: KafkaSettings, clock: Clock, role: str) -> None:
        self._kafka = kafka
        self._clock = clock
        self._role = role
        self._saw: asyncio.Queue[Change] = asyncio.Queue()
        self._known: set[_Identity] = set()
        self._read_to = 0

    def saw(self, record: ConsumerRecord) -> None:
        """One record of the config topic, accepted or not."""
        self._saw.put_nowait(Change.of(record))

    async def run(self) -> None:
        """Never ends. A broker that fails, or has no such topic, is asked again later."""
        waiting: list[Change] = []
        while True:
            if not waiting:
                waiting.append(await self._saw.get())
            await self._clock.sleep(random.uniform(*_PATIENCE_S))
            while not self._saw.empty():
                waiting.append(self._saw.get_nowait())
            try:
                await self._record(waiting)
                waiting = []
            except (KafkaError, BrokerUnavailable) as error:
                if not isinstance(error, TopicsMissing):
                    metrics.CONFIG_READ_ERRORS.labels(self._role).inc()
                _LOG.warning("changes of the configuration are not in its history yet: %s", error)
                await self._clock.sleep(_RETRY_S)

    async def _record(self, changes: Sequence[Change]) -> None:
        entries, self._read_to = await recorded(self._kafka, self._read_to)
        self._known.update((entry.offset, entry.written_at) for entry in entries)
        missing = [change for change in changes if (change.offset, change.at) not in self._known]
        if not missing:
            return
        topic = self._kafka.topic(CONFIG_HISTORY)
        async with started(producer(self._kafka, client_id="tidegate-config-history"), self._kafka) as sender:
            for change in missing:
                await sender.send_and_wait(
                    topic, key=change.key[:4_000].encode(), value=_seen(change, self._role).to_json()
                )
                self._known.add((change.offset, change.at))


def _seen(change: Change, by: str) -> ConfigChange:
    return history_entry(change, Intent("seen", by=by), uuid4().hex[:16])
