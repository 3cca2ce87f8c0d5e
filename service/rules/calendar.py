"""Where a budget's windows begin and end: hours, days, weeks and months of a time zone, and rolling ones."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from schemas.budgets import Window
from schemas.control import Budget

CELLS: Final = 60
"""Cells of a rolling window: it moves on by a sixtieth of its length, and covers as much more than that."""
ROLLING_S: Final[dict[Window, int]] = {
    "hour": 3_600,
    "day": 86_400,
    "week": 7 * 86_400,
    "month": 30 * 86_400,
}
_HOUR_S: Final = 3_600
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Span:
    """Epoch seconds, whole: the start belongs to it, the end does not."""

    start: int
    end: int

    def __contains__(self, at: float) -> bool:
        return self.start <= at < self.end

    @property
    def seconds(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Calendar:
    """A budget's way to cut time.

    A day begins with the first instant at which clocks of the zone show its date, or a later one: where midnight
    is skipped that is the instant after the gap, and where it comes twice the first of the two. So a day has 23
    or 25 hours when clocks change. An hour is what clocks show as one; where they change within it, it ends.
    A month starts on `anchor_day`, or on its last day if it has no such day; a week on that weekday (1 = Monday).

    Calendar windows tile time: every instant is in exactly one. Spend is kept per *cell*. A calendar window is one
    cell. A rolling window is its last 60 whole cells and the one that is not over yet, so that any stretch of its
    length is within one of its positions: what is promised of the window holds at any moment, and up to a
    sixtieth more is counted.

    Instants are epoch seconds from 1970 to 5138, as on the wire.
    """

    window: Window
    timezone: str = "UTC"
    anchor_day: int = 1
    rolling: bool = False

    @classmethod
    def of(cls, budget: Budget) -> Calendar:
        return cls(budget.window, budget.timezone, budget.anchor_day, budget.rolling)

    def window_at(self, at: float) -> Span:
        """The window that an instant is in. A rolling one moves on at the span's end."""
        cell = self.cell_at(at)
        return Span(cell.start - ROLLING_S[self.window], cell.end) if self.rolling else cell

    def cell_at(self, at: float) -> Span:
        """The cell that spend of an instant is kept in."""
        if self.rolling:
            size = ROLLING_S[self.window] // CELLS
            start = int(at // size) * size
            return Span(start, start + size)
        zone = ZoneInfo(self.timezone)
        if self.window == "hour":
            return _hour(at, zone)
        first = self._first_day(datetime.fromtimestamp(at, zone).date())
        span = self._from(first, zone)
        # The date on the wall may be yesterday's again, or the day may have been skipped.
        while at < span.start:
            first = self._first_day(first - _DAY)
            span = self._from(first, zone)
        while at >= span.end:
            first = self._next(first)
            span = self._from(first, zone)
        return span

    def _from(self, first: date, zone: ZoneInfo) -> Span:
        return Span(_begins(first, zone), _begins(self._next(first), zone))

    def _first_day(self, day: date) -> date:
        """First day of the window that a day is in."""
        if self.window == "day":
            return day
        if self.window == "week":
            return day - timedelta(days=(day.isoweekday() - self.anchor_day) % 7)
        anchor = _anchored(day.year, day.month, self.anchor_day)
        if day >= anchor:
            return anchor
        last_month = day.replace(day=1) - _DAY
        return _anchored(last_month.year, last_month.month, self.anchor_day)

    def _next(self, first: date) -> date:
        """First day of the window after the one that begins on `first`."""
        if self.window == "day":
            return first + _DAY
        if self.window == "week":
            return first + 7 * _DAY
        return _anchored(first.year + first.month // 12, first.month % 12 + 1, self.anchor_day)


def _anchored(year: int, month: int, day: int) -> date:
    return date(year, month, min(day, monthrange(year, month)[1]))


def _begins(day: date, zone: ZoneInfo) -> int:
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    at = int(midnight.timestamp())  # with fold=0: the first one, if it comes twice
    shown = datetime.fromtimestamp(at, zone).replace(tzinfo=None)
    if shown == midnight.replace(tzinfo=None):
        return at
    # Skipped: `at` is as far after the gap's begin as midnight is into the gap.
    return _change(int(midnight.replace(fold=1).timestamp()), at, zone)


def _hour(at: float, zone: ZoneInfo) -> Span:
    offset = _offset(at, zone)
    start = int((at + offset) // _HOUR_S) * _HOUR_S - offset
    end = start + _HOUR_S
    now = int(at // 1)
    if _offset(start, zone) != offset:
        start = _change(start, now, zone)
    if _offset(end - 1, zone) != offset:
        end = _change(now, end - 1, zone)
    return Span(start, end)


def _offset(at: float, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def _change(before: int, after: int, zone: ZoneInfo) -> int:
    """First second at which the zone's offset is that of `after`; it differs at `before`."""
    new = _offset(after, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle, zone) == new:
            after = middle
        else:
            before = middle
    return after
