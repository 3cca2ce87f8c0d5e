"""The door role: cost events over HTTP, for gateways without Kafka."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Final

from schemas.topics import COST_EVENTS
from service.door.post import PATH, Post
from service.door.publisher import publisher
from service.http.keyring import Keyring
from service.http.server import serve
from service.runtime.clock import Clock, SystemClock
from service.runtime.health import Health
from service.runtime.health import serve as serve_health
from service.runtime.tasks import until_one_ends
from service.settings import Settings

_BEAT_S: Final = 1.0

_LOG = logging.getLogger(__name__)


async def run(settings: Settings, *, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run the role until `stop` is set, then take no more requests, answer those under way, and flush.

    Raises
    ------
    SettingsError
        Nobody could come in, a token or certificate cannot be read, or an address not be bound.
    BrokerUnavailable
        No broker or topic at the start, or a record that failed for good. Its request was answered 503.
    """
    clock = clock or SystemClock()
    door = settings.door
    keyring = Keyring.load(door, "door")
    health = Health("door", clock, settings.health.stall_after_s)
    health.set_ready("door", False, "not open yet")
    async with AsyncExitStack() as stack:
        health_port = await stack.enter_async_context(
            serve_health(health, settings.health.host, settings.health.port_of("door"))
        )
        topic = settings.kafka.topic(COST_EVENTS)
        sender = await stack.enter_async_context(
            publisher(settings.kafka, topic, clock, health, door.ack_timeout_s)
        )
        port = await stack.enter_async_context(serve(door, Post(door, keyring, sender).site(), clock))
        if door.tls_certfile is None and not door.on_loopback:
            _LOG.warning("tokens come in over plain HTTP: something in front of %s must do TLS", door.host)
        health.set_ready("door", True)
        scheme = "http" if door.tls_certfile is None else "https"
        _LOG.info(
            "door: POST %s://%s:%d%s, health and metrics on port %d",
            scheme,
            door.host,
            port,
            PATH,
            health_port,
        )
        try:
            await until_one_ends(_beat(health, clock, stop), sender.failed())
        finally:
            health.set_ready("door", False, "closing")


async def _beat(health: Health, clock: Clock, stop: asyncio.Event) -> None:
    """The loop that serves requests has nothing of its own that moves: it is alive while this is."""
    health.expect("door")
    while not stop.is_set():
        health.beat("door")
        try:
            async with asyncio.timeout(_BEAT_S):
                await stop.wait()
        except TimeoutError:
            continue
