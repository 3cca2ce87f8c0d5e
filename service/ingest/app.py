"""The ingest role: from cost-events to rollups."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

from schemas.control import Outcomes
from schemas.topics import COST_EVENTS, DEAD_LETTERS, ROLLUPS, TRACE_COSTS
from service.ingest import COMPILED
from service.ingest.intake import Intake
from service.ingest.price import Pricer
from service.ingest.scopes import Watching
from service.ingest.trace_costs import Joining
from service.kafka import KafkaError, consumer, require_topics, started, unavailable
from service.kafka.as_read import leave_as_read
from service.kafka.clients import MAX_RECORD_BYTES
from service.kafka.config_view import ConfigView
from service.kafka.lane import pass_over_fences
from service.runtime.clock import Clock, SystemClock
from service.runtime.health import Health, serve
from service.runtime.tasks import until_one_ends
from service.settings import Settings

_LOG = logging.getLogger(__name__)


async def run(
    settings: Settings,
    *,
    stop: asyncio.Event,
    clock: Clock | None = None,
) -> None:
    """Run the role until `stop` is set, then commit what is folded and leave the group.

    Raises
    ------
    BrokerUnavailable
        No broker or topic, or it turned us away.
    TooManyDeadLetters
        More was refused than bad gateways explain; nothing is lost.
    Stalled
        A batch that cannot be decoded, or a producer that hangs.
    """
    clock = clock or SystemClock()
    asyncio.get_running_loop().set_exception_handler(pass_over_fences)
    kafka = settings.kafka
    health = Health("ingest", clock, settings.health.stall_after_s)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(
            serve(health, settings.health.host, settings.health.port_of("ingest"))
        )
        reader = await stack.enter_async_context(
            started(
                # Compressed, a megabyte is some 10,000 events, and each partition has one more on its way.
                consumer(
                    kafka, group_id=settings.ingest.group_id, max_partition_fetch_bytes=MAX_RECORD_BYTES
                ),
                kafka,
            )
        )
        leave_as_read(reader)
        topics = [kafka.topic(topic) for topic in (COST_EVENTS, ROLLUPS, DEAD_LETTERS, TRACE_COSTS)]
        found = await require_topics(reader, topics)
        config = ConfigView(kafka, clock, "ingest", health=health)
        pricer, watching, joining = Pricer(), Watching(), Joining()
        config.on_change(lambda book: pricer.use(book.prices))
        config.on_change(lambda book: watching.use(book.watches, book.budgets))
        config.on_change(lambda book: joining.use(book.of_kind(Outcomes)))
        await stack.enter_async_context(config)
        intake = Intake(
            settings,
            reader,
            len(found[topics[0]]),
            pricer,
            watching,
            joining,
            clock,
            health,
            fenced_wait_s=kafka.session_timeout_s + 1,
        )
        code = "machine code" if COMPILED else "pure Python: no compiled modules for these sources"
        _LOG.info("ingest: health and metrics on port %d; %s", port, code)
        try:
            await until_one_ends(intake.run(stop), config.failed())
        except KafkaError as error:
            raise unavailable(error, kafka) from error
