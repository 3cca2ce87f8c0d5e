"""Spend survives SIGKILL: nothing lost, nothing counted twice, to the nano-dollar.

Ingest and detect are each killed five times and more at random moments while 200,000 events flow, and a second
detect worker joins and leaves. The durable state must then equal what was published. The same with the offset
guard taken out must fail, or the test would prove nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import defaultdict
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from schemas.topics import COST_EVENTS, WORKFLOW_STATE
from service.kafka.admin import create_topics
from service.kafka.embedded.broker import EmbeddedBroker
from service.settings import KafkaSettings, Settings
from tests.support.patience import PATIENCE_S
from tests.support.roles import RoleProcess, environment
from tests.support.state import DurableState, Sums

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.timeout(600)]

EVENTS = int(os.environ.get("TIDEGATE_CHAOS_EVENTS", "200000"))
KILLS = 5
WORKFLOWS = 25
UNGUARDED = [sys.executable, "-m", "tests.chaos.unguarded_detect"]


class Publisher:
    """Publishes seeded events at a steady rate and knows exactly what they cost."""

    def __init__(self, settings: Settings, events: int, over_s: float, seed: int) -> None:
        self.done = asyncio.Event()
        self._settings, self._events, self._over_s = settings, events, over_s
        self._random = random.Random(seed)
        self._sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])

    @property
    def expected(self) -> Sums:
        return {workflow: (calls, cost) for workflow, (calls, cost) in self._sums.items()}

    async def run(self) -> None:
        kafka = self._settings.kafka
        topic = kafka.topic(COST_EVENTS)
        producer = AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap_servers, acks="all", enable_idempotence=True, linger_ms=20
        )
        await producer.start()
        try:
            began = time.monotonic()
            for i in range(self._events):
                workflow, value = self._event(i)
                await producer.send(topic, key=workflow.encode(), value=value)
                if i % 40 == 7:  # a gateway's retry: the same event again
                    await producer.send(topic, key=workflow.encode(), value=value)
                if i % 1_000 == 13:
                    await producer.send(topic, key=workflow.encode(), value=b'{"event_id":"broken"')
                if i % 500 == 0:
                    ahead = i / self._events * self._over_s - (time.monotonic() - began)
                    await asyncio.sleep(max(0.0, ahead))
            await producer.flush()
        finally:
            await producer.stop()
            self.done.set()

    def _event(self, i: int) -> tuple[str, bytes]:
        workflow = f"workflow-{min(int(self._random.paretovariate(0.9)), WORKFLOWS) - 1:02d}"
        nanos = self._random.randrange(1, 50_000_000)
        self._sums[workflow][0] += 1
        self._sums[workflow][1] += nanos
        return workflow, orjson.dumps(
            {
                "event_id": f"call-{i}",
                "occurred_at": round(time.time(), 3),
                "provider": "openai",
                "model": "gpt-4o-mini",
                "workflow": workflow,
                "trace_id": f"run-{i // 5}",
                "customer": f"customer-{i % 50}",
                "input_tokens": self._random.randrange(1, 5_000),
                "output_tokens": self._random.randrange(1, 900),
                "cost_usd": f"{nanos // 10**9}.{nanos % 10**9:09d}",
            }
        )


async def _prepared(broker: EmbeddedBroker, prefix: str) -> Settings:
    settings = Settings(kafka=KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=prefix))
    await create_topics(settings)
    return settings


async def _killing(victim: RoleProcess, kills: int, over_s: float, seed: int) -> None:
    """Kill at random moments, and start again after a moment, `kills` times within `over_s` seconds."""
    chance = random.Random(seed)
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0.4, 1.0) * over_s / kills)
        victim.kill()
        await asyncio.sleep(chance.uniform(0.0, 0.5))
        victim.start()


def _require_apache(broker: EmbeddedBroker) -> None:
    if not broker.name.startswith("Apache"):
        pytest.skip(f"{broker.name} never evicts a killed member: this protocol needs Apache Kafka")


async def test_totals_are_exact_after_kills_of_every_stage(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    _require_apache(broker)
    settings = await _prepared(broker, topic_prefix)
    env = environment(broker.bootstrap, topic_prefix)
    over_s = 75.0
    publisher = Publisher(settings, EVENTS, over_s * 0.8, seed=20)
    ingest = RoleProcess("ingest", env, tmp_path / "ingest.log")
    detect = RoleProcess("detect", env, tmp_path / "detect.log")
    second = RoleProcess("detect", env, tmp_path / "second.log")

    async def visit() -> None:
        await asyncio.sleep(over_s * 0.25)
        second.start()
        await asyncio.sleep(over_s * 0.35)
        assert second.stop() == 0, second.tail()

    def alive() -> None:
        for role in (ingest, detect):
            assert role.returncode is None, f"{role.role} ended with {role.returncode}:\n{role.tail()}"

    with ingest, detect, second.ended_with_this():
        async with DurableState(broker.bootstrap, settings.kafka.topic(WORKFLOW_STATE)) as state:
            async with asyncio.TaskGroup() as group:
                group.create_task(publisher.run())
                group.create_task(_killing(ingest, KILLS, over_s, seed=1))
                group.create_task(_killing(detect, KILLS + 1, over_s, seed=2))
                group.create_task(visit())
            expected = publisher.expected
            found = await state.until(lambda sums: sums == expected, 240.0, alive)
            assert found == expected, _difference(found, expected)
            # What is still on its way must not add to what is complete.
            assert await state.sums(for_s=5.0) == expected
        assert ingest.kills >= KILLS
        assert detect.kills >= KILLS


async def test_without_the_offset_guard_spend_is_counted_twice(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    _require_apache(broker)
    settings = await _prepared(broker, topic_prefix)
    env = environment(broker.bootstrap, topic_prefix)
    publisher = Publisher(settings, 20_000, 12.0, seed=21)
    ingest = RoleProcess("ingest", env, tmp_path / "ingest.log")
    detect = RoleProcess("detect", env, tmp_path / "detect.log", command=UNGUARDED)
    with ingest, detect:
        async with DurableState(broker.bootstrap, settings.kafka.topic(WORKFLOW_STATE)) as state:
            publishing = asyncio.create_task(publisher.run())
            counted = 0
            for _ in range(3):
                # Killed in the midst of it: the last seconds are counted, and not committed yet.
                await _until_more(state, counted)
                detect.kill()
                counted = _nanos(await state.sums())
                detect.start()
            await publishing
            assert await _until_more(state, _nanos(publisher.expected))


async def _until_more(state: DurableState, nanos: int) -> bool:
    return _nanos(await state.until(lambda sums: _nanos(sums) > nanos, PATIENCE_S)) > nanos


def _nanos(sums: Sums) -> int:
    return sum(cost for _, cost in sums.values())


def _difference(found: Sums, expected: Sums) -> str:
    lines = [
        f"{w}: {found.get(w)} instead of {expected.get(w)}"
        for w in sorted(found.keys() | expected.keys())
        if found.get(w) != expected.get(w)
    ]
    return "\n".join(lines[:20])
