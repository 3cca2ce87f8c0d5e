"""A desk applies each record once, in any number of attempts, and wakes workflows whose time has come."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rollups import Rollup, Tick
from service.detect.desk import Applied, Desk
from service.detect.state import WorkflowState, decode, encode
from service.detect.step import NEVER, due
from service.detect.watermarks import Watermarks
from service.rules.config import ConfigBook
from service.rules.watermark import SILENT_S
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, Traffic, at, rollup, tick

OFF = BOOK.apply("switch/throttles", b'{"kind":"switch","name":"throttles","state":"off"}', 7)


class Office:
    """A desk with its table: keeps encoded states, as a changelog would."""

    def __init__(self, partition: int = 0) -> None:
        self.table: dict[str, bytes] = {}
        self.desk = Desk(partition, self.lookup)
        self.offset = 0
        self.told: list[Any] = []

    def lookup(self, workflow: str) -> WorkflowState | None:
        data = self.table.get(workflow)
        return None if data is None else decode(data)

    def apply(
        self, record: Rollup | Tick, offset: int | None = None, book: ConfigBook = BOOK, now: float = 0.0
    ) -> Applied:
        if offset is None:
            offset, self.offset = self.offset, self.offset + 1
        applied = self.desk.apply(record, offset, now, book)
        self.table.update({name: encode(state) for name, state in applied.changed.items()})
        self.told += applied.effects.alerts
        return applied

    def restart(self) -> None:
        self.desk = Desk(self.desk.partition, self.lookup)
        self.desk.adopt([decode(data) for data in self.table.values()], BOOK)

    def spent(self) -> dict[str, int]:
        return {name: decode(data).totals.cost for name, data in sorted(self.table.items())}


def stream(seed: int, buckets: int) -> list[Rollup | Tick]:
    """Records of three workflows and the ticks between them."""
    flows = [Traffic(starts=1.0, seed=seed + i, workflow=f"w{i}", deltas=1) for i in range(3)]
    found: list[Rollup | Tick] = []
    for i in range(buckets):
        for flow in flows:
            doings = flow.bucket()
            if doings:
                found.append(rollup(T0 + i * BUCKET, doings, workflow=flow.workflow))
        found.append(tick(T0 + i * BUCKET + 5.0))
    return found


STREAM = stream(3, 30)
ONCE = Office()
for _record in STREAM:
    ONCE.apply(_record)
EXACT: dict[str, int] = {}
for _record in STREAM:
    if isinstance(_record, Rollup):
        EXACT[_record.workflow] = EXACT.get(_record.workflow, 0) + _record.cost_nanos


@settings(deadline=None, max_examples=settings().max_examples // 3)
@given(st.lists(st.tuples(st.integers(0, len(STREAM) - 1), st.integers(0, 60), st.booleans()), max_size=4))
def test_replaying_any_suffix_again_leaves_the_totals_exact(crashes: list[tuple[int, int, bool]]) -> None:
    """At some records the worker dies, and its successor reads some of the last ones again."""
    office = Office()
    planned = {when: (back, fresh) for when, back, fresh in crashes}
    position, furthest = 0, -1
    while position < len(STREAM):
        applied = office.apply(STREAM[position], offset=position)
        if isinstance(STREAM[position], Rollup):
            assert applied.skipped == (position <= furthest)
            assert set(applied.changed) == {STREAM[position].workflow}, "set again, for the changelog"  # type: ignore[union-attr]
            if applied.skipped:
                assert not applied.effects
        furthest = max(furthest, position)
        if position in planned:
            back, fresh = planned.pop(position)
            position = max(0, position - back)
            if fresh:
                office.restart()
        else:
            position += 1
    assert office.spent() == EXACT
    for name, data in office.table.items():
        assert decode(data).totals == decode(ONCE.table[name]).totals


def test_without_the_guard_it_would_count_twice() -> None:
    office = Office()
    record = rollup(T0, [Doing("a", 1, 5)])
    office.apply(record, offset=4)
    office.apply(record, offset=5)
    assert office.spent() == {"support-agent": 10}
    assert office.apply(record, offset=5).skipped
    assert office.apply(record, offset=0).skipped
    assert office.spent() == {"support-agent": 10}


def test_the_guard_is_per_partition_and_forgets_none() -> None:
    """After partitions were added a workflow's records come from another one; the old ones may come again."""
    office = Office(partition=2)
    office.apply(rollup(T0, [Doing("a", 1, 5)]), offset=900)
    other = Desk(5, office.lookup)
    applied = other.apply(rollup(T0, [Doing("a", 1, 7)]), 3, 0.0, BOOK)
    assert not applied.skipped
    office.table = {name: encode(state) for name, state in applied.changed.items()}
    assert office.apply(rollup(T0, [Doing("a", 1, 5)]), offset=900).skipped
    assert office.spent() == {"support-agent": 12}


