"""Fetched records on their way to the stream, so that none is dropped or delivered after a later one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

Partition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Fetched:
    """One answer of the fetcher.

    `records`: consumer records by partition. `positions`: the offset up to which the partition has now been
    read. `marks`: names the stretch of reading the answer belongs to; a seek or an assignment begins a new one.
    `ends`: the offset after the last one on the broker, as far as the fetcher knows.
    """

    records: Mapping[Partition, list[Any]] = field(default_factory=dict)
    positions: Mapping[Partition, int] = field(default_factory=dict)
    marks: Mapping[Partition, Hashable] = field(default_factory=dict)
    ends: Mapping[Partition, int] = field(default_factory=dict)


class HeldRecords:
    """Records fetched and not yet delivered, in order, by partition.

    Faust drops what it has fetched and may not deliver at once (flow stopped, partition paused), though the
    fetcher has moved on: the next batch then follows with a gap. Here they wait, and only a seek or a new
    assignment, which place the fetcher elsewhere, throws them away.
    """

    def __init__(self, current_mark: Callable[[Partition], Hashable]) -> None:
        """`current_mark`: the mark a partition's reading has now."""
        self._current_mark = current_mark
        self._records: dict[Partition, deque[Any]] = {}
        self._marks: dict[Partition, Hashable] = {}
        self._positions: dict[Partition, int] = {}

    def add(self, fetched: Fetched) -> None:
        """Take an answer in; the parts of it that a seek has overtaken are left out."""
        for tp, position in fetched.positions.items():
            mark = fetched.marks[tp]
            if mark != self._current_mark(tp):
                continue
            if self._marks.get(tp) != mark:
                self._records[tp] = deque()
                self._marks[tp] = mark
            self._records[tp].extend(fetched.records.get(tp, ()))
            self._positions[tp] = position

    def is_current(self, tp: Partition) -> bool:
        """Whether what is held of `tp` is still what comes next there."""
        return tp in self._marks and self._marks[tp] == self._current_mark(tp)

    def waiting(self, deliverable: Callable[[Partition], bool]) -> dict[Partition, list[Any]]:
        """A snapshot of what may be delivered now: partitions with records, current, and `deliverable`."""
        return {
            tp: list(records)
            for tp, records in self._records.items()
            if records and deliverable(tp) and self.is_current(tp)
        }

    def take(self, tp: Partition) -> Any:
        """Remove and return the next record of `tp`. Raises IndexError when there is none."""
        return self._records[tp].popleft()

    def delivered_to(self, tp: Partition) -> int | None:
        """The position below which nothing of `tp` is held, as far as it was read; None when unknown."""
        if not self.is_current(tp):
            return None
        records = self._records[tp]
        return int(records[0].offset) if records else self._positions[tp]

    def partitions(self) -> list[Partition]:
        return list(self._marks)

    def clear(self) -> None:
        """Forget everything: the assignment has changed."""
        self._records.clear()
        self._marks.clear()
        self._positions.clear()
