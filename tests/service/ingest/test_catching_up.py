"""After an outage hours of history are read in seconds; detect must learn from them what it would have live.

The loop is the real one, over a log and lanes in memory; what they write goes to real desks.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zlib import crc32

import orjson
import pytest

from schemas.rollups import Rollup, Tick
from service.detect.clerk import read_rollup
from service.detect.desk import Desk
from service.detect.state import WorkflowState
from service.ingest import stream as stream_module
from service.ingest.fold import Fold
from service.ingest.intake import Intake
from service.ingest.price import Pricer
from service.kafka import TopicPartition
from service.kafka.lane import Opening, Send
from service.runtime.clock import SystemClock
from service.runtime.health import Health
from service.settings import IngestSettings, Settings
from tests.service.detect.builders import BOOK, T0, at
from tests.support.patience import PATIENCE_S

PRICER = Pricer()
HOURS = 3
END = T0 + HOURS * 3_600
HOMES = 2
"""Partitions of the rollups topic."""


class Stored(NamedTuple):
    """A record as the Kafka client gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes
    headers: tuple[()] = ()


class Log:
    """A consumer over partitions in memory. Like aiokafka's it empties one partition before the next."""

    def __init__(self, partitions: dict[int, list[Stored]]) -> None:
        self.sources = {TopicPartition("cost-events", p): records for p, records in partitions.items()}
        self._at = dict.fromkeys(self.sources, 0)
        self._paused = set(self.sources)

    def subscribe(self, _topics: list[str], listener: Any) -> None:
        self._listener = listener

    async def assign(self) -> None:
        await self._listener.on_partitions_assigned(list(self.sources))

    def pause(self, *sources: TopicPartition) -> None:
        self._paused |= set(sources)

    def resume(self, *sources: TopicPartition) -> None:
        self._paused -= set(sources)

    def partitions_for_topic(self, _topic: str) -> set[int]:
        return {source.partition for source in self.sources}

    def highwater(self, source: TopicPartition) -> int:
        return len(self.sources[source])

    last_stable_offset = highwater

    async def position(self, source: TopicPartition) -> int:
        return self._at[source]

    async def getmany(
        self, *sources: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Stored]]:
        found: dict[TopicPartition, list[Stored]] = {}
        for source in sources or self.sources:
            if source in self._paused or not max_records:
                continue
            begin = self._at[source]
            if taken := self.sources[source][begin : begin + max_records]:
                found[source] = taken
                self._at[source] += len(taken)
                max_records -= len(taken)
        await asyncio.sleep(0 if found else timeout_ms / 1_000)
        return found


@dataclass
class Written:
    """What became visible, in order, on each partition of the rollups topic; and how it was committed."""

    homes: list[list[bytes]] = field(default_factory=lambda: [[] for _ in range(HOMES)])
    offsets: dict[int, int] = field(default_factory=dict)
    commits: int = 0

    def records(self) -> list[Rollup | Tick]:
        return [read_rollup(value) for home in self.homes for value in home]


def lanes(written: Written) -> type:
    """Lanes whose commits take a while and then are visible at once."""

    class Lane:
        def __init__(self, _kafka: Any, _group: str, source: TopicPartition, *, max_age_s: float) -> None:
            self.source = source

        async def open(self, _consumer: Any, _tail: Any) -> Opening:
            return Opening(0, 0)

        async def partitions(self, _topic: str) -> int:
            return HOMES

        async def commit(self, sends: Iterable[Send], next_offset: int | None) -> None:
            asked = list(sends)
            await asyncio.sleep(0.002 * (1 + self.source.partition))
            for send in asked:
                home = send.partition
                if home is None:
                    assert send.key is not None
                    home = crc32(send.key) % HOMES
                written.homes[home].append(send.value)
            if next_offset is not None:
                assert next_offset > written.offsets.get(self.source.partition, 0)
                written.offsets[self.source.partition] = next_offset
            written.commits += 1

        async def close(self) -> None: ...

    return Lane


@asynccontextmanager
async def reading(log: Log, monkeypatch: pytest.MonkeyPatch, **ingest: Any) -> AsyncIterator[Written]:
    """Ingest over the log, until the block ends."""
    written = Written()
    monkeypatch.setattr(stream_module, "Lane", lanes(written))
    settings, clock, stop = Settings(ingest=IngestSettings(**ingest)), SystemClock(), asyncio.Event()
    intake = Intake(
        settings,
        log,
        len(log.sources),
        PRICER,
        clock,
        Health("ingest", clock, 60.0),
        fenced_wait_s=0.0,
    )
    running = asyncio.create_task(intake.run(stop))
    await asyncio.sleep(0)
    await log.assign()
    try:
        yield written
    finally:
        stop.set()
        await running


