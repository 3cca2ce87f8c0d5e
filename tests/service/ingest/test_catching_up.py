"""After an outage hours of history are read in seconds; detect must learn from them what it would have live.

The loop is the real one, over a log and lanes in memory; what they write goes to real desks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from zlib import crc32

import pytest

from schemas.rollups import Tick
from service.detect.clerk import read_rollup
from service.ingest import stream as stream_module
from service.ingest.instant import EPOCH
from service.ingest.intake import Intake
from service.ingest.pace import LIVE_S, STEP_S, Standing, limit, may_fold
from service.ingest.scopes import Watching
from service.ingest.trace_costs import Joining
from service.kafka import TopicPartition
from service.kafka.lane import Opening, Send
from service.runtime.clock import SystemClock
from service.runtime.health import Health
from service.settings import IngestSettings, Settings
from tests.service.detect.builders import T0
from tests.service.ingest.backlog import HOMES, PRICER, UNEVEN, Stored, history, judged, learnt, live
from tests.support.patience import PATIENCE_S


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

    def ticks(self) -> list[Tick]:
        """Of the first home, in order."""
        return [t for value in self.homes[0] if isinstance(t := read_rollup(value), Tick)]


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
                assert send.value is not None
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
        Watching(),
        Joining(),
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
        # A tenth: what is over the usual is a difference of large numbers, and late events are judged in time here.
        assert learnt(state) == pytest.approx(learnt(other), rel=0.1, abs=0.05), name


async def test_partitions_that_catch_up_stay_within_a_few_minutes_of_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    partitions = history({0: (1.5, 1.0), 1: (0.1, 1.0), 2: (0.5, 1.0)})
    written = await drained(Log(partitions), monkeypatch)
    come: dict[int, float] = {}
    apart = 0.0
    for tick in written.ticks():
        assert tick.watermark.timestamp() >= come.get(tick.partition, 0.0)
        come[tick.partition] = tick.watermark.timestamp()
        if len(come) == 3:
            apart = max(apart, max(come.values()) - min(come.values()))
    # A batch on its way and the next, each with the last breath it took: fifty calls are minutes on the slow one.
    assert apart < 2 * STEP_S + 2 * 50 / 0.1
    # Between two ticks of a partition there is never more than a minute and a gap in its own calls.
    assert len(written.ticks()) > 3 * 170


async def test_a_partition_in_the_present_does_not_wait_for_one_that_catches_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = SystemClock().now().timestamp()
    partitions = history({0: (4.0, 1.0), 1: (0.02, 1.0)})
    shift = now - T0 - 60 * 180
    lively = [
        r._replace(value=r.value.replace(b'"occurred_at":', b'"occurred_at":%.3f,"was":' % (now - 1.0)))
        for r in partitions[1]
    ]
    assert shift > LIVE_S, "the history is history"
    log = Log({0: partitions[0], 1: lively})
    ends = {}
    async with reading(log, monkeypatch, max_batch_records=500) as written, asyncio.timeout(PATIENCE_S):
        while written.offsets.get(1) != len(lively):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        ends = dict(written.offsets)
    assert ends.get(0, 0) < len(partitions[0])


@pytest.mark.parametrize("ended", ["never had any", "hours ago"])
async def test_a_partition_known_to_be_silent_is_idle_at_once(
    monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    partitions = history({0: (1.0, 0.01), 1: (0.0 if ended == "never had any" else 1.0, 0.01)})
    async with (
        reading(Log(partitions), monkeypatch, idle_timeout_s=600.0) as written,
        asyncio.timeout(PATIENCE_S),
    ):
        while not any(tick.idle and tick.partition == 1 for tick in written.ticks()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    marks = [tick.watermark for tick in written.ticks() if tick.partition == 1]
    if ended == "never had any":
        assert marks == [EPOCH]
    else:
        assert max(marks) < EPOCH + timedelta(seconds=T0 + 120), "time does not leap to the present"


async def test_a_partition_that_was_written_to_just_now_is_not_idle_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = round(SystemClock().now().timestamp() * 1_000)
    partitions = history({0: (1.0, 0.01)})
    log = Log({0: [record._replace(timestamp=now) for record in partitions[0]]})
    async with reading(log, monkeypatch, idle_timeout_s=600.0) as written, asyncio.timeout(PATIENCE_S):
        while not written.ticks():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
    assert not any(tick.idle for tick in written.ticks())


def test_nobody_goes_far_beyond_whoever_is_waited_for() -> None:
    lanes = [Standing(1_000.0, True), Standing(400.0, False), Standing(1_500.0, True)]
    until = limit(lanes)
    assert until == 1_000.0 + STEP_S
    assert may_fold(1_000.0, until, 1e6)
    assert not may_fold(1_500.0, until, 1e6)
    assert may_fold(1_500.0, until, 1_500.0 + LIVE_S), "it is in the present"


def test_one_without_any_event_yet_goes_first() -> None:
    until = limit([Standing(float("-inf"), True), Standing(5.0, True)])
    assert may_fold(float("-inf"), until, 1e6)
    assert not may_fold(5.0, until, 1e6)


def test_with_nobody_to_wait_for_there_is_no_limit() -> None:
    assert limit([]) == limit([Standing(5.0, False)]) == float("inf")
