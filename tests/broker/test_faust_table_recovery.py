"""A Faust table with an offset guard counts every event once, however often its worker is killed."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from service.kafka.embedded.broker import EmbeddedBroker
from tests.broker.counting_worker import Totals, TotalsCodec
from tests.support.broker import create_topics, read_all
from tests.support.patience import PATIENCE_S
from tests.upstream.brokered import committed_offsets, end_offsets

pytestmark = pytest.mark.broker

PARTITIONS = 3
KEYS = [f"workflow-{number}" for number in range(9)]
EVENTS = 3000
KILLS = 3


async def _publish(
    bootstrap: str, topic: str, events: int = EVENTS, seed: int = 7
) -> dict[str, tuple[int, int]]:
    """Write `events` events in transactions, some aborted; calls and amount by key, of the committed ones.

    A key keeps to one partition, as rollups of one workflow do.
    """
    rng = random.Random(seed)
    calls: Counter[str] = Counter()
    amounts: Counter[str] = Counter()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{topic}-load")
    await producer.start()
    try:
        left = events
        while left:
            size, aborted = min(left, rng.randint(1, 60)), rng.random() < 0.2
            await producer.begin_transaction()
            for _ in range(size):
                number, amount = rng.randrange(len(KEYS)), rng.randint(1, 10**9)
                await producer.send(
                    topic, str(amount).encode(), KEYS[number].encode(), partition=number % PARTITIONS
                )
                if not aborted:
                    calls[KEYS[number]] += 1
                    amounts[KEYS[number]] += amount
            if aborted:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
                left -= size
    finally:
        await producer.stop()
    return {key: (calls[key], amounts[key]) for key in KEYS}


@contextmanager
def _worker(options: dict[str, Any], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.broker.counting_worker", json.dumps(options)], stderr=out
        )
    try:
        yield worker
    finally:
        if worker.poll() is None:
            worker.kill()
        worker.wait()


def _text(log: Path) -> str:
    return log.read_text()


async def _written(bootstrap: str, changelog: str) -> int:
    return sum((await end_offsets(bootstrap, changelog, PARTITIONS)).values())


async def _run_and_kill(options: dict[str, Any], log: Path, after: int) -> None:
    """Let a worker write `after` changelog records, then kill it with SIGKILL."""
    bootstrap, changelog = options["bootstrap"], options["changelog"]
    goal = await _written(bootstrap, changelog) + after
    with _worker(options, log) as worker:
        async with asyncio.timeout(PATIENCE_S):
            while await _written(bootstrap, changelog) < goal:
                assert worker.poll() is None, _text(log)
                await asyncio.sleep(0.1)
        worker.send_signal(signal.SIGKILL)


async def _run_to_the_end(options: dict[str, Any], log: Path) -> int:
    """Let a worker commit everything, then stop it with SIGTERM; its exit status."""
    bootstrap, topic = options["bootstrap"], options["topic"]
    ends = await end_offsets(bootstrap, topic, PARTITIONS)
    with _worker(options, log) as worker:
        async with asyncio.timeout(PATIENCE_S):
            while await committed_offsets(bootstrap, options["group"], topic) != ends:
                assert worker.poll() is None, _text(log)
                await asyncio.sleep(0.2)
        worker.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(worker.wait, PATIENCE_S)


async def _totals(bootstrap: str, changelog: str) -> dict[str, tuple[int, int]]:
    """The table as its changelog has it."""
    codec = TotalsCodec()
    table: dict[str, Totals] = {
        r.key.decode(): codec.loads(r.value) for r in await read_all(bootstrap, changelog)
    }
    return {key: (table[key].calls, table[key].amount) for key in sorted(table)}


async def _options(broker: EmbeddedBroker, prefix: str, **more: Any) -> dict[str, Any]:
    topic, changelog = f"{prefix}rollups", f"{prefix}state"
    await create_topics(broker.bootstrap, {topic: PARTITIONS})
    await create_topics(broker.bootstrap, {changelog: PARTITIONS}, {"cleanup.policy": "compact"})
    return {
        "bootstrap": broker.bootstrap,
        "group": f"{prefix}detect",
        "topic": topic,
        "changelog": changelog,
        "partitions": PARTITIONS,
        "commit_lag_s": 1.0,
        "pause_s": 0.001,
        "supersedes": True,
        **more,
    }


async def test_totals_are_right_though_the_worker_is_killed(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    options = await _options(broker, topic_prefix, guarded=True)
    published = await _publish(broker.bootstrap, options["topic"])
    rng = random.Random(11)
    for _ in range(KILLS):
        await _run_and_kill(options, tmp_path / "log", after=rng.randint(150, 700))
    assert await _run_to_the_end(options, tmp_path / "log") == 0, _text(tmp_path / "log")
    assert await _totals(broker.bootstrap, options["changelog"]) == published


async def test_without_the_guard_the_same_counts_too_much(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    options = await _options(broker, topic_prefix, guarded=False)
    published = await _publish(broker.bootstrap, options["topic"])
    await _run_and_kill(options, tmp_path / "log", after=700)
    assert await _run_to_the_end(options, tmp_path / "log") == 0
    counted = await _totals(broker.bootstrap, options["changelog"])
    assert sum(calls for calls, _ in counted.values()) > sum(calls for calls, _ in published.values())


async def test_a_worker_that_wakes_after_its_session_spoils_nothing(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    options = await _options(broker, topic_prefix, guarded=True)
    bootstrap, topic, log = broker.bootstrap, options["topic"], tmp_path / "log"
    published = await _publish(bootstrap, topic)
    ends = await end_offsets(bootstrap, topic, PARTITIONS)
    with _worker({**options, "pause_s": 0.01}, log) as sleeper:
        async with asyncio.timeout(PATIENCE_S):
            while await _written(bootstrap, options["changelog"]) < 100:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        sleeper.send_signal(signal.SIGSTOP)
        with _worker(options, log) as successor:
            async with asyncio.timeout(PATIENCE_S):
                while await committed_offsets(bootstrap, options["group"], topic) != ends:
                    assert successor.poll() is None, _text(log)
                    await asyncio.sleep(0.2)
            successor.send_signal(signal.SIGKILL)
        done = await _written(bootstrap, options["changelog"])
        sleeper.send_signal(signal.SIGCONT)
        async with asyncio.timeout(PATIENCE_S):
            while await _written(bootstrap, options["changelog"]) == done:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        sleeper.send_signal(signal.SIGKILL)
    # What the next worker adds shows the table it has recovered.
    more = await _publish(bootstrap, topic, events=100, seed=8)
    assert await _run_to_the_end(options, log) == 0, _text(log)
    expected = {key: (published[key][0] + more[key][0], published[key][1] + more[key][1]) for key in KEYS}
    assert await _totals(bootstrap, options["changelog"]) == expected


async def test_two_workers_share_the_partitions_and_one_leaves(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    options = await _options(broker, topic_prefix, guarded=True)
    published = await _publish(broker.bootstrap, options["topic"])
    goal = 400
    with _worker(options, tmp_path / "first"), _worker(options, tmp_path / "second") as leaving:
        async with asyncio.timeout(PATIENCE_S):
            while await _written(broker.bootstrap, options["changelog"]) < goal:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        leaving.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(leaving.wait, PATIENCE_S) == 0, _text(tmp_path / "second")
        ends = await end_offsets(broker.bootstrap, options["topic"], PARTITIONS)
        async with asyncio.timeout(PATIENCE_S):
            while await committed_offsets(broker.bootstrap, options["group"], options["topic"]) != ends:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    assert await _totals(broker.bootstrap, options["changelog"]) == published
