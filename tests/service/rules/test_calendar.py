"""Windows of budgets: they tile time in every zone, and reset at the instant people there would say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.budgets import Window
from service.rules.calendar import ROLLING_S, Calendar, Span

ODD_ZONES = (
    "America/Havana",  # midnight comes twice
    "America/Sao_Paulo",  # midnight was skipped
    "America/St_Johns",  # a minute after midnight it was yesterday again
    "Asia/Beirut",
    "Africa/Cairo",
    "Africa/Casablanca",  # winter time in summer
    "Pacific/Apia",  # a day was skipped
    "Pacific/Kwajalein",
    "Australia/Lord_Howe",  # half an hour of summer
    "Antarctica/Troll",  # two hours of summer
    "America/Toronto",
)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Chatham", *ODD_ZONES)
WINDOWS: tuple[Window, ...] = ("hour", "day", "week", "month")


@st.composite
def calendars(draw: st.DrawFn, rolling: bool = False) -> Calendar:
    window = draw(st.sampled_from(WINDOWS))
    anchor = {"week": st.integers(1, 7), "month": st.integers(1, 31)}.get(window, st.just(1))
    return Calendar(window, draw(st.sampled_from(ZONES)), 1 if rolling else draw(anchor), rolling)


instants = st.floats(0, 4_102_444_800) | st.integers(0, 4_102_444_800)


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def span(calendar: Calendar, text: str) -> tuple[str, str]:
    """Start and end of the window at a local time, as the clocks of the zone show them."""
    zone = ZoneInfo(calendar.timezone)
    found = calendar.window_at(at(text, calendar.timezone))
    start, end = (datetime.fromtimestamp(t, zone).isoformat() for t in (found.start, found.end))
    return start, end


@given(calendars(), instants)
def test_windows_tile_time_without_gap_or_overlap(calendar: Calendar, instant: float) -> None:
    found = calendar.window_at(instant)
    assert instant in found
    assert found.seconds > 0
    assert calendar.window_at(found.start) == found
    assert calendar.window_at(found.end - 1) == found
    assert calendar.window_at(found.end).start == found.end
    assert calendar.window_at(found.start - 1).end == found.start


@given(calendars(), st.integers(0, 4_000_000_000), st.lists(st.integers(0, 200 * 86_400), min_size=2))
def test_every_instant_of_a_stretch_is_in_exactly_one_window(
    calendar: Calendar, start: int, steps: list[int]
) -> None:
    spans = sorted({calendar.window_at(start + step) for step in steps}, key=lambda s: s.start)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    assert all(sum(start + step in s for s in spans) == 1 for step in steps)


@given(st.sampled_from(ZONES), st.dates(date(1971, 1, 1), date(2099, 1, 1)))
def test_a_day_begins_with_the_first_instant_that_shows_its_date(zone: str, day: date) -> None:
    place = ZoneInfo(zone)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=place)
    if noon.astimezone(UTC).astimezone(place).date() != day:
        return  # the day was skipped
    found = Calendar("day", zone).window_at(noon.timestamp())
    assert datetime.fromtimestamp(found.start, place).date() == day
    assert datetime.fromtimestamp(found.start - 1, place).date() < day
    assert datetime.fromtimestamp(found.end, place).date() > day


@pytest.mark.parametrize("zone", ODD_ZONES)
def test_every_change_of_the_clocks_is_lived_through(zone: str) -> None:
    calendar = Calendar("day", zone)
    when = calendar.window_at(730_000_000).start
    while when < 1_350_000_000:
        found = calendar.window_at(when)
        assert found.start == when
        assert 22 * 3_600 <= found.seconds <= 26 * 3_600
        when = found.end


BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-03-28", 24), ("2026-10-26", 24)]
)
def test_a_day_has_23_or_25_hours_when_clocks_change(day: str, hours: int) -> None:
    calendar = Calendar("day", BERLIN)
    found = calendar.window_at(at(day + "T12:00", BERLIN))
    assert found.seconds == hours * 3_600
    assert datetime.fromtimestamp(found.start, ZoneInfo(BERLIN)).isoformat()[:16] == day + "T00:00"
    assert found == calendar.window_at(found.start) == calendar.window_at(found.end - 1)


def test_a_day_resets_at_midnight_of_the_zone_and_not_of_utc() -> None:
    calendar = Calendar("day", "America/New_York")
    assert calendar.window_at(at("2026-07-02T04:00")).start == at("2026-07-02T04:00")
    assert calendar.window_at(at("2026-07-02T03:59:59.999")).end == at("2026-07-02T04:00")
    assert calendar.window_at(at("2026-12-02T05:00")).start == at("2026-12-02T05:00")


def test_weeks_and_months_over_a_change_of_clocks_are_an_hour_shorter_or_longer() -> None:
    assert Calendar("week", BERLIN).window_at(at("2026-03-25T00:00")).seconds == (7 * 24 - 1) * 3_600
    assert Calendar("month", BERLIN).window_at(at("2026-10-05T00:00")).seconds == (31 * 24 + 1) * 3_600


@pytest.mark.parametrize(
    ("anchor", "when", "start", "end"),
    [
        (31, "2026-02-10T00:00", "2026-01-31", "2026-02-28"),
        (31, "2026-02-28T00:00", "2026-02-28", "2026-03-31"),
        (31, "2028-02-28T23:59", "2028-01-31", "2028-02-29"),
        (31, "2028-02-29T00:00", "2028-02-29", "2028-03-31"),
        (30, "2026-03-01T00:00", "2026-02-28", "2026-03-30"),
        (31, "2026-04-30T12:00", "2026-04-30", "2026-05-31"),
        (15, "2026-01-14T00:00", "2025-12-15", "2026-01-15"),
        (1, "2026-12-31T23:59", "2026-12-01", "2027-01-01"),
    ],
)
def test_a_month_starts_on_its_anchor_day_or_its_last(anchor: int, when: str, start: str, end: str) -> None:
    found = span(Calendar("month", "UTC", anchor), when)
    assert (found[0][:10], found[1][:10]) == (start, end)


@pytest.mark.parametrize(("anchor", "start"), [(1, "2026-11-16"), (7, "2026-11-22"), (6, "2026-11-21")])
def test_a_week_starts_on_its_weekday(anchor: int, start: str) -> None:
    assert span(Calendar("week", "Asia/Tokyo", anchor), "2026-11-22T12:00")[0][:10] == start


@pytest.mark.parametrize(
    ("zone", "when", "start", "end"),
    [
        ("Asia/Beirut", "2022-03-27T12:00", "2022-03-27T01:00:00+03:00", "2022-03-28T00:00:00+03:00"),
        ("America/Havana", "2026-11-01T12:00", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"),
        ("Pacific/Apia", "2011-12-29T12:00", "2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00"),
        ("Pacific/Apia", "2011-12-31T00:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"),
        ("America/Toronto", "1919-03-31T12:00", "1919-03-31T00:30:00-04:00", "1919-04-01T00:00:00-04:00"),
    ],
)
def test_midnights_that_are_skipped_or_come_twice(zone: str, when: str, start: str, end: str) -> None:
    assert span(Calendar("day", zone), when) == (start, end)


def test_a_clock_that_goes_back_over_midnight_does_not_bring_yesterdays_window_back() -> None:
    calendar = Calendar("day", "America/St_Johns")  # at 00:01 it was 23:01 again
    first_midnight = at("2010-11-07T00:00", "America/St_Johns")
    assert calendar.window_at(first_midnight).start == first_midnight
    assert calendar.window_at(first_midnight + 1_800).start == first_midnight
    assert calendar.window_at(first_midnight).seconds == 25 * 3_600


def test_the_hour_that_comes_twice_is_two_windows() -> None:
    calendar = Calendar("hour", BERLIN)
    first = at("2026-10-25T00:30")  # 02:30 in summer
    assert calendar.window_at(first).seconds == calendar.window_at(first + 3_600).seconds == 3_600
    assert calendar.window_at(first).end == calendar.window_at(first + 3_600).start
    assert span(Calendar("hour", "Asia/Kathmandu"), "2026-01-01T10:59")[1][:16] == "2026-01-01T11:00"


def test_half_an_hour_of_summer_ends_an_hour_early() -> None:
    calendar = Calendar("hour", "Australia/Lord_Howe")
    change = int(at("2026-04-04T15:00"))  # 02:00 becomes 01:30
    assert calendar.window_at(change - 1) == Span(change - 3_600, change)
    assert calendar.window_at(change) == Span(change, change + 1_800)


@given(calendars(rolling=True), st.integers(0, 4_000_000_000), st.integers(0, 86_400 * 40))
def test_a_rolling_window_holds_all_of_its_length_and_little_more(
    calendar: Calendar, instant: int, ago: int
) -> None:
    found = calendar.window_at(instant)
    length = ROLLING_S[calendar.window]
    assert instant in found
    assert found.seconds == length + length // 60
    if ago <= length:
        assert instant - ago in found
    if ago >= length + length // 60:
        assert instant - ago not in found


@given(calendars(rolling=True), st.integers(0, 4_000_000_000))
def test_cells_of_a_rolling_window_tile_it(calendar: Calendar, instant: int) -> None:
    found, when, cells = calendar.window_at(instant), calendar.window_at(instant).start, 0
    while when < found.end:
        cell = calendar.cell_at(when)
        assert cell.start == when
        when, cells = cell.end, cells + 1
    assert (when, cells) == (found.end, 61)


def test_the_last_instant_of_the_wire_has_a_window() -> None:
    for window in WINDOWS:
        assert 1e11 in Calendar(window, BERLIN, 7 if window == "week" else 1).window_at(1e11)
    assert timedelta(seconds=Calendar("month", BERLIN, 31).window_at(0).seconds).days == 31
