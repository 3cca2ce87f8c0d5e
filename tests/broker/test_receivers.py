"""Receivers that remember, on a real broker: a thread goes on after a restart, what fires is resent, and a change
of the configuration is told once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from schemas.alerts import Alert
from schemas.topics import ALERTS
from service.demo.receivers import LocalReceivers
from service.demo.smtp import LocalSmtp
from service.kafka import producer, started
from service.kafka.admin import create_topics
from service.kafka.config_change import Intent
from service.kafka.config_topic import publish as configure
from service.kafka.embedded.broker import EmbeddedBroker
from service.notify.app import run
from service.notify.changes import SETTLING
from service.rules.config import control_key
from service.runtime.clock import SystemClock
from service.settings import Settings
from tests.service.notify.edits import tuning
from tests.service.notify.support import alert, resolved
from tests.support.patience import PATIENCE_S, until

pytestmark = pytest.mark.broker


class Ahead(SystemClock):
    """A clock by which all that the broker has is settled: changes are not told at once."""

    def __init__(self, by: timedelta) -> None:
        self._by = by

    def now(self) -> datetime:
        return super().now() + self._by


@asynccontextmanager
async def at_work(settings: Settings, ahead: timedelta) -> AsyncIterator[None]:
    stop = asyncio.Event()
    role = asyncio.create_task(run(settings, stop=stop, clock=Ahead(ahead)))
    try:
        yield
        assert not role.done(), role.result()
    finally:
        stop.set()
        await asyncio.wait_for(role, PATIENCE_S)


async def test_an_incident_goes_on_where_it_was_after_a_restart(
    broker: EmbeddedBroker, topic_prefix: str
) -> None:
    with LocalReceivers(slack_interval_s=0.0) as local, LocalSmtp() as smtp:
        settings = Settings.model_validate(
            {
                "kafka": {
                    "bootstrap_servers": broker.bootstrap,
                    "topic_prefix": topic_prefix,
                    "partitions": 1,
                },
                "notify": {
                    "group_id": f"{topic_prefix}notify",
                    "page_interval_s": 0.1,
                    "receivers": {
                        "bot": {
                            "type": "slack_bot",
                            "bot_token": local.slack_api.token,
                            "channel": local.slack_api.channel,
                            "base_url": local.slack_api_url,
                        },
                        "mail": {
                            "type": "email",
                            "host": "127.0.0.1",
                            "port": smtp.port,
                            "security": "none",
                            "sender": "tidegate@example.com",
                            "to": ["care@example.com"],
                        },
                        "pager": {
                            "type": "pagerduty",
                            "routing_key": local.routing_key,
                            "base_url": local.base_url,
                        },
                        "am": {"type": "alertmanager", "urls": [local.alertmanager_url], "resend_s": 1.0},
                    },
                },
                "health": {"port": -1},
            }
        )
        kafka = settings.kafka
        await create_topics(settings)
        async with started(producer(kafka, client_id="test"), kafka) as sender:

            async def publish(one: Alert) -> None:
                await sender.send_and_wait(kafka.topic(ALERTS), one.to_json(), key=one.fingerprint.encode())

            async def change(pending_s: float) -> None:
                record = tuning("search", pending_s)
                intent = Intent(author="ada", reason=f"{pending_s:g} s")
                await configure(kafka, {control_key(record): record.to_json()}, intent)

            def changes() -> list[str]:
                events = [received for received in local.of("pagerduty") if "/change/" in received.path]
                return [str(event.body["payload"]["summary"]).partition(" Version")[0] for event in events]

            async with at_work(settings, 2 * SETTLING):
                await publish(alert())
                await change(5)
                await until(lambda: len(local.slack_api.messages) == len(smtp.mails) == 1)
                # Said once, and then again and again.
                await until(lambda: len(local.of("alertmanager")) >= 3 and len(changes()) == 1)
            async with at_work(settings, 4 * SETTLING):
                told = len(local.of("alertmanager"))
                await until(lambda: len(local.of("alertmanager")) > told)
                await publish(resolved())
                await change(6)
                await until(lambda: len(changes()) > 1)
                await until(lambda: len(local.slack_api.messages) == len(smtp.mails) == 2)
                await until(
                    lambda: local.of("alertmanager")[-1].body[0]["annotations"]["summary"][:4] == "Over"
                )
        [message] = local.slack_api.incidents()
        assert changes() == [
            "CONFIG CHANGED: tuning/search. ada created tuning/search. Why: 5 s.",
            "CONFIG CHANGED: tuning/search. ada changed tuning/search. Why: 6 s.",
        ]
        assert message.edits == 1
        assert len(local.slack_api.thread(message.ts)) == 1
        first, last = (mail.message for mail in smtp.mails)
        assert last["In-Reply-To"] == first["Message-ID"]
        assert len({str(received.body[0]["labels"]) for received in local.of("alertmanager")}) == 1
        assert local.violations == smtp.violations == []
