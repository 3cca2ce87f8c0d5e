from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from service.ingest.spenders import Spenders

MINUTE = 60_000_000
HOUR = 60 * MINUTE
T0 = 490_000 * HOUR


def test_a_value_is_watched_from_the_call_on_that_reaches_the_floor() -> None:
    spenders = Spenders(100, 8)
    assert [spenders.spent("acme", 40, T0 + i) for i in range(4)] == [False, False, True, True]
    assert not spenders.spent("globex", 99, T0 + 5)
    assert spenders.watched == ["acme"]


def test_without_a_floor_whoever_calls_is_watched_at_once() -> None:
    spenders = Spenders(0, 2)
    assert [spenders.spent(team, 0, T0) for team in ("a", "b", "c")] == [True, True, False]


def test_the_hour_before_counts_for_as_much_of_it_as_an_hour_still_holds() -> None:
    spenders = Spenders(100, 8)
    assert not spenders.spent("acme", 90, T0 + 50 * MINUTE)
    # a quarter past: three quarters of the hour before are within sixty minutes, by this reckoning
    assert not spenders.spent("acme", 30, T0 + 75 * MINUTE)
    assert spenders.spent("acme", 3, T0 + 75 * MINUTE)


def test_who_spends_less_than_half_of_the_floor_in_an_hour_is_let_go() -> None:
    spenders = Spenders(100, 8)
    spenders.spent("acme", 150, T0)
    assert spenders.spent("acme", 60, T0 + HOUR), "watched by what was spent before"
    assert spenders.spent("acme", 1, T0 + 2 * HOUR), "60 is more than half"
    assert not spenders.spent("acme", 1, T0 + 3 * HOUR), "1 is not"
    assert spenders.watched == []


def test_who_is_silent_for_an_hour_is_forgotten() -> None:
    spenders = Spenders(0, 8)
    spenders.spent("acme", 5, T0)
    spenders.spent("globex", 5, T0 + 2 * HOUR)
    assert spenders.watched == ["globex"]
    assert len(spenders) == 1


def test_a_hundred_thousand_customers_take_the_room_of_a_few_hundred_and_the_dear_ones_are_found() -> None:
    spenders = Spenders(1_000_000, 256)
    found = set()
    for i in range(100_000):
        spenders.spent(f"customer-{i:06d}", 100 + i % 50, T0 + i * 30_000)
        if i % 100 == 0:
            name = f"dear-{i // 100 % 20}"
            if spenders.spent(name, 30_000, T0 + i * 30_000):
                found.add(name)
    assert len(spenders) <= 512
    assert found == set(spenders.watched) == {f"dear-{i}" for i in range(20)}


calls = st.lists(
    st.tuples(st.sampled_from("abcdefghijklmnop"), st.integers(0, 50), st.integers(0, 40)), max_size=200
)


@given(calls, st.integers(1, 200), st.integers(1, 6))
def test_nobody_is_watched_for_more_than_was_spent_in_two_hours(
    some: list[tuple[str, int, int]], floor: int, most: int
) -> None:
    spenders, now, spent = Spenders(floor, most), T0, Counter[str]()
    for value, nanos, minutes in some:
        now += minutes * MINUTE
        spent[value] += nanos
        if spenders.spent(value, nanos, now):
            assert 2 * spent[value] >= floor
        assert len(spenders) <= 2 * most
        assert len(spenders.watched) <= most


@given(calls, st.integers(1, 100))
def test_with_room_for_all_who_spends_the_floor_within_one_hour_is_watched(
    some: list[tuple[str, int, int]], floor: int
) -> None:
    spenders, now, spent = Spenders(floor, 16), T0, Counter[tuple[str, int]]()
    for value, nanos, minutes in some:
        now += minutes * MINUTE
        spent[value, now // HOUR] += nanos
        watched = spenders.spent(value, nanos, now)
        assert watched or spent[value, now // HOUR] < floor
