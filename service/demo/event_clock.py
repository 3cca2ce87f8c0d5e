"""Where the demo's event time is while the wall clock goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_ROOM_S: Final = 43_200.0
"""Event time that a fast demo without an end has before it meets the wall's."""
_STARTUP_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class EventClock:
    """Event time from wall time; both in epoch seconds. It never passes the wall.

    Attributes
    ----------
    wall, base : float
        At the wall time `wall` it is `base` in event time.
    speed : float
        Seconds of event time per second of wall time.
    """

    wall: float
    base: float
    speed: float

    @classmethod
    def begin(cls, wall: float, speed: float, seconds: float | None) -> EventClock:
        """A clock that begins now; a fast one begins as far in the past as it needs for `seconds` of demo."""
        room = 0.0
        if speed > 1.0:
            room = _ROOM_S if seconds is None else (seconds + _STARTUP_S) * (speed - 1.0)
        return cls(wall, wall - room, speed)

    def at(self, wall: float) -> float:
        """Event time at a wall time."""
        return min(self.base + (wall - self.wall) * self.speed, wall)