def test_a_tick_closes_the_buckets_whose_time_has_come() -> None:
    office = Office()
    office.apply(rollup(T0, [Doing("a")]))
    assert office.apply(tick(T0 + 9.9)).changed == {}
    changed = office.apply(tick(T0 + 10.0)).changed
    assert [b.closed for b in changed["support-agent"].buckets] == [True]
    assert office.apply(tick(T0 + 11.0)).changed == {}, "nothing waits"


def test_a_tick_wakes_only_the_workflows_that_wait() -> None:
    office = Office()
    office.apply(rollup(T0, [Doing("a")], workflow="early"))
    office.apply(rollup(T0 + 5 * BUCKET, [Doing("a")], workflow="late"))
    assert set(office.apply(tick(T0 + 20.0)).changed) == {"early"}
    assert set(office.apply(tick(T0 + 60.0)).changed) == {"late"}


def test_an_incident_of_a_workflow_that_fell_silent_is_resolved_by_time() -> None:
    office = Office()
    flow = Traffic()
    for i in range(200):
        office.apply(rollup(T0 + i * BUCKET, flow.bucket()))
        office.apply(tick(T0 + i * BUCKET + 5.0))
    now = T0 + 200 * BUCKET
    office.apply(rollup(now, [Doing("loop", 500, 50_000_000_000, 9_000)]))
    fired = [alert for alert in office.told if alert.status == "firing"]
    assert len(fired) == 1
    for seconds in range(0, 700, 5):
        office.apply(tick(now + seconds))
    statuses = [a.status for a in office.told]
    assert statuses[-1] == "resolved"
    assert statuses.count("resolved") == 1
    assert decode(office.table["support-agent"]).incidents == {}


def test_a_desk_that_takes_over_wakes_what_its_predecessor_left_waiting() -> None:
    office = Office()
    office.apply(rollup(T0, [Doing("a")]))
    office.restart()
    assert set(office.apply(tick(T0 + 10.0)).changed) == {"support-agent"}


def test_a_desk_leaves_alone_what_came_from_other_partitions() -> None:
    office = Office(partition=1)
    office.apply(rollup(T0, [Doing("a")]))
    desk = Desk(0, office.lookup)
    desk.adopt([decode(data) for data in office.table.values()], BOOK)
    assert desk.apply(tick(T0 + 1_000.0), 0, 0.0, BOOK).changed == {}


@settings(deadline=None, max_examples=settings().max_examples // 3)
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.integers(0, 400)), min_size=1, max_size=30))
def test_an_alarm_never_rings_in_vain_for_ever(steps: list[tuple[int, bool, int]]) -> None:
    """Once time has passed a workflow's due moment, it is due later or never: no tick wakes it for nothing."""
    office = Office()
    now = float(T0)
    for gap, dear, wait in steps:
        start = int(now) // BUCKET * BUCKET + gap * BUCKET
        cost = 30_000_000_000 if dear else 1_000_000
        office.apply(rollup(start, [Doing(f"t{gap}", 9, cost)]))
        now = max(now, float(start)) + wait
        office.apply(tick(now))
        for data in office.table.values():
            at_ = due(decode(data), BOOK)
            assert at_ == NEVER or at_ > office.desk.watermarks.now
        assert not office.apply(tick(now + 0.0)).changed


