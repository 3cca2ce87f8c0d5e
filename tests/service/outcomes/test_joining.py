"""What is read of the two topics becomes what is written, all of it in one transaction."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from schemas.dead_letters import DeadLetter
from schemas.outcomes import OutcomeRollup, TraceCosts
from schemas.reasons import Reason, Refused
from schemas.topics import OUTCOMES, TRACE_COSTS
from service.kafka import TopicPartition
from service.kafka.lane import Lane, LaneLost, Send
from service.outcomes import progress as progresses
from service.outcomes.entry import TraceCost, read
from service.outcomes.join import Join
from service.outcomes.joining import Joining
from service.outcomes.progress import Progress, Source
from service.outcomes.trace import MAX_OUTCOMES
from service.runtime.clock import ManualClock
from service.settings import Settings

T0 = datetime(2026, 3, 2, 12, tzinfo=UTC)
USD = 10**9
REACHED, COSTS = TopicPartition("tidegate.outcomes", 0), TopicPartition("tidegate.trace-costs", 0)
SOURCES: dict[TopicPartition, Source] = {REACHED: (OUTCOMES.name, 0), COSTS: (TRACE_COSTS.name, 0)}


class Topics:
    """Two partitions, read some records at a time."""

    def __init__(self) -> None:
        self.waiting: dict[TopicPartition, deque[Any]] = {REACHED: deque(), COSTS: deque()}
        self.at = {REACHED: 0, COSTS: 0}
        self.end = {REACHED: 0, COSTS: 0}
        self.paused: set[TopicPartition] = set()
        self.partitions = 1
        self.at_once = 1

    def put(self, source: TopicPartition, value: bytes | dict[str, Any], when: datetime = T0) -> None:
        self.waiting[source].append(
            SimpleNamespace(
                topic=source.topic,
                offset=self.end[source],
                timestamp=round(when.timestamp() * 1_000),
                key=b"k",
                value=value if isinstance(value, bytes) else orjson.dumps(value),
                headers=(),
            )
        )
        self.end[source] += 1

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        found = {}
        for source, waiting in self.waiting.items():
            if waiting and source not in self.paused:
                found[source] = [waiting.popleft() for _ in range(min(self.at_once, len(waiting)))]
                self.at[source] += len(found[source])
        return found

    async def position(self, source: TopicPartition) -> int:
        return self.at[source]

    def last_stable_offset(self, source: TopicPartition) -> int:
        return self.end[source]

    def partitions_for_topic(self, _: str) -> set[int]:
        return set(range(self.partitions))

    def pause(self, *sources: TopicPartition) -> None:
        self.paused |= set(sources)

    def resume(self, *sources: TopicPartition) -> None:
        self.paused -= set(sources)


class Written:
    def __init__(self) -> None:
        self.commits: list[list[Send]] = []

    async def commit(self, sends: Any, next_offset: int | None) -> None:
        assert next_offset is None
        self.commits.append(list(sends))

    def of(self, topic: str) -> list[Send]:
        return [send for commit in self.commits for send in commit if send.topic == f"tidegate.{topic}"]


class Bench:
    def __init__(self) -> None:
        self.topics, self.written, self.clock = Topics(), Written(), ManualClock(T0)
        self.progress = Progress({OUTCOMES.name: {0: 0}, TRACE_COSTS.name: {0: 0}})
        self.joining = Joining(
            Settings(),
            self.topics,
            SOURCES,
            Join({}, 1_000),
            self.progress,
            cast(Lane, self.written),
            self.clock,
        )

    async def turns(self, count: int = 1) -> None:
        for _ in range(count):
            await self.joining.turn()
            self.clock.advance(1.0)


def costs(trace: str = "t", nanos: int = USD, **more: Any) -> dict[str, Any]:
    return {
        "workflow": "support",
        "bucket_start": T0.isoformat(),
        "source": {"partition": 0, "first_offset": 1, "last_offset": 2},
        "traces": [{"trace_id": trace, "cost_nanos": nanos, "calls": 1, **more}],
    }


def reached(number: int = 1, trace: str = "t", at: datetime = T0) -> dict[str, Any]:
    return {"outcome_id": f"o-{number}", "occurred_at": at.isoformat(), "trace_id": trace, "kind": "solved"}


async def test_what_was_read_is_written_with_how_far_it_was_read() -> None:
    bench = Bench()
    bench.topics.put(COSTS, costs())
    bench.topics.put(REACHED, reached())
    await bench.turns()
    (commit,) = bench.written.commits
    assert [send.topic.removeprefix("tidegate.") for send in commit] == [
        "rollups",
        "outcome-traces",
        "outcome-traces",
    ]
    rollup, trace, progress = commit
    told = OutcomeRollup.from_json(rollup.value or b"")
    assert (rollup.key, told.outcomes, told.cost_nanos) == (b"support", 1, USD)
    assert (trace.key, progress.key) == (b"trace/t", b"progress")
    assert progresses.load(progress.value or b"").positions == {"outcomes": {0: 1}, "trace-costs": {0: 1}}


async def test_where_nothing_came_nothing_is_written() -> None:
    bench = Bench()
    await bench.turns(3)
    assert bench.written.commits == []


async def test_an_outcome_that_cannot_be_counted_is_kept_as_a_dead_letter() -> None:
    bench = Bench()
    bench.topics.put(REACHED, b"{")
    bench.topics.put(REACHED, reached(at=T0 + timedelta(hours=1)))
    for number in range(MAX_OUTCOMES + 1):
        bench.topics.put(REACHED, reached(number))
    bench.topics.at_once = 400
    await bench.turns(5)
    letters = [DeadLetter.from_json(send.value or b"") for send in bench.written.of("dead-letters")]
    assert [letter.reason for letter in letters] == [
        Reason.INVALID_JSON,
        Reason.IN_THE_FUTURE,
        Reason.OUT_OF_RANGE,
    ]
    assert letters[1].origin.topic == "tidegate.outcomes"
    assert letters[1].value == orjson.dumps(reached(at=T0 + timedelta(hours=1)))
    rollups = [OutcomeRollup.from_json(send.value or b"") for send in bench.written.of("rollups")]
    assert sum(rollup.outcomes for rollup in rollups) == MAX_OUTCOMES


async def test_a_record_without_a_time_is_as_good_as_any() -> None:
    bench = Bench()
    bench.topics.put(REACHED, reached(), datetime.fromtimestamp(-0.001, UTC))
    await bench.turns(2)
    bench.topics.put(COSTS, costs())
    await bench.turns(2)
    assert bench.written.of("dead-letters") == []
    rollups = [OutcomeRollup.from_json(send.value or b"") for send in bench.written.of("rollups")]
    assert [rollup.cost_nanos for rollup in rollups if rollup.workflow == "support"] == [USD]
    await bench.turns(3)
    assert [send for send in bench.written.of("outcome-traces") if send.value is None] == []


async def test_after_an_outage_no_trace_expires_before_its_outcome_is_read() -> None:
    bench = Bench()
    long_ago = T0 - timedelta(days=4)
    for hour in range(90):
        bench.topics.put(COSTS, costs(f"t-{hour}"), long_ago + timedelta(hours=hour))
    for hour in range(90):
        at = long_ago + timedelta(hours=hour + 1)
        bench.topics.put(REACHED, reached(hour, f"t-{hour}", at), at)
    await bench.turns(400)
    rollups = [OutcomeRollup.from_json(send.value or b"") for send in bench.written.of("rollups")]
    assert sum(rollup.outcomes for rollup in rollups) == 90
    assert sum(rollup.unmatched for rollup in rollups) == 0
    assert sum(rollup.cost_nanos for rollup in rollups) == 90 * USD
    tombstones = [send.key for send in bench.written.of("outcome-traces") if send.value is None]
    assert b"trace/t-0" in tombstones
    assert b"trace/t-89" not in tombstones
    assert bench.progress.now == pytest.approx(bench.clock.now().timestamp(), abs=2.0)


async def test_a_topic_that_grew_is_begun_again() -> None:
    bench = Bench()
    bench.topics.partitions = 2
    with pytest.raises(LaneLost, match="has 2 partitions now"):
        await bench.turns()


def test_what_ingest_tells_of_traces_is_read_and_nothing_else() -> None:
    written = TraceCosts.model_validate_json(orjson.dumps(costs(unpriced_calls=1))).to_json()
    assert read(written) == ("support", [TraceCost("t", USD, 1, 1)])
    for value in (None, b"", b"{}", b'{"workflow":"w","traces":[{"trace_id":"t"}]}', b"\xff"):
        with pytest.raises(Refused):
            read(value)
