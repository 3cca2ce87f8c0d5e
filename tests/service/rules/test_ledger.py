"""Spend is counted exactly, into the window it belongs to, whatever order it comes in and however often."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import Budget
from service.rules.calendar import Calendar
from service.rules.ledger import KEPT, Ledger, UnreadableLedger, count, dump, load
from tests.service.rules.budgets import USD, a_budget, at

T0 = int(at("2026-03-10T00:00"))
CUTS: list[dict[str, Any]] = [
    {"window": "hour"},
    {"window": "day", "timezone": "Europe/Berlin"},
    {"window": "week", "anchor_day": 3},
    {"window": "month", "timezone": "America/New_York", "anchor_day": 31},
    {"window": "hour", "rolling": True},
    {"window": "month", "rolling": True},
    {"window": "day", "amount_usd": ..., "amount_tokens": 10_000},
]
budgets = st.sampled_from(CUTS).map(lambda changes: a_budget(**changes))
deltas = st.tuples(st.integers(T0 - 200 * 86_400, T0 + 86_400), st.integers(-(10**15), 10**15))


def counted(budget: Budget, spend: list[tuple[int, int]]) -> Ledger:
    ledger = Ledger(since=0.0)
    for when, amount in spend:
        count(ledger, budget, when, amount)
    return ledger


@given(budgets, st.lists(deltas, max_size=150), st.randoms(use_true_random=False))
def test_the_order_of_counting_changes_nothing(
    budget: Budget, spend: list[tuple[int, int]], dice: Any
) -> None:
    mixed = spend.copy()
    dice.shuffle(mixed)
    assert dump(counted(budget, spend)) == dump(counted(budget, mixed))


@given(budgets, st.lists(st.tuples(deltas, st.integers(0, 10**15)), max_size=80))
def test_deltas_that_are_split_sum_up_to_the_same(
    budget: Budget, spend: list[tuple[tuple[int, int], int]]
) -> None:
    whole = counted(budget, [delta for delta, _ in spend])
    split = counted(
        budget, [part for (when, amount), some in spend for part in ((when, some), (when, amount - some))]
    )
    assert dump(whole) == dump(split)


@given(budgets, st.lists(deltas, max_size=150))
def test_nothing_is_ever_lost_and_what_is_kept_is_in_its_window(
    budget: Budget, spend: list[tuple[int, int]]
) -> None:
    ledger, calendar = counted(budget, spend), Calendar.of(budget)
    assert ledger.total == sum(amount for _, amount in spend)
    for start, kept in ledger.cells.items():
        assert kept == sum(amount for when, amount in spend if calendar.cell_at(when).start == start)
    assert len(dump(ledger)) < 2_000


@given(budgets, st.lists(deltas, min_size=1, max_size=40), st.data())
def test_records_that_come_again_are_not_counted_again(
    budget: Budget, spend: list[tuple[int, int]], data: st.DataObject
) -> None:
    once, twice = Ledger(since=0.0), Ledger(since=0.0)
    for offset, (when, amount) in enumerate(spend):
        assert count(once, budget, when, amount, (offset % 3, offset))
        count(twice, budget, when, amount, (offset % 3, offset))
        for again in range(data.draw(st.integers(0, offset + 1)), offset + 1):
            assert not count(twice, budget, *spend[again], (again % 3, again))
    assert dump(once) == dump(twice)


@given(budgets, st.lists(deltas, max_size=40), st.lists(deltas, max_size=40))
def test_a_restart_at_any_point_changes_nothing(
    budget: Budget, before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    ledger = load(dump(counted(budget, before)))
    for when, amount in after:
        count(ledger, budget, when, amount)
    assert dump(ledger) == dump(counted(budget, before + after))


def test_money_beyond_64_bits_is_kept_exactly() -> None:
    ledger = counted(a_budget(), [(T0, 2**62)] * 9)
    assert load(dump(ledger)) == ledger
    assert load(dump(ledger)).total == 9 * 2**62


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01", b"\x01\xc0", b"\x02{}", b"\x03" + b"x" * 40])
def test_bytes_that_no_version_wrote_are_refused(data: bytes) -> None:
    with pytest.raises(UnreadableLedger):
        load(data)


def test_a_month_with_its_late_spend_is_still_there_three_months_on() -> None:
    budget = a_budget()
    ledger = counted(budget, [(int(at(f"2026-0{month}-10T00:00")), month) for month in range(1, 6)])
    assert sorted(ledger.cells.values()) == [2, 3, 4, 5]
    assert (ledger.before, len(ledger.cells)) == (1, KEPT["month"])
    count(ledger, budget, at("2026-02-28T23:59:50"), 100)
    count(ledger, budget, at("2026-01-31T23:59:50"), 1_000)
    assert sorted(ledger.cells.values()) == [3, 4, 5, 102]
    assert (ledger.before, ledger.total) == (1_001, 1_115)


def test_days_become_a_month_when_the_record_is_changed() -> None:
    days = a_budget(window="day", timezone="America/New_York")
    ledger = counted(days, [(T0 + day * 86_400, USD) for day in range(20)])
    month = a_budget(window="month", timezone="America/New_York")
    count(ledger, month, T0, USD)
    assert ledger.spent(Calendar.of(month).window_at(T0)) == 21 * USD == ledger.total


def test_another_zone_keeps_a_month_in_its_month() -> None:
    ledger = counted(a_budget(), [(T0, USD)])
    for zone in ("America/Los_Angeles", "Pacific/Kiritimati"):
        moved = a_budget(timezone=zone)
        count(ledger, moved, T0, USD)
        assert ledger.spent(Calendar.of(moved).window_at(T0)) == ledger.total


def test_dollars_are_not_taken_for_tokens() -> None:
    ledger = counted(a_budget(), [(T0, USD), (T0 - 200 * 86_400, USD)])
    tokens = a_budget(amount_usd=..., amount_tokens=1_000)
    count(ledger, tokens, T0, 7)
    assert ledger.total == 7
