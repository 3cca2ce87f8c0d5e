"""The outcomes role: from outcomes and what traces cost to what outcomes cost."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

from schemas.topics import DEAD_LETTERS, OUTCOME_TRACES, OUTCOMES, ROLLUPS, TRACE_COSTS
from service.kafka import KafkaError, consumer, require_topics, started, unavailable
from service.kafka.lane import pass_over_fences
from service.kafka.leadership import Leadership
from service.outcomes.office import Office
from service.runtime import metrics
from service.runtime.clock import Clock, SystemClock
from service.runtime.health import Health, serve
from service.settings import Settings

_LOG = logging.getLogger(__name__)
_TOPICS = (OUTCOMES, TRACE_COSTS, OUTCOME_TRACES, ROLLUPS, DEAD_LETTERS)


async def run(settings: Settings, *, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run the role until `stop` is set, then keep what is counted and leave the group.

    Raises
    ------
    BrokerUnavailable
        No broker or topic, or it turned us away.
    Stalled
        What was kept cannot be read, or a producer hangs. Nothing is lost.
    """
    clock = clock or SystemClock()
    asyncio.get_running_loop().set_exception_handler(pass_over_fences)
    kafka = settings.kafka
    health = Health("outcomes", clock, settings.health.stall_after_s)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(
            serve(health, settings.health.host, settings.health.port_of("outcomes"))
        )
        group = await stack.enter_async_context(
            started(consumer(kafka, group_id=settings.outcomes.group_id), kafka)
        )
        await require_topics(group, [kafka.topic(topic) for topic in _TOPICS])
        leadership = Leadership(
            kafka,
            group,
            settings.outcomes.group_id,
            kafka.topic(OUTCOME_TRACES),
            role="outcomes",
            clock=clock,
            health=health,
            transactions=metrics.OUTCOMES_TRANSACTIONS,
        )
        office = Office(settings, leadership, clock, health)
        _LOG.info("outcomes: health and metrics on port %d", port)
        try:
            await leadership.run(office.lead, stop)
        except KafkaError as error:
            raise unavailable(error, kafka) from error
