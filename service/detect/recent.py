"""Which traces were seen lately: what tells those that begin from those that go on."""

from __future__ import annotations

from collections.abc import Collection
from struct import unpack
from typing import Final, Self
from zlib import crc32

GENERATION_S: Final = 600.0
MAX_ENTRIES: Final = 512
"""Per generation, of which there are two."""
_WIDTH: Final = 4
_SHARE_MEMORY: Final = 2_000
"""Named traces after which older ones fade from the usual share."""

Dumped = tuple[float, int, float, bytes, bytes]


class RecentTraces:
    """Checksums of the trace ids of ten to twenty minutes of event time, or of the 512 to 1,024 latest.

    A trace that is seen again stays; so one that goes on for hours begins once. Two ids that share a checksum
    are taken for one: of 1,000 new traces beside a full memory, that happens to 0.0002.

    `usual_share` is how many of the traces that deltas name begin there (1 while nothing is known): what is taken
    of those that deltas only count.

    State: at most 4.2 kB, 4 bytes a trace. It is kept as it is written, so that a dump is two copies of bytes
    (1 us when full); the sets to search are made of it when first asked.
    """

    __slots__ = ("_named", "_newer", "_newer_set", "_older", "_older_set", "_since", "usual_share")

    def __init__(self) -> None:
        self._since = 0.0
        self._named = 0
        self.usual_share = 1.0
        self._newer = bytearray()
        self._older = b""
        self._newer_set: set[int] | None = None
        self._older_set: set[int] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecentTraces) and self.dump() == other.dump()

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        """Entries; a trace seen in both generations has two."""
        return (len(self._newer) + len(self._older)) // _WIDTH

    def see(
        self, ids: Collection[str], now: float, is_open: Collection[str] = (), *, learn: bool = True
    ) -> int:
        """Take note of traces. Returns how many of them begin: not seen lately, and not among those open.

        Parameters
        ----------
        now : float
            Epoch seconds of event time; never goes back.
        learn : bool
            Whether `usual_share` may learn from them.
        """
        if not ids:
            return 0
        self._pass_time(now)
        newer, older = self._sets()
        begun = 0
        for trace_id in ids:
            mark = crc32(trace_id.encode("utf-8", "surrogatepass"))
            begins = False
            if mark not in newer:
                begins = mark not in older and trace_id not in is_open
                if len(newer) >= MAX_ENTRIES:
                    self._turn(now)
                    newer, older = self._sets()
                self._newer += mark.to_bytes(_WIDTH, "little")
                newer.add(mark)
            begun += begins
            if learn:
                self._named = min(self._named + 1, _SHARE_MEMORY)
                self.usual_share += (begins - self.usual_share) / self._named
        return begun

    def forget(self, *, all_of_them: bool = False) -> None:
        """Drop the older generation, or both. Of what goes on, all that is not open begins once more."""
        self._older, self._older_set = b"", None
        if all_of_them:
            self._newer, self._newer_set = bytearray(), None

    def dump(self) -> Dumped:
        return self._since, self._named, self.usual_share, bytes(self._newer), self._older

    @classmethod
    def load(cls, plain: Dumped) -> Self:
        """What was dumped. Raises ValueError if that cannot be."""
        since, named, share, newer, older = plain
        if any(len(data) % _WIDTH or len(data) > MAX_ENTRIES * _WIDTH for data in (newer, older)):
            raise ValueError("recent traces: not whole, or too many")
        if not 0 <= named <= _SHARE_MEMORY or not 0.0 <= share <= 1.0:
            raise ValueError("recent traces: no share of anything")
        loaded = cls()
        loaded._since, loaded._named, loaded.usual_share = since, named, share
        loaded._newer, loaded._older = bytearray(newer), older
        return loaded

    def _sets(self) -> tuple[set[int], set[int]]:
        if self._newer_set is None:
            self._newer_set = _set(self._newer)
        if self._older_set is None:
            self._older_set = _set(self._older)
        return self._newer_set, self._older_set

    def _pass_time(self, now: float) -> None:
        elapsed = now - self._since
        if elapsed >= 2 * GENERATION_S:
            self.forget(all_of_them=True)
            self._since = now
        elif elapsed >= GENERATION_S:
            self._turn(now)

    def _turn(self, now: float) -> None:
        self._older, self._older_set = bytes(self._newer), self._newer_set
        self._newer, self._newer_set = bytearray(), None
        self._since = now


NOTHING_SEEN: Final[Dumped] = RecentTraces().dump()


def _set(data: bytes | bytearray) -> set[int]:
    return set(unpack(f"<{len(data) // _WIDTH}I", data))
