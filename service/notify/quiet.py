"""Times at which nobody is told: silences, maintenance windows, launches. Pure: the time is handed in.

The end of an incident is never held back: it is sent only to those who heard of the beginning.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final
from zoneinfo import ZoneInfo

from schemas.alerts import Alert, Kind
from schemas.control import Interval, Launch, Maintenance, Silence
from schemas.control.quiet import Weekday
from service.notify.labels import matches

NEWCOMERS: Final[frozenset[Kind]] = frozenset({"new_customer", "new_api_key"})
"""What an announced launch brings with it, whatever detect knew of it when it began."""
_WEEKDAYS: Final[tuple[Weekday, ...]] = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)


class Mute(StrEnum):
    """Why somebody is not told, on purpose. Also the `why` label of the metric."""

    SILENCED = "silenced"
    MAINTENANCE = "maintenance"
    LAUNCH = "launch"
    INHIBITED = "inhibited"
    REFUSED_BEFORE = "refused_before"
    """The receiver refused this very state for good: asking again changes nothing until the settings do."""
    SHORT = "short"
    """It was over before its group's wait was."""


def quiet(
    alert: Alert,
    now: datetime,
    *,
    silences: Iterable[Silence] = (),
    maintenances: Iterable[Maintenance] = (),
    launches: Iterable[Launch] = (),
) -> Mute | None:
    """What holds an alert back at the wall time `now`, if anything."""
    if any(one.starts_at <= now < one.ends_at and matches(one.match, alert) for one in silences):
        return Mute.SILENCED
    if any(matches(one.match, alert) and in_maintenance(one, now) for one in maintenances):
        return Mute.MAINTENANCE
    if alert.kind in NEWCOMERS and alert.severity != "critical" and alert.scope is None:
        for launch in launches:
            if launch.starts_at <= now < launch.ends_at and fnmatchcase(alert.workflow, launch.workflow):
                return Mute.LAUNCH
    return None


def in_maintenance(window: Maintenance, now: datetime) -> bool:
    """Whether one of its times is now, by the clocks of its place."""
    local = now.astimezone(ZoneInfo(window.timezone))
    return any(_within(interval, local.date(), local.time()) for interval in window.intervals)


def _within(interval: Interval, day: date, clock: time) -> bool:
    start, end = _minutes(interval.start), _minutes(interval.end)
    minute = 60 * clock.hour + clock.minute
    if start < end:
        return start <= minute < end and _on(interval, day)
    # Over midnight: the day is the one on which it begins.
    return (minute >= start and _on(interval, day)) or (
        minute < end and _on(interval, day - timedelta(days=1))
    )


def _on(interval: Interval, day: date) -> bool:
    last = monthrange(day.year, day.month)[1]
    return (
        (interval.weekdays is None or _WEEKDAYS[day.weekday()] in interval.weekdays)
        and (interval.months is None or day.month in interval.months)
        and (
            interval.days_of_month is None
            or day.day in interval.days_of_month
            or day.day - last - 1 in interval.days_of_month
        )
    )


def _minutes(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return 60 * int(hours) + int(minutes)
