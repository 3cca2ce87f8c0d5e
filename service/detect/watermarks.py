"""How far event time has come, from the ticks of all source partitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas.rollups import Tick

SILENT_S: Final = 60.0
"""A source whose ticks stopped this long ago (by the broker's record times) holds nobody back any more."""


@dataclass(slots=True)
class _Source:
    watermark: float
    idle: bool
    ticked_at: float


class Watermarks:
    """The least watermark over the source partitions, as one rollups partition has heard of them.

    A source that lags holds time back, because its events are still to come. One that is idle, or whose ticks
    stopped (its owner is gone and nobody took over), does not. Everything is taken from the records, so that
    reading them again gives the same answers.
    """

    def __init__(self) -> None:
        self._sources: dict[int, _Source] = {}
        self._partitions = 1
        self._first_tick_at: float | None = None
        self.now = 0.0

    def observe(self, tick: Tick, ticked_at: float) -> float | None:
        """Take in one tick.

        Parameters
        ----------
        ticked_at : float
            The broker's time of the tick record, epoch seconds.

        Returns
        -------
        float or None
            The new common watermark (epoch seconds) if it moved on.
        """
        if self._first_tick_at is None:
            self._first_tick_at = ticked_at
        self._partitions = tick.partitions
        self._sources[tick.partition] = _Source(tick.watermark.timestamp(), tick.idle, ticked_at)
        waiting = len(self._sources) < self._partitions and ticked_at - self._first_tick_at < SILENT_S
        if waiting:
            return None
        alive = [s for s in self._sources.values() if ticked_at - s.ticked_at < SILENT_S]
        busy = [s.watermark for s in alive if not s.idle]
        common = min(busy) if busy else max((s.watermark for s in alive), default=0.0)
        if common <= self.now:
            return None
        self.now = common
        return common
