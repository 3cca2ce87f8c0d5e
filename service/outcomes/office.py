"""The loop of the one process that joins.

 1. The lane is open (`service.kafka.leadership`): nobody else can write from now on.
 2. Read what was kept, and go on in `outcomes` and `trace-costs` from where that stands.
 3. Read, and join.
 4. Every second, or after many traces, in one transaction: rollups of outcomes, dead letters, traces, positions.

A crash anywhere leaves what the last transaction left.
"""

from __future__ import annotations

import logging

from schemas.topics import OUTCOMES, TRACE_COSTS
from service.kafka import (
    Consumer,
    TopicPartition,
    consumer,
    require_topics,
    started,
)
from service.kafka.lane import Lane
from service.kafka.leadership import Leadership
from service.outcomes import vault
from service.outcomes.joining import Joining
from service.outcomes.progress import Progress, Source
from service.runtime import metrics
from service.runtime.clock import Clock
from service.runtime.health import Health
from service.settings import Settings

_LOG = logging.getLogger(__name__)


class Office:
    """Leads the traces, from the opening of the lane to its end."""

    def __init__(self, settings: Settings, leadership: Leadership, clock: Clock, health: Health) -> None:
        self._settings = settings
        self._leadership = leadership
        self._clock = clock
        self._health = health

    async def lead(self, lane: Lane) -> None:
        """Steps 2 to 4, until it is somebody else's. Raises Fenced, LaneLost, Stalled, KafkaError."""
        settings, kafka = self._settings, self._settings.kafka
        try:
            join, progress = await vault.opened(  # 2
                kafka, settings.outcomes.max_traces, lambda: self._health.beat("outcomes")
            )
            async with started(consumer(kafka, group_id=None), kafka) as reader:
                names = {kafka.topic(topic): topic.name for topic in (OUTCOMES, TRACE_COSTS)}
                found = await require_topics(reader, list(names))
                sources = {
                    source: (names[topic], source.partition)
                    for topic, sources in found.items()
                    for source in sources
                }
                reader.assign(list(sources))
                progress = progress or Progress()
                await _go_on(reader, sources, progress)
                joining = Joining(settings, reader, sources, join, progress, lane, self._clock)
                _LOG.info("joining: %d traces are open", join.traces)
                while await self._leadership.goes_on():
                    await joining.turn()
                if self._leadership.ours:
                    await joining.commit()
        finally:
            # Of a process that stands by they would be what once was.
            metrics.OUTCOMES_LAG.clear()
            metrics.OUTCOMES_TRACES.set(0)
            metrics.OUTCOMES_TIME_AGE.set(0)


async def _go_on(reader: Consumer, sources: dict[TopicPartition, Source], progress: Progress) -> None:
    """Take the topics up where they were left, or from their beginning."""
    first = await reader.beginning_offsets(list(sources))
    for source, (topic, partition) in sources.items():
        positions = progress.positions.setdefault(topic, {})
        position = positions.get(partition, first[source])
        if position < first[source]:
            _LOG.error(
                "%s-%d: records from offset %d to %d expired before they were read, and are in no cost of outcomes",
                *source,
                position,
                first[source] - 1,
            )
            position = first[source]
        reader.seek(source, position)
        positions[partition] = position
