"""Which event ids were seen of late: bounded, and the same answers again after a crash."""

from __future__ import annotations

from array import array
from typing import Final

BYTES_PER_ID: Final = 240
"""Memory bound of `SeenIds`, bytes per offset of the window (about 180 at rest); held by a test."""
_60_BITS: Final = (1 << 60) - 1


class SeenIds:
    """The ids seen within the last `window` offsets of one partition.

    An id is a duplicate exactly when a record with the same id lies at most `window` offsets before it,
    whether that record was counted or was itself a duplicate. So the answer is a function of the log alone:
    whoever reads the `window` offsets before a position gives the same answers from there on. (Had only
    *counted* ids been remembered, it would depend on records further back than anybody reads again.)

    Ids are kept as 60 bits of Python's own string hash (SipHash; 60 bits fill an int of 32 bytes). It is
    salted per process, which is fine since the window is rebuilt from the log when a partition changes hands,
    and better than a stable hash: nobody can make two ids that collide. By accident one event in 1e13 is taken
    for a duplicate at the default window.

    Costs about half a microsecond per id, and `BYTES_PER_ID` at most.
    """

    __slots__ = ("_last", "_next", "_ring", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self._last: dict[int, int] = {}  # digest -> offset of its latest sighting
        self._ring = array("q", bytes(8 * window))  # digest by offset modulo window: what to forget next
        self._next = 0

    def __len__(self) -> int:
        return len(self._last)

    def see(self, event_id: str, offset: int) -> bool:
        """Remember a sighting; whether the id had been seen within the window.

        Raises
        ------
        ValueError
            Offsets must grow: an offset that comes again would make its own record a duplicate.
        """
        if offset < self._next:
            raise ValueError(f"offset {offset} after {self._next - 1}")
        self._next = offset + 1
        window = self.window
        if not window:
            return False
        last = self._last
        digest = hash(event_id) & _60_BITS
        seen = offset - last.get(digest, -window - 1) <= window
        # The slot's former digest is forgotten, unless it was seen again since. Holes in the offsets leave some
        # digests longer than the window; the comparison above does not mind, and there are never more than slots.
        slot = offset % window
        former = self._ring[slot]
        if last.get(former, offset) <= offset - window:
            del last[former]
        self._ring[slot] = digest
        last[digest] = offset
        return seen
