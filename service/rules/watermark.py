"""How far event time has come, from the ticks of all source partitions as one rollups partition has them."""

from __future__ import annotations

from typing import Final, NamedTuple

SILENT_S: Final = 60.0
"""A source whose ticks stopped this long ago (by the broker's record times) holds nobody back any more."""


class _Source(NamedTuple):
    watermark: float
    idle: bool
    told_at: float


class Heard:
    """What one rollups partition has heard of the sources.

    A source that lags holds time back, because its events are still to come. One that is idle, or whose ticks
    stopped (its owner is gone and nobody took over), does not. Everything is taken from the records, so that
    reading them again gives the same answers; a tick that is older than what its source said last says nothing.
    """

    __slots__ = ("_newest", "_oldest", "_sources")

    def __init__(self) -> None:
        self._sources: dict[int, _Source] = {}
        self._newest = float("-inf")
        self._oldest = float("inf")

    def observe(
        self, source: int, sources: int, watermark: float, *, idle: bool, told_at: float
    ) -> float | None:
        """Take in one tick.

        Parameters
        ----------
        source, sources : int
            The source partition that it is of, and how many there are.
        watermark, told_at : float
            Epoch seconds: what it says, and the broker's time of its record.

        Returns
        -------
        float or None
            The least watermark of those that hold time back, if none does the latest there is, epoch seconds; it
            may be less than before. None while a source has yet to be heard of.
        """
        known = self._sources.get(source)
        if known is None or told_at >= known.told_at:
            self._sources[source] = _Source(watermark, idle, told_at)
        self._newest = max(self._newest, told_at)
        self._oldest = min(self._oldest, told_at)
        if len(self._sources) < sources and self._newest - self._oldest < SILENT_S:
            return None
        # Whoever told the newest is alive: there is always one.
        alive = [each for each in self._sources.values() if self._newest - each.told_at < SILENT_S]
        busy = [each.watermark for each in alive if not each.idle]
        return min(busy) if busy else max(each.watermark for each in alive)
