"""A forecast is spend so far plus usual shape times level, with launches, and it says how sure it is."""

from __future__ import annotations

import random
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import EXAMPLES
from schemas.control import Launch
from schemas.decode import decode
from service.rules.budget import Outlook
from service.rules.calendar import Span
from service.rules.forecast import HOUR_S, Planned, UnreadableUsual, Usual, dump, load, note, outlook, planned
from tests.service.rules.budgets import USD, at

MONDAY = int(at("2026-03-02T00:00"))
WEEK = 168 * HOUR_S
THIRD_WEEK = Span(MONDAY + 2 * WEEK, MONDAY + 3 * WEEK)


def steady(hour: int) -> int:
    return USD


def office(hour: int) -> int:
    """Ten times as much in the day, and nothing at the weekend."""
    return 0 if hour // 24 % 7 >= 5 else 10 * USD if 8 <= hour % 24 < 18 else USD


def lived(spend: Callable[[int], int], hours: int, launches: tuple[Planned, ...] = ()) -> Usual:
    usual = Usual()
    for hour in range(hours):
        note(usual, MONDAY + hour * HOUR_S, spend(hour), launches)
    note(usual, MONDAY + hours * HOUR_S, 0, launches)
    return usual


def foretold(spend: Callable[[int], int], hours: int, launches: tuple[Planned, ...] = ()) -> Outlook:
    """Of the third week, after so many hours of it."""
    spent = sum(spend(hour) for hour in range(336, 336 + hours))
    usual = lived(spend, 336 + hours, launches)
    return outlook(usual, THIRD_WEEK, THIRD_WEEK.start + hours * HOUR_S, spent, launches)


def test_what_is_steady_goes_on() -> None:
    found = foretold(steady, 42)
    assert found.expected == pytest.approx(168 * USD)
    assert found.share == pytest.approx(0.25)
    assert found.low < found.expected < found.high


def test_a_weekend_to_come_is_not_taken_for_workdays() -> None:
    whole = sum(office(hour) for hour in range(168))
    friday_evening = foretold(office, 4 * 24 + 20)
    assert friday_evening.expected == pytest.approx(whole, rel=0.25)
    linear = whole * 168 / (4 * 24 + 20)
    assert abs(friday_evening.expected - whole) < abs(linear - whole) / 1.5
    assert friday_evening.share > 0.85, "most of a usual week is spent by then"


def test_what_doubled_today_is_foretold_as_double_for_now_and_less_for_later() -> None:
    def doubled(hour: int) -> int:
        return 2 * USD if hour >= 336 else USD

    found = foretold(doubled, 24)
    assert 1.4 * 168 * USD < found.expected < 2 * 168 * USD


def test_without_a_past_it_goes_on_as_it_went() -> None:
    window = Span(MONDAY, MONDAY + WEEK)
    usual = Usual()
    note(usual, MONDAY + 600, 5 * USD)
    found = outlook(usual, window, MONDAY + 1_800.0, 5 * USD)
    assert found.expected == pytest.approx(5 * USD * 336)
    assert found.low < found.expected / 1.8
    assert found.high > found.expected * 1.8


def test_nothing_spent_is_nothing_foretold() -> None:
    assert outlook(Usual(), THIRD_WEEK, THIRD_WEEK.start, 0) == Outlook(0.0, 0, 0, 0)
    assert foretold(lambda hour: 0, 24).expected == 0


def test_an_announced_launch_is_in_the_forecast_and_in_the_pace() -> None:
    launch = Planned(THIRD_WEEK.start + 48 * HOUR_S, THIRD_WEEK.start + 72 * HOUR_S, multiple=5.0)
    found = foretold(steady, 24, (launch,))
    assert found.expected == pytest.approx((168 + 4 * 24) * USD)
    assert found.share == pytest.approx(24 / (168 + 96))


def test_a_launch_of_one_workflow_multiplies_its_share_and_no_more_than_its_cap() -> None:
    start, end = THIRD_WEEK.start + 48 * HOUR_S, THIRD_WEEK.start + 72 * HOUR_S
    half = foretold(steady, 24, (Planned(start, end, 5.0, share=0.5),))
    assert half.expected == pytest.approx((168 + 48) * USD)
    capped = foretold(steady, 24, (Planned(start, end, 5.0, cap=10 * USD),))
    assert capped.expected == pytest.approx((168 + 10) * USD)