async def drained(log: Log, monkeypatch: pytest.MonkeyPatch, **ingest: Any) -> Written:
    ends = {source.partition: len(records) for source, records in log.sources.items() if records}
    async with reading(log, monkeypatch, **ingest) as written, asyncio.timeout(PATIENCE_S):
        while written.offsets != ends:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return written


def history(rates: dict[int, tuple[float, float]], seed: int = 1) -> dict[int, list[Stored]]:
    """Hours of calls, in the order in which they were published: one in twenty is late by up to half a minute.

    Parameters
    ----------
    rates : dict
        Partition to calls a second, and the share of the hours after which there are no more.
    """
    dice = random.Random(seed)
    made: dict[int, list[Stored]] = {}
    for partition, (rate, share) in rates.items():
        calls: list[tuple[float, bytes]] = []
        for i in range(int(rate * HOURS * 3_600 * share)):
            happened = T0 + i / rate
            came = happened + dice.uniform(0.0, 2.0) + (dice.uniform(0, 30) if dice.random() < 0.05 else 0.0)
            calls.append((came, _call(partition, i, happened, dice)))
        calls.sort(key=lambda call: call[0])
        made[partition] = [
            Stored("cost-events", partition, offset, int(came * 1_000), 1, None, value)
            for offset, (came, value) in enumerate(calls)
        ]
    return made


def _call(partition: int, number: int, happened: float, dice: random.Random) -> bytes:
    event = {
        "event_id": f"{partition}-{number}",
        "occurred_at": happened,
        "provider": "openai",
        "model": "gpt-4o",
        "workflow": f"w{partition}-{number % 2}",
        "trace_id": f"t{partition}-{number // 6}-{number % 2}",
        "customer": f"c{number % 9}",
        "input_tokens": dice.randrange(500, 2_000),
        "output_tokens": dice.randrange(50, 400),
    }
    return orjson.dumps(event)


def judged(homes: list[list[bytes]], sources: int) -> dict[str, WorkflowState]:
    """The states after all of it, and after the minutes in which the last traces end."""
    states: dict[str, WorkflowState] = {}
    for home, values in enumerate(homes):
        desk = Desk(home, states.get)
        last = [Tick(partition=p, partitions=sources, watermark=at(END + 900.0)) for p in range(sources)]
        for offset, record in enumerate([*map(read_rollup, values), *last]):
            states |= desk.apply(record, offset, 0.0, BOOK).changed
    return states


def live(partitions: dict[int, list[Stored]], every_s: int) -> list[list[bytes]]:
    """What the same records would have become as they were published, with a commit every so many seconds."""
    homes: list[list[bytes]] = [[] for _ in range(HOMES)]
    folds = {p: Fold(p, len(partitions), IngestSettings(), PRICER) for p in partitions}
    cut = dict.fromkeys(partitions, 0)
    for now in range(T0 + every_s, END + 120, every_s):
        for p, records in partitions.items():
            end = bisect_left(records, now * 1_000, key=lambda r: r.timestamp)
            if end == cut[p]:
                folds[p].advance_idle(every_s)
            folds[p].take(records[cut[p] : end])
            cut[p] = end
            batch = folds[p].drain()
            for delta in batch.deltas:
                homes[crc32(delta.workflow.encode()) % HOMES].append(delta.to_json())
            if batch.tick is not None:
                for home in homes:
                    home.append(batch.tick.to_json())
    assert cut == {p: len(records) for p, records in partitions.items()}
    return homes


def learnt(state: WorkflowState) -> list[float]:
    """Every number that the detectors keep."""

    def numbers(plain: Any) -> Iterable[float]:
        if isinstance(plain, (list, tuple)):
            for part in plain:
                yield from numbers(part)
        elif isinstance(plain, (int, float)):
            yield float(plain)

    return list(numbers([detector.dump() for _, detector in sorted(state.detectors.items())]))


UNEVEN = {0: (2.0, 1.0), 1: (0.7, 1.0), 2: (0.2, 0.6), 3: (0.0, 0.0)}


@pytest.mark.parametrize("published", ["as it happened", "just now"])
async def test_hours_of_history_teach_what_they_would_have_taught_live(
    monkeypatch: pytest.MonkeyPatch, published: str
) -> None:
    partitions = history(UNEVEN)
    as_it_was = judged(live(partitions, 10), 4)
    if published == "just now":
        now = int(SystemClock().now().timestamp() * 1_000)
        partitions = {p: [r._replace(timestamp=now) for r in records] for p, records in partitions.items()}
    written = await drained(Log(partitions), monkeypatch, idle_timeout_s=0.5)
    states = judged(written.homes, 4)

    assert states.keys() == as_it_was.keys()
    for name, state in states.items():
        other = as_it_was[name]
        for which in ("calls", "cost", "input_tokens", "output_tokens"):
            assert getattr(state.totals, which) == getattr(other.totals, which)
        assert learnt(state) == pytest.approx(learnt(other), rel=0.05, abs=0.05), name
