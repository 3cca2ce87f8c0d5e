"""The decisions role: follows the limits on the broker, and answers gateways that ask over HTTP."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from gateway import Connection, Feed, GatePolicy
from service.decisions.board import Board
from service.decisions.desk import DECISIONS, NAME, Desk
from service.decisions.openapi import written
from service.decisions.watched import Watched
from service.http.keyring import Keyring
from service.http.server import serve
from service.runtime.clock import Clock, SystemClock
from service.runtime.health import Health
from service.runtime.health import serve as serve_health
from service.runtime.metrics import DECISIONS_FEED, DECISIONS_STALE, DECISIONS_TICKETS, DECISIONS_WAITING
from service.settings import DecisionsSettings, KafkaSettings, Settings

_BEAT_S: Final = 1.0
_LOOK_S: Final = 0.05

_LOG = logging.getLogger(__name__)


async def run(settings: Settings, *, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run the role until `stop` is set, then take no more requests and answer those under way.

    The port is opened when everything on the topics has been read once, so that a restart lets nothing through;
    without a broker after `stale_after_s`, and then `on_stale` says what is answered.

    Raises
    ------
    SettingsError
        Nobody could come in, a token or certificate cannot be read, or an address not be bound.
    """
    clock = clock or SystemClock()
    asked = settings.decisions
    keyring = Keyring.load(asked, NAME)
    connection = connect(settings.kafka)
    health = Health(NAME, clock, settings.health.stall_after_s)
    health.set_ready("limits", False, "not read yet")
    async with AsyncExitStack() as stack:
        health_port = await stack.enter_async_context(
            serve_health(health, settings.health.host, settings.health.port_of(NAME))
        )
        name = asked.gateway or f"decisions-{socket.gethostname()}"
        gate = Watched(name, policy(asked))
        gate.enforcing = asked.enforce
        board = Board(gate, asyncio.get_running_loop())
        gate.on_change = board.changed
        feed = await stack.enter_async_context(_following(connection, gate, name))
        health.expect(NAME)
        if not await _caught_up(feed, health, clock, stop, asked.stale_after_s):
            return
        desk = Desk(asked, keyring, gate, board, written(), clock)
        port = await stack.enter_async_context(serve(asked, desk.site(), clock))
        if asked.tls_certfile is None and not asked.on_loopback:
            _LOG.warning("tokens come in over plain HTTP: something in front of %s must do TLS", asked.host)
        health.set_ready("limits", True)
        scheme = "http" if asked.tls_certfile is None else "https"
        _LOG.info(
            "decisions: POST %s://%s:%d%s, health and metrics on port %d",
            scheme,
            asked.host,
            port,
            DECISIONS,
            health_port,
        )
        try:
            await _beat(health, gate, board, desk, feed, stop)
        finally:
            health.set_ready("limits", False, "closing")


def policy(asked: DecisionsSettings) -> GatePolicy:
    """The gate's policy, out of the settings."""
    return GatePolicy(
        on_stale=asked.on_stale,
        stale_after_s=asked.stale_after_s,
        processes=asked.processes,
        max_delay_s=asked.max_delay_s,
        exempt_workflows=asked.exempt_workflows,
        reservation_s=asked.reservation_s,
    )


def connect(kafka: KafkaSettings) -> Connection:
    """Where the gateway library finds the broker. Raises SettingsError."""
    security = kafka.security()
    return Connection(
        kafka.bootstrap_servers,
        kafka.topic_prefix,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=security.get("sasl_plain_username"),
        sasl_password=security.get("sasl_plain_password"),
        ssl_context=security.get("ssl_context"),
    )


@asynccontextmanager
async def _following(connection: Connection, gate: Watched, name: str) -> AsyncIterator[Feed]:
    feed = Feed(connection, gate, name=name).start()
    try:
        yield feed
    finally:
        await asyncio.to_thread(feed.close)


async def _caught_up(feed: Feed, health: Health, clock: Clock, stop: asyncio.Event, within_s: float) -> bool:
    """Wait for what is on the topics, or for so long. False if the role is to stop."""
    until = clock.monotonic() + within_s
    while not feed.wait_caught_up(0):
        health.beat(NAME)
        if stop.is_set():
            return False
        if clock.monotonic() >= until:
            _LOG.warning("the broker has not been heard of for %g s: opening without its limits", within_s)
            return True
        await clock.sleep(_LOOK_S)
    return not stop.is_set()


async def _beat(
    health: Health, gate: Watched, board: Board, desk: Desk, feed: Feed, stop: asyncio.Event
) -> None:
    """The loop that serves requests has nothing of its own that moves: it is alive while this is."""
    while not stop.is_set():
        health.beat(NAME)
        board.look()
        DECISIONS_STALE.set(gate.stale)
        DECISIONS_TICKETS.set(len(desk.tickets))
        DECISIONS_WAITING.set(board.waiting)
        for what, count in feed.counts().items():
            DECISIONS_FEED.labels(what).set(count)
        try:
            async with asyncio.timeout(_BEAT_S):
                await stop.wait()
        except TimeoutError:
            continue
