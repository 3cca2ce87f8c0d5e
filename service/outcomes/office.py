"""The loop of the one process that joins. Others of its group stand by.

 1. The group has one partition to give, that of `outcome-traces`: whoever gets it joins.
 2. Open the lane: nobody else can write from now on.
 3. Read what was kept, and go on in `outcomes` and `trace-costs` from where that stands.
 4. Read, and join.
 5. Every second, or after many traces, in one transaction: rollups of outcomes, dead letters, traces, positions.

A crash anywhere leaves what the last transaction left. When one fails all is thrown away, and 2. comes again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from schemas.topics import OUTCOME_TRACES, OUTCOMES, TRACE_COSTS
from service.errors import Fenced
from service.kafka import (
    Consumer,
    ConsumerRebalanceListener,
    TopicPartition,
    consumer,
    require_topics,
    started,
)
from service.kafka.lane import Lane, LaneLost
from service.outcomes import vault
from service.outcomes.joining import Joining
from service.outcomes.progress import Progress, Source
from service.runtime import metrics
from service.runtime.clock import Clock
from service.runtime.health import Health
from service.settings import Settings

_LOG = logging.getLogger(__name__)
_STAND_BY_MS: Final = 200
_MAX_AGE_S: Final = 30.0
_AGAIN_S: Final = 1.0


class Office(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types, and asks for the class
    """Owns the traces while the group says so.

    Parameters
    ----------
    group : Consumer
        Started, not subscribed.
    """

    def __init__(self, settings: Settings, group: Consumer, clock: Clock, health: Health) -> None:
        self._settings = settings
        self._group = group
        self._clock = clock
        self._health = health
        self._source = TopicPartition(settings.kafka.topic(OUTCOME_TRACES), 0)
        self._ours = False

    async def run(self, stop: asyncio.Event) -> None:
        """Join while it is ours, until `stop`.

        Raises
        ------
        Stalled
            What was kept cannot be read, or the producer hangs.
        KafkaError, BrokerUnavailable
        """
        self._health.expect("outcomes")
        self._health.set_ready("group", False, "waiting for the group")
        self._group.subscribe([self._source.topic], listener=self)
        while not stop.is_set():
            if not self._ours:
                await self._group.getmany(timeout_ms=_STAND_BY_MS)
                self._health.beat("outcomes")
                continue
            try:
                await self._lead(stop)
            except Fenced as fenced:
                _LOG.warning("%s", fenced)
                metrics.OUTCOMES_TRANSACTIONS.labels("fenced").inc()
                # The group finds out, too: until then this one must not take it back.
                await self._clock.sleep(self._settings.kafka.session_timeout_s)
            except LaneLost as lost:
                _LOG.warning("begin again from what was kept: %s", lost)
                metrics.OUTCOMES_TRANSACTIONS.labels("aborted").inc()
                await self._clock.sleep(_AGAIN_S)
        self._health.release("outcomes")

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self._ours = False

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._ours = self._source in assigned
        if self._ours:
            self._group.pause(self._source)  # to have, and not to read
        # Without it, too: who stands by is as ready as it can be.
        self._health.set_ready("group", True)

    async def _lead(self, stop: asyncio.Event) -> None:
        """Steps 2 to 5, until it is somebody else's."""
        settings, kafka = self._settings, self._settings.kafka
        lane = Lane(kafka, settings.outcomes.group_id, self._source, max_age_s=_MAX_AGE_S)
        try:
            await lane.open(self._group, lambda _: 0)  # 2
            join, progress = await vault.opened(  # 3
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
                while self._ours and not stop.is_set():
                    await self._group.getmany(timeout_ms=0)  # the group must see that this one is alive
                    await joining.turn()
                    self._health.beat("outcomes")
                if self._ours:
                    await joining.commit()
        finally:
            # Of a process that stands by they would be what once was.
            metrics.OUTCOMES_LAG.clear()
            metrics.OUTCOMES_TRACES.set(0)
            metrics.OUTCOMES_TIME_AGE.set(0)
            await lane.close()


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
