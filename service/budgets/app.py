"""The budgets role: from rollups to ledgers, snapshots and alerts."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

from schemas.topics import ALERTS, BUDGET_LEDGERS, BUDGETS, ROLLUPS
from service.budgets.office import Office
from service.kafka import KafkaError, consumer, require_topics, started, unavailable
from service.kafka.config_view import ConfigView
from service.kafka.lane import pass_over_fences
from service.kafka.leadership import Leadership
from service.runtime import metrics
from service.runtime.clock import Clock, SystemClock
from service.runtime.health import Health, serve
from service.runtime.tasks import until_one_ends
from service.settings import Settings

_LOG = logging.getLogger(__name__)


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
    health = Health("budgets", clock, settings.health.stall_after_s)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(
            serve(health, settings.health.host, settings.health.port_of("budgets"))
        )
        group = await stack.enter_async_context(
            started(consumer(kafka, group_id=settings.budgets.group_id), kafka)
        )
        await require_topics(group, [kafka.topic(t) for t in (ROLLUPS, BUDGETS, BUDGET_LEDGERS, ALERTS)])
        config = await stack.enter_async_context(ConfigView(kafka, clock, "budgets", health=health))
        leadership = Leadership(
            kafka,
            group,
            settings.budgets.group_id,
            kafka.topic(BUDGETS),
            role="budgets",
            clock=clock,
            health=health,
            transactions=metrics.BUDGETS_TRANSACTIONS,
        )
        office = Office(settings, leadership, config, clock)
        _LOG.info("budgets: health and metrics on port %d", port)
        try:
            await until_one_ends(leadership.run(office.lead, stop), config.failed())
        except KafkaError as error:
            raise unavailable(error, kafka) from error
