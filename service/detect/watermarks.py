"""How far event time has come, from the ticks of all source partitions."""

from __future__ import annotations

from schemas.rollups import Tick
from service.rules.watermark import Heard


class Watermarks:
    """The watermark of all source partitions, as one rollups partition has heard of them. Never goes back."""

    def __init__(self) -> None:
        self._heard = Heard()
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
        watermark = tick.watermark.timestamp()
        common = self._heard.observe(
            tick.partition, tick.partitions, watermark, idle=tick.idle, told_at=ticked_at
        )
        if common is None or common <= self.now:
            return None
        self.now = common
        return common
