"""Which event ids were seen of late: bounded, and the same answers again after a crash."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

GENERATIONS: Final = 4
BYTES_PER_ID: Final = 15
"""Memory bound of `SeenIds`, bytes per offset of a window that is not tiny; held by a test."""

_SLOTS: Final = 16
"""Per bucket: two cache lines."""
_FULL: Final = 0.75
"""Mean share of its slots that a bucket uses at capacity. At this 2 % of the ids find theirs full and spill."""
_SPILL: Final = 0.05
_SMALLEST: Final = 64
_FEW: Final = 24
"""So many are added sooner one by one than by numpy, whose dozen calls take long for any number."""

_Hashes = npt.NDArray[np.uint64]
_Flags = npt.NDArray[np.bool_]


class SeenIds:
    """The ids seen within the last `window` offsets of one partition, and within a quarter of it before them.

    The offsets are cut into generations of a quarter of the window. An id is a duplicate exactly when a record
    with the same id lies in the same generation or one of the four before it, whether that record was counted or
    was itself a duplicate. So the answer is a function of the log alone: whoever reads the generations before a
    position gives the same answers from there on. (Had only *counted* ids been remembered, it would depend on
    records further back than anybody reads again.)

    Ids are kept as Python's own hash of strings (SipHash, 64 bits). It is salted per process, which is fine since
    the window is rebuilt from the log when a partition changes hands, and better than a stable hash: nobody can
    make two ids that collide. By accident one event in 1e13 is taken for a duplicate with a million ids.

    Costs about half a microsecond per id when asked for many at once, and `BYTES_PER_ID` at most. Pages of memory
    that no id fell on yet are not in use.
    """

    __slots__ = ("_generations", "_next", "_size", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self._size = max(-(-window // GENERATIONS), 1)
        self._generations: deque[tuple[int, _Hashed]] = deque()
        self._next = 0

    def tail(self, offset: int) -> int:
        """How many offsets before `offset` must be remembered to go on from there."""
        first = max(offset // self._size - GENERATIONS, 0) * self._size
        return offset - first if self.window else 0

    def see(self, event_ids: Sequence[str], offsets: Sequence[int]) -> list[bool]:
        """Remember sightings; for each whether its id had been seen within the window.

        Parameters
        ----------
        offsets : sequence of int
            As many as ids. They do not fall, and one record may have several ids.

        Raises
        ------
        ValueError
            An offset that comes again later would make its own record a duplicate.
        """
        if not event_ids:
            return []
        if offsets[0] < self._next:
            raise ValueError(f"offset {offsets[0]} after {self._next - 1}")
        self._next = offsets[-1] + 1
        if not self.window:
            return [False] * len(event_ids)
        hashes = np.fromiter(map(hash, event_ids), np.int64, len(event_ids)).view(np.uint64)
        hashes[hashes == 0] = 1  # which marks a free slot
        number, last = offsets[0] // self._size, offsets[-1] // self._size
        if number == last:
            return _flags(self._see(number, hashes))
        numbers = np.asarray(offsets, np.int64) // self._size
        found: list[bool] = []
        for number in np.unique(numbers).tolist():
            found += _flags(self._see(number, hashes[numbers == number]))
        return found

    def _see(self, number: int, hashes: _Hashes) -> _Flags:
        while self._generations and self._generations[0][0] < number - GENERATIONS:
            self._generations.popleft()
        if not self._generations or self._generations[-1][0] != number:
            self._generations.append((number, _Hashed(self._size)))
        newest = self._generations[-1][1]
        known = newest.has(hashes)
        seen = known.copy()
        for _, older in list(self._generations)[:-1]:
            seen |= older.has(hashes)
        if len(set(hashes.tolist())) == len(hashes):
            newest.add(hashes[~known])
            return seen
        fresh, firsts = np.unique(hashes, return_index=True)
        again = np.ones(len(hashes), np.bool_)
        again[firsts] = False
        newest.add(fresh[~known[firsts]])
        return seen | again


def _flags(found: _Flags) -> list[bool]:
    flags: list[bool] = found.tolist()
    return flags


class _Hashed:
    """A set of 64 bit hashes that are never 0, asked in bulk: buckets of slots, a smaller set for what spills."""

    __slots__ = ("_buckets", "_capacity", "_slots", "_spilled", "_used")

    def __init__(self, capacity: int) -> None:
        self._capacity = max(capacity, _SMALLEST)
        self._buckets = np.uint64(-(-self._capacity // int(_SLOTS * _FULL)))
        self._slots = np.zeros((int(self._buckets), _SLOTS), np.uint64)
        self._used = np.zeros(int(self._buckets), np.uint8)
        self._spilled: _Hashed | None = None

    def _bucket(self, hashes: _Hashes) -> npt.NDArray[np.intp]:
        # The upper half decides the bucket, spread evenly whatever their number is.
        return (((hashes >> np.uint64(32)) * self._buckets) >> np.uint64(32)).astype(np.intp)

    def has(self, hashes: _Hashes) -> _Flags:
        """Which of them are in the set."""
        bucket = self._bucket(hashes)
        equal = self._slots[bucket] == hashes[:, None]
        # 16 flags of a byte each are two words: looking at those is quicker than `any` along so short an axis.
        words = equal.view(np.uint64)
        found: _Flags = (words[:, 0] | words[:, 1]) != 0
        if self._spilled is not None:
            full = np.flatnonzero(self._used[bucket] == _SLOTS)
            if len(full):
                found[full] |= self._spilled.has(hashes[full])
        return found

    def add(self, hashes: _Hashes) -> None:
        """Add hashes that are not in the set, each once."""
        if not len(hashes):
            return
        bucket = self._bucket(hashes)
        if len(hashes) <= _FEW:
            self._add_few(hashes, bucket)
            return
        order = np.argsort(bucket, kind="stable")
        bucket, hashes = bucket[order], hashes[order]
        # Several may fall into one bucket: each takes the slot after its neighbour's.
        first = np.flatnonzero(np.diff(bucket, prepend=-1))
        count = np.diff(first, append=len(bucket))
        slot = self._used[bucket] + (np.arange(len(bucket)) - np.repeat(first, count))
        fits = slot < _SLOTS
        self._slots[bucket[fits], slot[fits]] = hashes[fits]
        self._used[bucket[first]] = np.minimum(self._used[bucket[first]] + count, _SLOTS)
        if not fits.all():
            self._spill(hashes[~fits])

    def _add_few(self, hashes: _Hashes, bucket: npt.NDArray[np.intp]) -> None:
        full = []
        for i, at in enumerate(bucket.tolist()):
            used = int(self._used[at])
            if used < _SLOTS:
                self._slots[at, used] = hashes[i]
                self._used[at] = used + 1
            else:
                full.append(i)
        if full:
            self._spill(hashes[full])

    def _spill(self, hashes: _Hashes) -> None:
        if self._spilled is None:
            self._spilled = _Hashed(int(self._capacity * _SPILL))
        self._spilled.add(hashes)
