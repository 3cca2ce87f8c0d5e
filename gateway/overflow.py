"""What waits in memory where there is no disk, or none that takes anything."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from gateway.spool import Entry, Position


class Overflow:
    """A bounded queue with the calls of a `Spool`. What is in it dies with the process."""

    def __init__(self, max_bytes: int) -> None:
        self.size_bytes = 0
        self.damaged = 0
        self._max_bytes = max_bytes
        self._waiting: deque[Entry] = deque()
        self._read = 0
        self._count = 0

    @property
    def read_up(self) -> bool:
        """Whether there is nothing more to read at present."""
        return self._read == len(self._waiting)

    @property
    def empty(self) -> bool:
        """Whether everything has been read, and acknowledged."""
        return not self._waiting

    def append(self, payloads: Sequence[bytes]) -> int:
        """Keep what there is room for, from the first on; returns how many."""
        taken = 0
        for payload in payloads:
            if self.size_bytes + len(payload) > self._max_bytes:
                break
            self.size_bytes += len(payload)
            self._count += 1
            taken += 1
            self._waiting.append(Entry(payload, Position(0, self._count)))
        return taken

    def read(self, max_bytes: int = 262_144) -> list[Entry]:
        """The next records, about `max_bytes` of them; none if there are none."""
        entries: list[Entry] = []
        while max_bytes > 0 and self._read < len(self._waiting):
            entries.append(self._waiting[self._read])
            self._read += 1
            max_bytes -= len(entries[-1].payload)
        return entries

    def acknowledge(self, position: Position) -> None:
        """Everything up to there is on the broker."""
        while self._waiting and self._waiting[0].after <= position:
            self.size_bytes -= len(self._waiting.popleft().payload)
            self._read -= 1

    def rewind(self) -> None:
        """Read again from what is not acknowledged."""
        self._read = 0

    def close(self) -> None:
        """Nothing to let go of."""
