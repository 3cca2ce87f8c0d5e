"""How far the two topics have been read, in offsets, and how far their time has come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

VERSION: Final = 1
AHEAD_S: Final = 300.0
"""By which one partition is read ahead of another, by the times of their records: a trace must not expire before
its outcome is read, nor fill the memory while it waits for that."""

Source = tuple[str, int]
"""Topic, by its name in the contract, and partition."""


class UnreadableProgress(ValueError):
    """Bytes that no version of the codec wrote."""


class Progress(msgspec.Struct, array_like=True):
    """Plain state, kept with the traces that it is about.

    Attributes
    ----------
    positions : dict of str to dict of int to int
        Per topic and partition the offset of the next record.
    now : float
        The topics' time, epoch seconds: see `Times`. Never goes back.
    """

    positions: dict[str, dict[int, int]] = {}
    now: float = 0.0


@dataclass(slots=True)
class _Place:
    at: float | None = None
    read_up: bool = False


class Times:
    """The topics' time: that of the last record of whichever partition is furthest behind.

    One that is read up has the time of the wall: it holds nobody back. So what is read after an outage of days ages
    as it would have then, however far the partitions are apart.
    """

    def __init__(self, sources: Iterable[Source], now: float) -> None:
        self._places = {source: _Place() for source in sources}
        self._now = now

    def read(self, source: Source, at: float) -> None:
        """A record was read that was written at `at`, epoch seconds."""
        place = self._places[source]
        place.at = at if place.at is None else max(place.at, at)

    def standing(self, source: Source, *, read_up: bool) -> None:
        """Whether there is nothing more to read of a partition for now."""
        self._places[source].read_up = read_up

    def now(self, wall: float) -> float:
        """The time as of now. Of a partition that has not been read yet it is not known: it stays where it was."""
        known = [self._at(place, wall) for place in self._places.values()]
        self._now = max(self._now, min(known, default=wall))
        return self._now

    def ahead(self, wall: float) -> set[Source]:
        """Partitions that have to wait for others."""
        known = {source: self._at(place, wall) for source, place in self._places.items()}
        behind = min((at for source, at in known.items() if not self._places[source].read_up), default=wall)
        return {
            source
            for source, at in known.items()
            if not self._places[source].read_up and at > behind + AHEAD_S
        }

    def _at(self, place: _Place, wall: float) -> float:
        if place.read_up:
            return wall
        return self._now if place.at is None else min(place.at, wall)


def dump(progress: Progress) -> bytes:
    """One version byte, then MessagePack."""
    return bytes((VERSION,)) + msgspec.msgpack.encode(progress)


def load(data: bytes) -> Progress:
    """Bytes to progress. Raises UnreadableProgress."""
    if not data or data[0] != VERSION:
        raise UnreadableProgress(f"version {data[0] if data else 'none'}, this release reads {VERSION}")
    try:
        return msgspec.msgpack.decode(memoryview(data)[1:], type=Progress)
    except msgspec.MsgspecError as error:
        raise UnreadableProgress(str(error)) from None
