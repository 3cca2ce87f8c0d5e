"""The lane protocol (its steps are numbered in service/kafka/lane.py), tested by crashing it."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from pathlib import Path

import pytest

from service.kafka.embedded.apache import ApacheKafka
from tests.broker.ingest import Install, Installation, Published, Start, events, ingest_fixtures

pytestmark = [pytest.mark.broker, pytest.mark.chaos]
install, start = ingest_fixtures()

SESSION_S = 2.0
"""Short, so that a dead worker is given up soon. Kafka's usual minimum is 6 s; the tests' broker allows less."""


async def trickle(here: Installation, sent: Published, seconds: float, chunks: int = 40) -> None:
    size = len(sent.records) // chunks + 1
    for i in range(0, len(sent.records), size):
        await here.publish(sent.records[i : i + size])
        await asyncio.sleep(seconds / chunks)


async def test_killed_hard_again_and_again_it_counts_every_event_once(install: Install, start: Start) -> None:
    here = install(dedup_offsets=3_000, max_batch_records=300)
    await here.create()
    sent = events(20_000, duplicates=0.03, bad=0.01)
    publishing = asyncio.create_task(trickle(here, sent, seconds=12.0))
    chance = random.Random(7)
    for _ in range(5):
        worker = start(here, session_timeout_s=SESSION_S)
        await worker.said("remembering")  # steps 1 to 3 are done; anything may happen from here
        await asyncio.sleep(chance.uniform(0.0, 0.8))
        worker.kill()
    worker = start(here, session_timeout_s=SESSION_S)
    await publishing
    await here.until_read_up(worker)
    outcome = await here.outcome()
    assert outcome.calls() == sent.calls
    assert outcome.cost_nanos() == sent.cost_nanos
    assert len(outcome.dead_letters) == sent.bad


async def test_a_zombie_is_fenced_and_its_output_invisible(install: Install, start: Start) -> None:
    here = install(commit_interval_ms=4_000)
    await here.create()
    sent = events(6_000)
    publishing = asyncio.create_task(trickle(here, sent, seconds=10.0))
    zombie = start(here, session_timeout_s=SESSION_S)
    await here.until_calls(1)
    await asyncio.sleep(1.2)
    zombie.send(signal.SIGSTOP)  # with records folded and not committed: it commits every 4 s only
    stopped = time.monotonic()
    heir = start(here, session_timeout_s=SESSION_S)
    await heir.said("remembering")
    await here.until_calls(3_000)
    # Its commit is overdue when it wakes: else the group may tell it sooner, and it asks the broker nothing.
    await asyncio.sleep(max(0.0, stopped + 4.5 - time.monotonic()))
    zombie.send(signal.SIGCONT)
    await zombie.said("another process has taken the partition over")
    await publishing
    await here.until_read_up(zombie, heir)
    for worker in (zombie, heir):
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0, worker.log()
    outcome = await here.outcome()
    assert outcome.calls() == sent.calls
    assert outcome.cost_nanos() == sent.cost_nanos


async def test_workers_come_and_go_and_nothing_is_counted_twice(install: Install, start: Start) -> None:
    here = install(dedup_offsets=1_000)
    await here.create()
    sent = events(8_000, duplicates=0.05)
    publishing = asyncio.create_task(trickle(here, sent, seconds=8.0))
    stays = start(here, session_timeout_s=SESSION_S)
    await here.until_calls(500)
    guest = start(here, session_timeout_s=SESSION_S)
    await guest.said("remembering")
    await asyncio.sleep(1.0)
    guest.send(signal.SIGTERM)
    assert await guest.ended() == 0, guest.log()
    await publishing
    await here.until_read_up(stays)
    outcome = await here.outcome()
    assert outcome.calls() == sent.calls
    assert outcome.cost_nanos() == sent.cost_nanos
    # A partition that stayed here throughout is taken up as it was left, without reading its tail again.
    lines = [line.split(": from ")[1] for line in stays.log().splitlines() if "remembering" in line]
    assert any(
        a == b for a, _, b in (line.partition(", remembering from ") for line in lines if line[0] != "0")
    )


async def test_a_broker_that_is_killed_and_comes_back_loses_nothing(
    tmp_path: Path, topic_prefix: str, start: Start
) -> None:
    broker = ApacheKafka(data_dir=tmp_path / "kafka")
    if reason := broker.available():
        pytest.skip(reason)
    broker.start()
    try:
        here = Installation(broker.bootstrap, topic_prefix, tmp_path, {})
        await here.create()
        before, after = events(3_000), events(3_000, seed=2)
        worker = start(here, session_timeout_s=SESSION_S)
        await here.publish(before.records)
        await here.until_calls(500)
        broker.kill()
        await asyncio.sleep(1.0)
        broker.start()
        await here.publish(after.records)
        await here.until_read_up(worker, timeout_s=90)
        outcome = await here.outcome()
    finally:
        broker.stop()
    assert outcome.calls() == before.calls + after.calls
    assert outcome.cost_nanos() == before.cost_nanos + after.cost_nanos
