"""The throttles role: from alerts to throttle commands, and to what people must know of them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

from schemas.topics import ALERTS, THROTTLE_ACKS, THROTTLE_COMMANDS, THROTTLE_EVENTS, THROTTLE_STATE
from service.kafka import KafkaError, consumer, require_topics, started, unavailable
from service.kafka.config_view import ConfigView
from service.kafka.lane import pass_over_fences
from service.kafka.leadership import Leadership
from service.runtime import metrics
from service.runtime.clock import Clock, SystemClock
from service.runtime.health import Health, serve
from service.runtime.tasks import until_one_ends
from service.settings import Settings
from service.throttles.office import Office

_LOG = logging.getLogger(__name__)


async def run(settings: Settings, *, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run the role until `stop` is set, then leave the group. Throttles that hold go on until they expire.

    Raises
    ------
    BrokerUnavailable
        No broker or topic, or it turned us away.
    Stalled
        What was kept cannot be read, or a producer hangs.
    """
    clock = clock or SystemClock()
    asyncio.get_running_loop().set_exception_handler(pass_over_fences)
    kafka, group_id = settings.kafka, settings.throttles.group_id
    health = Health("throttles", clock, settings.health.stall_after_s)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(
            serve(health, settings.health.host, settings.health.port_of("throttles"))
        )
        group = await stack.enter_async_context(started(consumer(kafka, group_id=group_id), kafka))
        topics = (ALERTS, THROTTLE_ACKS, THROTTLE_COMMANDS, THROTTLE_EVENTS, THROTTLE_STATE)
        await require_topics(group, [kafka.topic(topic) for topic in topics])
        config = await stack.enter_async_context(ConfigView(kafka, clock, "throttles", health=health))
        leadership = Leadership(
            kafka,
            group,
            group_id,
            kafka.topic(ALERTS),
            role="throttles",
            clock=clock,
            health=health,
            transactions=metrics.THROTTLES_TRANSACTIONS,
        )
        office = Office(settings, leadership, config, clock)
        _LOG.info("throttles: health and metrics on port %d", port)
        try:
            await until_one_ends(leadership.run(office.lead, stop), config.failed())
        except KafkaError as error:
            raise unavailable(error, kafka) from error
