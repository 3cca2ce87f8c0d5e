"""Which offsets may be committed: all below the oldest alert that somebody has still to be told of. Pure."""

from __future__ import annotations


class Offsets:
    """Unfinished alerts of one partition. They finish in any order; the commit follows the order they came in."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._open: dict[int, int] = {}  # in the order of begin, so the first is the lowest

    def begin(self, offset: int, parts: int) -> None:
        """An alert was read that has to reach `parts` receivers; 0 if none. Offsets grow and may have holes."""
        if self._next is not None and offset < self._next:
            raise ValueError(f"offset {offset} comes after {self._next - 1}")
        self._next = offset + 1
        if parts:
            self._open[offset] = parts

    def finish(self, offset: int) -> None:
        """One receiver has it, or it is parked, or need not be told."""
        left = self._open[offset] - 1
        if left:
            self._open[offset] = left
        else:
            del self._open[offset]

    @property
    def committable(self) -> int | None:
        """The offset to commit: where a successor must begin to read. None before the first alert."""
        return next(iter(self._open), self._next)

    def __len__(self) -> int:
        """Unfinished alerts."""
        return len(self._open)
