"""Receivers that remember, on a real broker: a thread goes on after a restart, and what fires is resent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from schemas.alerts import Alert
from schemas.topics import ALERTS
from service.demo.receivers import LocalReceivers
from service.demo.smtp import LocalSmtp
from service.kafka import producer, started
from service.kafka.admin import create_topics
from service.kafka.embedded.broker import EmbeddedBroker
from service.notify.app import run
from service.settings import Settings
from tests.service.notify.support import alert, resolved
from tests.support.patience import PATIENCE_S, until

pytestmark = pytest.mark.broker


@asynccontextmanager
async def at_work(settings: Settings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    role = asyncio.create_task(run(settings, stop=stop))
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

            async with at_work(settings):
                await publish(alert())
                await until(lambda: len(local.slack_api.messages) == len(smtp.mails) == 1)
                # Said once, and then again and again.
                await until(lambda: len(local.of("alertmanager")) >= 3)
            async with at_work(settings):
                told = len(local.of("alertmanager"))
                await until(lambda: len(local.of("alertmanager")) > told)
                await publish(resolved())
                await until(lambda: len(local.slack_api.messages) == len(smtp.mails) == 2)
                await until(
                    lambda: local.of("alertmanager")[-1].body[0]["annotations"]["summary"][:4] == "Over"
                )
        [message] = local.slack_api.incidents()
        assert message.edits == 1
        assert len(local.slack_api.thread(message.ts)) == 1
        first, last = (mail.message for mail in smtp.mails)
        assert last["In-Reply-To"] == first["Message-ID"]
        assert len({str(received.body[0]["labels"]) for received in local.of("alertmanager")}) == 1
        assert local.violations == smtp.violations == []
