"""Callbacks on a real broker: a press is a record in force, signed where records are, and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from schemas.catalog import EXAMPLES
from schemas.control import Approval, ConfigChange, Silence, Tuning
from schemas.decode import validate
from schemas.feedback import Feedback
from schemas.notifications import Acknowledgement
from schemas.throttles import ThrottleEvent
from schemas.topics import ACKNOWLEDGEMENTS, CONFIG, CONFIG_HISTORY, FEEDBACK, THROTTLE_EVENTS
from service.callbacks import hearsay
from service.callbacks.app import run
from service.kafka import producer, started
from service.kafka.admin import create_topics
from service.kafka.config_topic import standing
from service.kafka.embedded.broker import EmbeddedBroker, free_port
from service.runtime.clock import SystemClock
from service.settings import Settings
from tests.service.callbacks.support import SECRETS, SUBJECT, Callbacks, Told, Written, press, webhook
from tests.support.broker import read_all
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.broker


@asynccontextmanager
async def open_role(settings: Settings) -> AsyncIterator[Any]:
    """The role in this process, from the moment that its port is open."""
    stop = asyncio.Event()
    role = asyncio.create_task(run(settings, stop=stop))
    url = f"http://127.0.0.1:{settings.callbacks.port}"
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    assert not role.done(), role.result()
                    try:
                        await client.get(url)
                        break
                    except httpx.ConnectError:
                        await asyncio.sleep(0.02)
            # Only how requests are signed and sent: what is written goes to the broker.
            unused: Any = None
            yield Callbacks(url, unused, Written(), Told(), unused, client)
    finally:
        stop.set()
        await asyncio.wait_for(role, PATIENCE_S)


def configured(broker: EmbeddedBroker, topic_prefix: str) -> Settings:
    return Settings.model_validate(
        {
            "kafka": {
                "bootstrap_servers": broker.bootstrap,
                "topic_prefix": topic_prefix,
                "partitions": 1,
                "config_keys": {"ops": {"hmac_secret": "k" * 32}},
            },
            "callbacks": {
                "port": free_port(),
                "slack": {"app": {"signing_secret": SECRETS["slack"]["app"].decode()}},
                "pagerduty": {"a": {"signing_secret": SECRETS["pagerduty"]["a"].decode()}},
                "slack_hooks": "http://127.0.0.1:1/",
                "answer_within_s": 2.9,
            },
            "health": {"port": -1},
        }
    )


async def test_what_people_answer_is_on_the_topics_once(broker: EmbeddedBroker, topic_prefix: str) -> None:
    settings = configured(broker, topic_prefix)
    kafka = settings.kafka
    await create_topics(settings)
    throttle = validate(ThrottleEvent, EXAMPLES["throttle-event"]).model_copy(
        update={"alert_fingerprint": SUBJECT.fingerprint, "proposal": "p1", "change": "started"}
    )
    async with started(producer(kafka, client_id="test"), kafka) as sender:
        await sender.send_and_wait(kafka.topic(THROTTLE_EVENTS), throttle.to_json(), key=b"x")
    stamp = f"{SystemClock().now().timestamp():.6f}"
    acts = ("acknowledge", "silence", "not_worth_it", "release")
    for _ in range(2):  # what one process has done, its successor does not do again
        async with open_role(settings) as site:
            for act in acts:
                assert (await site.slack(press(act, action_ts=stamp))).status_code == 200
            assert (await site.pagerduty(webhook(), SECRETS["pagerduty"]["a"])).status_code == 204
    book = (await standing(kafka)).book
    found = {type(record): record for record in book.records.values()}
    assert set(found) == {Silence, Tuning, Approval}
    assert found[Approval].name == "p1"
    assert found[Tuning].author == "ada"
    assert len(await read_all(broker.bootstrap, kafka.topic(CONFIG))) == 3
    trail = await read_all(broker.bootstrap, kafka.topic(CONFIG_HISTORY))
    entries = [ConfigChange.from_json(record.value) for record in trail]
    assert [(entry.recorded_by, entry.author) for entry in entries] == [("callbacks", "ada")] * 3
    written = [
        Acknowledgement.from_json(record.value)
        for record in await read_all(broker.bootstrap, kafka.topic(ACKNOWLEDGEMENTS))
    ]
    assert {(said.fingerprint, said.author) for said in written} == {
        (SUBJECT.incident, "ada"),
        (SUBJECT.incident, "Ada Lovelace"),
    }
    said = await read_all(broker.bootstrap, kafka.topic(FEEDBACK))
    assert len({Feedback.from_json(record.value).to_json() for record in said}) == 1


async def test_feedback_that_others_put_on_its_topic_comes_into_effect(
    broker: EmbeddedBroker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearsay, "WAIT_S", 0.1)
    settings = configured(broker, topic_prefix)
    kafka = settings.kafka
    await create_topics(settings)
    said = validate(Feedback, EXAMPLES["feedback"]).model_copy(update={"at": SystemClock().now()})
    async with open_role(settings), started(producer(kafka, client_id="test"), kafka) as sender:
        await sender.send_and_wait(kafka.topic(FEEDBACK), said.to_json(), key=said.fingerprint.encode())
        async with asyncio.timeout(PATIENCE_S):
            while not (found := list((await standing(kafka)).book.records.values())):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    [tuning] = found
    assert isinstance(tuning, Tuning)
    assert [answer.fingerprint for answer in tuning.settings.answers or []] == [said.fingerprint]
