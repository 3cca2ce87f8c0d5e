"""`tidegate feedback`: what an alert was worth changes thresholds, is explained, and is taken back."""

from __future__ import annotations

import asyncio

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
    said = cluster("feedback", told.fingerprint, "--is", "not_worth_it", *by)
    assert said.exit_code == 0, said.output
    assert 'support-agent is quieter since ada said "not worth it" on ' in said.output
    explained = cluster("config", "explain", "support-agent").output
    assert "~feedback-" in explained
    assert "0.125" in explained
    taken_back = cluster("feedback", told.fingerprint, "--is", "real", *by)
    assert "no threshold of support-agent is changed" in taken_back.output
    assert "~feedback-" not in cluster("config", "explain", "support-agent").output
    assert cluster("feedback", "nobody-s", "--is", "real", *by).exit_code == 1
    assert "expected one of" in cluster("feedback", told.fingerprint, "--is", "great", *by).output
