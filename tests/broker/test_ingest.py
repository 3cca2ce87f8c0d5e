"""Ingest on a real broker: what goes in comes out once, and only what goes in."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.kafka.embedded.broker import EmbeddedBroker
from tests.broker.ingest import Installation, Worker, events

pytestmark = pytest.mark.broker


@pytest.fixture
def install(broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path) -> Callable[..., Installation]:
    def make(**overrides: Any) -> Installation:
        return Installation(broker.bootstrap, topic_prefix, tmp_path, overrides)

    return make


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    started: list[Worker] = []
    yield started
    for worker in started:
        worker.kill()


async def test_totals_are_equal_to_the_nano_dollar_with_duplicates_and_bad_events(
    install: Callable[..., Installation], workers: list[Worker]
) -> None:
    here = install()
    await here.create()
    sent = events(4_000, duplicates=0.05, bad=0.05)
    await here.publish(sent.records)
    workers.append(worker := here.start())
    await here.until_read_up(worker)
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0, worker.log()
    outcome = await here.outcome()
    assert outcome.calls() == sent.calls
    assert outcome.cost_nanos() == sent.cost_nanos
    assert len(outcome.dead_letters) == sent.bad
