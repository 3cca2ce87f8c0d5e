"""`tidegate feedback`: what an alert was worth changes thresholds, is explained, and is taken back."""

from __future__ import annotations

import asyncio
import re

import pytest

from schemas.topics import ALERTS
from service.kafka import producer, started
from service.kafka.embedded.broker import EmbeddedBroker
from service.settings import KafkaSettings
from tests.service.commands.conftest import Tidegate
from tests.service.notify.support import alert

pytestmark = pytest.mark.broker


def test_feedback_makes_a_workflow_quieter_until_it_is_taken_back(
    cluster: Tidegate, broker: EmbeddedBroker, topic_prefix: str
) -> None:
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix)
    told = alert()

    async def publish() -> None:
        async with started(producer(kafka, client_id="test"), kafka) as sender:
            await sender.send_and_wait(kafka.topic(ALERTS), told.to_json(), key=told.fingerprint.encode())

    asyncio.run(publish())
    by = ["--author", "ada"]
    before = cluster("config", "explain", "support-agent").output
    said = cluster("feedback", told.fingerprint, "--is", "not_worth_it", *by)
    assert said.exit_code == 0, said.output
    assert 'support-agent is quieter about retry loop since ada said "not worth it" on ' in said.output
    explained = cluster("config", "explain", "support-agent").output
    assert re.search(r"^  answers +1 +workflow: tuning/~feedback-", explained, re.M)
    assert f"(of {told.fingerprint})" in explained
    assert '"worth": "not_worth_it"' in cluster("config", "explain", "support-agent", "--json").output
    changed = cluster("feedback", told.fingerprint, "--is", "planned", *by)
    assert "support-agent is not learning from retry loop nor paging for it since ada" in changed.output
    taken_back = cluster("feedback", told.fingerprint, "--withdraw", *by)
    assert "nothing of support-agent is changed" in taken_back.output
    assert cluster("config", "explain", "support-agent").output == before
    assert cluster("feedback", "nobody-s", "--is", "real", *by).exit_code == 1
    for wrong in (["--is", "great"], ["--is", "real", "--withdraw"], []):
        assert "expected one of" in cluster("feedback", told.fingerprint, *wrong, *by).output
