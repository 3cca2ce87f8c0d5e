"""Fetched records wait in order until they may be delivered, and only a seek throws them away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from service.kafka.faust_transport.held import Fetched, HeldRecords, Partition

P0: Partition = ("events", 0)
P1: Partition = ("events", 1)


def fetched(mark: int, **offsets: Any) -> Fetched:
    batches = {P0: offsets.get("p0", []), P1: offsets.get("p1", [])}
    records = {tp: [SimpleNamespace(offset=o) for o in numbers] for tp, numbers in batches.items() if numbers}
    positions = {tp: batch[-1].offset + 1 for tp, batch in records.items()} | offsets.get("positions", {})
    return Fetched(records, positions, dict.fromkeys(positions, mark))


class Reading:
    """A reader whose mark the test moves."""

    def __init__(self) -> None:
        self.mark = 0
        self.held = HeldRecords(lambda tp: self.mark)

    def waiting(self, *tps: Partition) -> dict[Partition, list[int]]:
        ready = self.held.waiting(lambda tp: tp in tps)
        return {tp: [record.offset for record in records] for tp, records in ready.items()}


@pytest.fixture
def reading() -> Reading:
    return Reading()


def test_records_of_later_fetches_follow_those_still_held(reading: Reading) -> None:
    reading.held.add(fetched(0, p0=[1, 2]))
    reading.held.take(P0)
    reading.held.add(fetched(0, p0=[3], p1=[9]))
    assert reading.waiting(P0, P1) == {P0: [2, 3], P1: [9]}


def test_a_partition_that_may_not_be_delivered_keeps_its_records(reading: Reading) -> None:
    reading.held.add(fetched(0, p0=[1], p1=[9]))
    assert reading.waiting(P1) == {P1: [9]}
    assert reading.waiting(P0, P1) == {P0: [1], P1: [9]}


def test_a_seek_throws_away_what_was_fetched_before_it(reading: Reading) -> None:
    reading.held.add(fetched(0, p0=[1, 2]))
    reading.mark = 1
    assert (reading.waiting(P0), reading.held.is_current(P0), reading.held.delivered_to(P0)) == (
        {},
        False,
        None,
    )
    reading.held.add(fetched(0, p0=[3]))
    assert reading.waiting(P0) == {}
    reading.held.add(fetched(1, p0=[1]))
    assert reading.waiting(P0) == {P0: [1]}


def test_the_position_is_that_of_the_next_record_or_of_the_fetcher(reading: Reading) -> None:
    reading.held.add(fetched(0, p0=[4], positions={P0: 7}))
    assert reading.held.delivered_to(P0) == 4
    reading.held.take(P0)
    assert reading.held.delivered_to(P0) == 7
    assert reading.held.delivered_to(P1) is None


def test_a_new_assignment_forgets_everything(reading: Reading) -> None:
    reading.held.add(fetched(0, p0=[4]))
    reading.held.clear()
    assert (reading.waiting(P0), reading.held.is_current(P0)) == ({}, False)