def test_a_launch_that_runs_lower_than_announced_lowers_the_rest_of_it_and_teaches_nothing() -> None:
    launch = Planned(THIRD_WEEK.start, THIRD_WEEK.start + 48 * HOUR_S, multiple=21.0)

    def launched(hour: int) -> int:
        return 3 * USD if hour >= 336 else USD  # three times as much, not 21

    found = foretold(launched, 24, (launch,))
    # The level is a share of all that was announced: 3/21 of 20 more, and the usual.
    assert 168 * USD < found.expected < (168 + 24 * 3 + 24 * 3) * USD
    assert lived(launched, 360, (launch,)).sums == lived(launched, 336, (launch,)).sums


def test_late_spend_is_learnt_where_it_belongs() -> None:
    late = lived(lambda hour: 0 if hour == 355 else office(hour), 370)
    note(late, MONDAY + 355 * HOUR_S, office(355))
    assert late == lived(office, 370)


def test_what_is_later_than_two_days_teaches_nothing() -> None:
    usual = lived(office, 370)
    note(usual, MONDAY + 300 * HOUR_S, USD)
    assert usual == lived(office, 370)


def test_after_a_month_of_silence_only_the_shape_is_remembered() -> None:
    usual = lived(steady, 336)
    note(usual, MONDAY + 336 * HOUR_S + 40 * 86_400, 0)
    assert (usual.recent, usual.days) == ([], [])
    assert any(usual.sums)


def test_an_hour_is_foretold_from_its_own_minutes() -> None:
    usual = lived(steady, 336)
    start = MONDAY + 336 * HOUR_S
    note(usual, start + 1_200, 20 * USD)
    found = outlook(usual, Span(start, start + HOUR_S), start + 1_200.0, 20 * USD)
    assert 20.9 * USD < found.expected < 60 * USD


def test_regular_days_make_a_narrower_interval_than_wild_ones() -> None:
    dice = random.Random(3)
    factors = [dice.lognormvariate(0, 1.5) for _ in range(30)]
    wild = foretold(lambda hour: round(USD * factors[hour // 24]), 48)
    calm = foretold(steady, 48)
    assert calm.high / calm.low < 2 < wild.high / wild.low


@given(
    st.lists(st.integers(-(10**12), 10**15), max_size=400),
    st.integers(0, 10**15),
    st.floats(0, 1),
    st.lists(st.builds(Planned, st.just(MONDAY + 3.0e5), st.just(MONDAY + 6.0e5), st.floats(1, 1e5)), max_size=2),
)  # fmt: skip
def test_any_past_gives_a_forecast_in_order(
    past: list[int], spent: int, part: float, launches: list[Planned]
) -> None:
    usual = lived(lambda hour: past[hour], len(past), tuple(launches))
    now = max(THIRD_WEEK.start + part * (WEEK - 1), MONDAY + len(past) * HOUR_S * 1.0)
    window = Span(THIRD_WEEK.start, THIRD_WEEK.end) if now < THIRD_WEEK.end else Span(int(now), int(now) + 60)
    found = outlook(usual, window, now, spent, launches)
    assert spent <= found.low <= found.expected <= found.high
    assert 0.0 <= found.share <= 1.0


def test_it_is_plain_data_of_a_few_kilobytes() -> None:
    usual = lived(office, 1_000)
    assert len(dump(usual)) < 5_000
    assert load(dump(usual)) == usual


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x01", b"\x01\xc0", b"\x01\x91\x90", b"\x02" + dump(Usual())[1:]]
)
def test_bytes_that_no_version_wrote_are_refused(data: bytes) -> None:
    with pytest.raises(UnreadableUsual):
        load(data)


def test_an_announced_launch_is_read_from_its_record() -> None:
    launch = decode(Launch, orjson.dumps(EXAMPLES["config-launch"]))
    found = planned(launch, share=0.25)
    assert (found.multiple, found.share, found.cap) == (20.0, 0.25, 25_000 * USD)
    assert found.end - found.start == 2 * 86_400
