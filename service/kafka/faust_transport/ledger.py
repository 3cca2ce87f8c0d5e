"""Which offsets of one partition may be committed, by what was delivered and what was acknowledged."""

from __future__ import annotations

import math
from collections import deque


class PartitionLedger:
    """The records of one partition that were handed to the stream, in that order, and which of them are done.

    Faust keeps the acknowledged offsets and guesses the holes between them (transaction markers, aborted and
    compacted records): it takes the first record after a hole for a part of it and then never commits again,
    and it commits past a record still in hand (faust-streaming/faust#606). Here only what was delivered counts,
    so holes need no thought: the position is the first delivered record that is not done.

    A position is the offset of the next record to read, as Kafka commits it. Not thread safe.
    """

    __slots__ = ("_acknowledged_at", "_delivered_to", "_outstanding", "position")

    def __init__(self, position: int) -> None:
        """`position`: where reading starts. Everything below it counts as done."""
        self.position = position
        self._delivered_to = position
        self._outstanding: deque[int] = deque()
        self._acknowledged_at: dict[int, float] = {}

    @property
    def outstanding(self) -> int:
        """How many delivered records are not yet counted as done."""
        return len(self._outstanding)

    def deliver(self, offset: int) -> bool:
        """Note that the record at `offset` goes to the stream now.

        False, and nothing is noted, when it or a later one went before: it must then not be delivered again.
        """
        if offset < self._delivered_to:
            return False
        self._outstanding.append(offset)
        self._delivered_to = offset + 1
        return True

    def pass_to(self, position: int) -> None:
        """Note that every record below `position` was delivered, so that a hole at the end is passed too."""
        self._delivered_to = max(self._delivered_to, position)

    def acknowledge(self, offset: int, at: float) -> None:
        """Note that the record at `offset` was processed, seen at instant `at` (s). Others are ignored:
        acknowledgements of what an earlier assignment delivered may still arrive."""
        if offset >= self.position and offset < self._delivered_to:
            self._acknowledged_at.setdefault(offset, at)

    def committable(self, until: float = math.inf) -> int:
        """The position below which every record was acknowledged no later than instant `until` (s)."""
        outstanding, acknowledged_at = self._outstanding, self._acknowledged_at
        while outstanding:
            offset = outstanding[0]
            if acknowledged_at.get(offset, math.inf) > until or offset not in acknowledged_at:
                self.position = max(self.position, offset)
                return self.position
            outstanding.popleft()
            del acknowledged_at[offset]
        self.position = self._delivered_to
        return self.position
