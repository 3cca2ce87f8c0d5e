"""The callbacks role: what people answer in Slack and PagerDuty becomes records."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Final

import httpx

from schemas.feedback import Feedback
from schemas.throttles import ThrottleEvent
from schemas.topics import ACKNOWLEDGEMENTS, CONFIG, CONFIG_HISTORY, FEEDBACK, THROTTLE_EVENTS
from service.callbacks.hearsay import Hearsay
from service.callbacks.post import NAME, Post
from service.callbacks.records import KafkaRecords
from service.callbacks.replies import Replies
from service.errors import SettingsError
from service.http.server import serve
from service.kafka import producer, require_topics, started
from service.kafka.topic_view import TopicView
from service.rules.measures import BACK, Measures
from service.runtime.clock import Clock, SystemClock
from service.runtime.health import Health
from service.runtime.health import serve as serve_health
from service.runtime.tasks import until_one_ends
from service.settings import CallbacksSettings, Settings, SigningSecret

_BEAT_S: Final = 1.0
_LEAST: Final = 16
"""Characters of a vendor's secret; theirs have 32 and more."""

_LOG = logging.getLogger(__name__)


async def run(settings: Settings, *, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run the role until `stop` is set, then take no more requests, and write down what was answered.

    Raises
    ------
    SettingsError
        No vendor's secret is given, one cannot be read, or an address not be bound.
    BrokerUnavailable
        No broker or topic at the start.
    """
    clock = clock or SystemClock()
    asked, kafka = settings.callbacks, settings.kafka
    secrets = load(asked)
    health = Health(NAME, clock, settings.health.stall_after_s)
    health.set_ready(NAME, False, "not open yet")
    # httpx logs every URL at INFO, and those that answers go to are credentials.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    async with AsyncExitStack() as stack:
        health_port = await stack.enter_async_context(
            serve_health(health, settings.health.host, settings.health.port_of(NAME))
        )
        sender = await stack.enter_async_context(
            started(producer(kafka, client_id="tidegate-callbacks"), kafka)
        )
        topics = (ACKNOWLEDGEMENTS, FEEDBACK, CONFIG, CONFIG_HISTORY, THROTTLE_EVENTS)
        await require_topics(sender, [kafka.topic(topic) for topic in topics])
        client = await stack.enter_async_context(
            httpx.AsyncClient(headers={"User-Agent": f"tidegate/{version('tidegate')}"})
        )
        measures = Measures()
        view = TopicView(
            kafka, kafka.topic(THROTTLE_EVENTS), ThrottleEvent, measures.apply, since=clock.now() - BACK
        )
        await stack.enter_async_context(view)
        records = KafkaRecords(kafka, sender, clock)
        hearsay = Hearsay(records.settle, clock)
        stack.push_async_callback(hearsay.end)
        # Only from now on: what somebody has taken back since must not come into force again.
        said = TopicView(kafka, kafka.topic(FEEDBACK), Feedback, hearsay.hear, since=clock.now())
        await stack.enter_async_context(said)
        post = Post(asked, secrets, records, measures, Replies(client, asked.slack_hooks), clock)
        stack.push_async_callback(post.end)
        site = post.site()
        port = await stack.enter_async_context(serve(asked, site, clock))
        if asked.tls_certfile is None and not asked.on_loopback:
            _LOG.warning("requests come in over plain HTTP: something in front of %s must do TLS", asked.host)
        health.set_ready(NAME, True)
        scheme = "http" if asked.tls_certfile is None else "https"
        _LOG.info(
            "callbacks: %s at %s://%s:%d, health and metrics on port %d",
            site.told, scheme, asked.host, port, health_port,
        )  # fmt: skip
        try:
            await until_one_ends(_beat(health, clock, stop), view.failed(), said.failed(), hearsay.run())
        finally:
            health.set_ready(NAME, False, "closing")


def load(asked: CallbacksSettings) -> Mapping[str, Mapping[str, bytes]]:
    """The vendors' secrets, by vendor and name. Raises SettingsError: none is given, or one is unusable."""
    if not asked.configured:
        raise SettingsError("callbacks.slack, callbacks.pagerduty: give the secret of at least one of them")
    return {
        vendor: {name: _secret(f"callbacks.{vendor}.{name}", secret) for name, secret in given.items()}
        for vendor, given in (("slack", asked.slack), ("pagerduty", asked.pagerduty))
    }


def _secret(path: str, given: SigningSecret) -> bytes:
    try:
        value = given.secret("signing_secret") or ""
    except SettingsError as error:
        raise SettingsError(f"{path}.{error}") from None
    if len(value) < _LEAST:
        raise SettingsError(f"{path}.signing_secret: has at least {_LEAST} characters")
    return value.encode()


async def _beat(health: Health, clock: Clock, stop: asyncio.Event) -> None:
    """The loop that serves requests has nothing of its own that moves: it is alive while this is."""
    health.expect(NAME)
    while not stop.is_set():
        health.beat(NAME)
        try:
            async with asyncio.timeout(_BEAT_S):
                await stop.wait()
        except TimeoutError:
            continue