def test_alarms_do_not_pile_up() -> None:
    office = Office()
    flow = Traffic(deltas=1)
    for i in range(500):
        office.apply(rollup(T0 + i * BUCKET, flow.bucket() or [Doing("x")]))
        office.apply(tick(T0 + i * BUCKET + 5.0))
    assert len(office.desk._alarms) < 50
    for i in range(500):
        office.apply(rollup(T0 + (500 + i) * BUCKET, flow.bucket() or [Doing("x")]))  # no tick any more
    assert len(office.desk._alarms) < 50


class Clocked:
    """Watermarks fed with ticks at given broker times."""

    def __init__(self) -> None:
        self.marks = Watermarks()

    def hear(
        self, partition: int, watermark: float, heard: float, *, of: int = 2, idle: bool = False
    ) -> float | None:
        record = tick(T0 + watermark, partition=partition, partitions=of, idle=idle)
        moved = self.marks.observe(record, T0 + heard)
        return None if moved is None else moved - T0


def test_the_slowest_source_holds_time_back() -> None:
    clock = Clocked()
    assert clock.hear(0, 100, 0) is None, "the other has not been heard of"
    assert clock.hear(1, 50, 1) == 50
    assert clock.hear(0, 200, 2) is None
    assert clock.hear(1, 120, 3) == 120


def test_an_idle_source_holds_nobody_back() -> None:
    clock = Clocked()
    clock.hear(0, 100, 0)
    assert clock.hear(1, 10, 1, idle=True) == 100
    assert clock.hear(0, 130, 2) == 130
    assert clock.hear(1, 90, 3) is None, "back at work, and behind: time waits"
    assert clock.hear(0, 150, 4) is None
    assert clock.hear(1, 160, 5) == 150


def test_when_all_are_idle_time_goes_by_the_latest() -> None:
    clock = Clocked()
    clock.hear(0, 100, 0, idle=True)
    assert clock.hear(1, 140, 1, idle=True) == 140
    assert clock.hear(0, 150, 2, idle=True) == 150


def test_a_source_that_never_ticks_is_waited_for_and_then_given_up() -> None:
    clock = Clocked()
    assert clock.hear(0, 100, 0) is None
    assert clock.hear(0, 150, SILENT_S - 1) is None
    assert clock.hear(0, 160, SILENT_S) == 160


def test_a_source_that_fell_silent_is_given_up() -> None:
    clock = Clocked()
    clock.hear(1, 50, 0)
    assert clock.hear(0, 100, 1) == 50
    assert clock.hear(0, 300, SILENT_S - 1) is None
    assert clock.hear(0, 310, SILENT_S) == 310


def test_time_never_goes_back_when_a_source_returns() -> None:
    clock = Clocked()
    clock.hear(1, 50, 0)
    clock.hear(0, 400, 1)
    clock.hear(0, 410, SILENT_S + 1)
    assert clock.marks.now == T0 + 410
    assert clock.hear(1, 60, SILENT_S + 2) is None
    assert clock.marks.now == T0 + 410


def test_reading_the_same_ticks_again_gives_the_same_answers() -> None:
    heard = [(0, 10, 0), (1, 20, 1), (0, 30, 70), (1, 25, 71), (0, 90, 140)]
    one, other = Clocked(), Clocked()
    assert [one.hear(*h) for h in heard] == [other.hear(*h) for h in heard]


def test_times_of_the_builders_are_what_they_say() -> None:
    assert isinstance(at(T0), datetime)
    assert at(T0).isoformat() == "2026-01-01T00:00:00+00:00"
