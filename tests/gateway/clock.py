"""A clock for gates that moves only when told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

T0 = datetime(2026, 3, 2, 12, tzinfo=UTC)


class HandClock:
    def __init__(self, wall: datetime = T0) -> None:
        self.wall = wall
        self.elapsed = 1_000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.elapsed

    def advance(self, seconds: float) -> None:
        self.elapsed += seconds
        self.wall += timedelta(seconds=seconds)
