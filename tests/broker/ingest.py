"""Ingest on a real broker: topics, published events, worker processes, and what came of it."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas.dead_letters import DeadLetter
from schemas.rollups import Rollup, Tick
from schemas.topics import CONFIG, CONFIG_REJECTIONS, COST_EVENTS, DEAD_LETTERS, ROLLUPS, TRACE_COSTS
from service.kafka.embedded.broker import EmbeddedBroker
from service.kafka.stable_offsets import committed
from service.settings import Settings
from tests.support.broker import create_topics, partitions, read_all
from tests.support.patience import PATIENCE_S

T0_S = 1_769_851_800.0
SESSION_S = 6.0
"""The least that Kafka allows by default."""


@dataclass
class Published:
    """What was sent, and what ingest must make of it."""

    calls: Counter[str] = field(default_factory=Counter)
    cost_nanos: Counter[str] = field(default_factory=Counter)
    records: list[tuple[int, bytes]] = field(default_factory=list)  # (partition, value)
    duplicates: int = 0
    bad: int = 0


def events(
    count: int, *, lanes: int = 4, duplicates: float = 0.0, bad: float = 0.0, seed: int = 1
) -> Published:
    """Events of 20 workflows, each on one partition, with some sent twice and some that cannot be read."""
    chance = random.Random(seed)
    made = Published()
    recent: dict[int, list[bytes]] = {p: [] for p in range(lanes)}
    for i in range(count):
        number = chance.randrange(20)
        partition = number % lanes
        roll = chance.random()
        if roll < bad:
            made.records.append((partition, b'{"event_id": "bad-%d", "input_tokens": -1}' % i))
            made.bad += 1
            continue
        if roll < bad + duplicates and recent[partition]:
            made.records.append((partition, chance.choice(recent[partition])))
            made.duplicates += 1
            continue
        workflow, nanos = f"workflow-{number:02d}", chance.randrange(1, 10**9)
        value = orjson.dumps(
            {
                "event_id": f"e-{seed}-{i}",
                "occurred_at": T0_S + i / 200,
                "provider": "openai",
                "model": "gpt-4o",
                "workflow": workflow,
                "trace_id": f"t-{i // 5}",
                "customer": f"c-{i % 7}",
                "input_tokens": 100,
                "output_tokens": 10,
                "cost_usd": f"0.{nanos:09d}",
            }
        )
        made.records.append((partition, value))
        made.calls[workflow] += 1
        made.cost_nanos[workflow] += nanos
        recent[partition] = [*recent[partition][-50:], value]
    return made


@dataclass
class Installation:
    """Topics and settings of one test."""

    bootstrap: str
    prefix: str
    folder: Path
    overrides: dict[str, Any]

    @property
    def settings(self) -> Settings:
        return Settings(**self._given())

    def _given(self) -> dict[str, Any]:
        return {
            "kafka": {"bootstrap_servers": self.bootstrap, "topic_prefix": self.prefix},
            "ingest": {"group_id": f"{self.prefix}ingest", "commit_interval_ms": 50, **self.overrides},
            "health": {"port": -1},
        }

    def topic(self, name: Any) -> str:
        return f"{self.prefix}{name.name}"

    async def create(self, lanes: int = 4) -> None:
        volume = {self.topic(COST_EVENTS): lanes, self.topic(ROLLUPS): lanes}
        single = {self.topic(t): 1 for t in (DEAD_LETTERS, CONFIG_REJECTIONS, TRACE_COSTS)}
        await create_topics(self.bootstrap, volume | single)
        await create_topics(self.bootstrap, {self.topic(CONFIG): 1}, {"cleanup.policy": "compact"})

    async def publish(self, records: Sequence[tuple[int, bytes]], **options: Any) -> None:
        """Send records to their partitions of cost-events and wait for all."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, **{"linger_ms": 5, "max_batch_size": 65_536, **options}
        )
        async with producer:
            topic = self.topic(COST_EVENTS)
            await asyncio.gather(
                *[await producer.send(topic, value, partition=partition) for partition, value in records]
            )

    def start(self, session_timeout_s: float = SESSION_S) -> Worker:
        """Another ingest process."""
        path = self.folder / "settings.json"
        given = self._given()
        given["kafka"]["session_timeout_s"] = session_timeout_s
        path.write_text(json.dumps(given))
        return Worker(path, self.folder)

    async def until_calls(self, count: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until so many calls are accounted for."""
        async with asyncio.timeout(timeout_s):
            while sum((await self.outcome()).calls().values()) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def until_ticks(self, *, idle: bool, sources: set[int], timeout_s: float = PATIENCE_S) -> None:
        """Wait until each source partition has ticked so."""
        async with asyncio.timeout(timeout_s):
            while {t.partition for _, t in (await self.outcome()).ticks if t.idle == idle} != sources:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def outcome(self) -> Outcome:
        rollups, ticks = [], []
        for record in await read_all(self.bootstrap, self.topic(ROLLUPS)):
            if b'"type":"scope"' in record.value:
                assert record.key == Rollup.from_json(record.value).key.encode()
            elif b'"type":"rollup"' in record.value:
                rollup = Rollup.from_json(record.value)
                assert record.key == rollup.workflow.encode()
                rollups.append((record.partition, rollup))
            else:
                ticks.append((record.partition, Tick.from_json(record.value)))
        letters = [
            DeadLetter.from_json(r.value) for r in await read_all(self.bootstrap, self.topic(DEAD_LETTERS))
        ]
        return Outcome(rollups, ticks, letters)

    async def lag(self) -> dict[int, int]:
        """Records of cost-events that are not committed, by partition; none where there are none at all."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=self.settings.ingest.group_id,
            enable_auto_commit=False,
        )
        sources = await partitions(self.bootstrap, self.topic(COST_EVENTS))
        await consumer.start()
        try:
            consumer.assign(sources)  # by hand: it reads the group's offsets and never joins
            ends = await consumer.end_offsets(sources)
            group = self.settings.ingest.group_id
            return {s.partition: ends[s] - (await committed(consumer, group, s) or 0) for s in sources}
        finally:
            await consumer.stop()

    async def until_read_up(self, *workers: Worker, timeout_s: float = PATIENCE_S) -> None:
        """Wait until everything published is committed, while at least one of the workers lives."""
        async with asyncio.timeout(timeout_s):
            while any((await self.lag()).values()):
                assert not workers or any(w.alive for w in workers), workers[0].log()
                await asyncio.sleep(0.1)


