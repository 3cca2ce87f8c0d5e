"""The detect role: Faust for the table, its changelog and rebalancing; everything else is pure or ours."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from faust.serializers.codecs import Codec

from schemas.topics import ROLLUPS, WORKFLOW_STATE
from service.detect import state as state_codec
from service.detect.agent import declare
from service.detect.clerk import Clerk
from service.detect.effects import Outbox
from service.detect.state import WorkflowState
from service.errors import Stalled, TidegateError
from service.kafka import KafkaError, producer, require_topics, started, unavailable
from service.kafka.config_view import ConfigView
from service.kafka.faust_transport import AppFailedError, GuardedApp, build_app, keyed_table
from service.runtime import health, metrics
from service.runtime.clock import Clock
from service.runtime.health import Health
from service.runtime.standstill import Standstill
from service.runtime.tasks import until_one_ends
from service.settings import Settings

_LOG = logging.getLogger(__name__)
_WATCH_S = 1.0
_STUCK_S = 300.0
"""A table that has not come one record on for so long, or a rebalance that has not ended, never will: on a starved
machine Faust was seen to recover for ever. Whoever supervises the role starts it again."""


class StateCodec(Codec):
    """`service.detect.state` as Faust wants a codec."""

    def __init__(self, soft_bytes: int, hard_bytes: int) -> None:
        super().__init__()
        self._soft, self._hard = soft_bytes, hard_bytes

    def _dumps(self, state: WorkflowState) -> bytes:
        evidence = len(state.traces) + len(state.ended)
        encoded = state_codec.encode(state, soft=self._soft, hard=self._hard)
        if len(state.traces) + len(state.ended) < evidence:
            metrics.DETECT_STATE_TRIMMED.inc()
        metrics.DETECT_STATE_BYTES.observe(len(encoded))
        return encoded

    def _loads(self, data: bytes) -> WorkflowState:
        return state_codec.decode(data)


async def run(settings: Settings, *, stop: asyncio.Event, clock: Clock) -> None:
    """Run until `stop` is set.

    Raises
    ------
    TidegateError
        Broker away, topics missing, config topic unusable, or a state beyond its hard cap.
    """
    kafka = settings.kafka
    status = Health("detect", clock, settings.health.stall_after_s)
    status.set_ready("table", False, "recovering the workflow table")
    metrics.DETECT_RECOVERING.set(1)
    async with (
        health.serve(status, settings.health.host, settings.health.port_of("detect")),
        started(producer(kafka, client_id=f"{settings.detect.app_id}-outbox"), kafka) as sender,
        ConfigView(kafka, clock, "detect", health=status) as view,
    ):
        topics = await require_topics(sender, [kafka.topic(ROLLUPS), kafka.topic(WORKFLOW_STATE)])
        app, clerk = _build(
            settings, len(topics[kafka.topic(ROLLUPS)]), Outbox(sender, kafka, clock), view, clock
        )
        try:
            await until_one_ends(
                app.run_until(stop), view.failed(), _watch(app, clerk, status, settings, clock)
            )
        except AppFailedError as error:
            if isinstance(error.__cause__, TidegateError):
                raise error.__cause__ from None
            raise
        except KafkaError as error:
            raise unavailable(error, kafka) from error


def _build(
    settings: Settings, partitions: int, outbox: Outbox, view: ConfigView, clock: Clock
) -> tuple[GuardedApp, Clerk]:
    kafka = settings.kafka
    app = build_app(
        app_id=settings.detect.app_id,
        bootstrap=kafka.bootstrap_servers,
        security=kafka.security(),
        commit_lag_s=settings.detect.commit_lag_s,
        session_timeout_s=kafka.session_timeout_s,
        on_fatal=lambda reason: _LOG.error("detect cannot go on: %s", reason),
    )
    table = keyed_table(
        app,
        name="workflow-state",
        changelog=kafka.topic(WORKFLOW_STATE),
        partitions=partitions,
        codec=StateCodec(settings.detect.state_soft_bytes, settings.detect.state_hard_bytes),
        supersedes=state_codec.supersedes,
    )
    rollups = app.topic(
        kafka.topic(ROLLUPS),
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        partitions=partitions,
    )
    clerk = Clerk(table, outbox, lambda: view.book, clock)

    async def on_assigned(*_: Any, **__: Any) -> None:
        clerk.reassigned()

    app.on_partitions_assigned.connect(on_assigned, weak=False)
    declare(app, rollups, clerk)
    return app, clerk


async def _watch(app: GuardedApp, clerk: Clerk, status: Health, settings: Settings, clock: Clock) -> None:
    """Health by progress: a worker that has records waiting must handle some; an idle one must be fed."""
    status.expect("records")
    topic = settings.kafka.topic(ROLLUPS)
    handled, known = -1, -1
    recovery = Standstill(_STUCK_S)
    while True:
        if app.ready:
            recovery.moves()
        elif recovery.look(app.left_to_recover, clock.monotonic()):
            raise Stalled(f"the workflow table has not recovered, nor come on, for {_STUCK_S:g} s")
        status.set_ready("table", app.ready, "recovering the workflow table, or rebalancing")
        metrics.DETECT_RECOVERING.set(0 if app.ready else 1)
        ends = _ends(app, topic) if app.ready else {}
        if not ends or clerk.handled != handled or sum(ends.values()) == known:
            status.beat("records")
        handled, known = clerk.handled, sum(ends.values())
        for partition, end in ends.items():
            # The last offset may be a transaction's marker, which nobody handles: 1 is no lag.
            metrics.DETECT_LAG.labels(partition).set(max(0, end - 1 - clerk.positions.get(partition, end)))
        await asyncio.sleep(_WATCH_S)


def _ends(app: GuardedApp, topic: str) -> dict[int, int]:
    """End offsets of the assigned partitions: they move when records wait."""
    assigned = [tp for tp in app.consumer.assignment() if tp.topic == topic]
    return {tp.partition: app.consumer.highwater(tp) or 0 for tp in assigned}