@dataclass
class Outcome:
    """Everything that is visible: rollups and ticks with the partition they lie on, and dead letters."""

    rollups: list[tuple[int, Rollup]]
    ticks: list[tuple[int, Tick]]
    dead_letters: list[DeadLetter]

    def calls(self) -> Counter[str]:
        return _sum((r.workflow, r.calls) for _, r in self.rollups)

    def cost_nanos(self) -> Counter[str]:
        return _sum((r.workflow, r.cost_nanos) for _, r in self.rollups)


def _sum(pairs: Iterable[tuple[str, int]]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for workflow, value in pairs:
        sums[workflow] += value
    return sums


class Worker:
    """One ingest process."""

    def __init__(self, settings: Path, folder: Path) -> None:
        self._log = folder / f"worker-{random.randrange(10**9)}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.broker.ingest_worker", str(settings)], stdout=log, stderr=log
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    async def ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit status."""
        async with asyncio.timeout(timeout_s):
            while self.alive:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return self._process.returncode

    async def said(self, text: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the log has `text`."""
        try:
            async with asyncio.timeout(timeout_s):
                while text not in self.log():
                    assert self.alive, self.log()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never said {text!r}:\n{self.log()}") from None

    def kill(self) -> None:
        if self.alive:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
        self._process.wait()


Install = Callable[..., Installation]
Start = Callable[..., Worker]


def ingest_fixtures() -> tuple[Any, Any]:
    """Fixtures `install(**ingest_settings)` and `start(installation)`; workers are killed in the end."""

    @pytest.fixture
    def install(broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path) -> Install:
        return lambda **overrides: Installation(broker.bootstrap, topic_prefix, tmp_path, overrides)

    @pytest.fixture
    def start() -> Iterator[Start]:
        started: list[Worker] = []

        def start(installation: Installation, **options: Any) -> Worker:
            started.append(installation.start(**options))
            return started[-1]

        yield start
        for worker in started:
            worker.kill()

    return install, start
