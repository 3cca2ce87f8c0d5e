"""What holds for a budget and what is told of it: pace, forecast, soft, grace, hard, reset; what raises a limit."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.budgets import BudgetSnapshot
from schemas.control import Budget
from schemas.decode import decode
from service.rules.budget import Fact, Outlook, due, is_hard, look, standing
from service.rules.budget_snapshot import snapshot
from service.rules.ledger import Ledger, count, dump, load
from tests.service.rules.budgets import USD, a_budget, at

MARCH = at("2026-03-01T00:00")
DAY = 86_400.0


class Story:
    """A budget that lives through days of March 2026."""

    def __init__(self, since: float = MARCH, **changes: Any) -> None:
        self.budget = a_budget(**changes)
        self.ledger = Ledger(since=since)

    def spend(self, day: float, dollars: float, outlook: Outlook | None = None) -> list[str]:
        """Spend on a day (0 = the first), and what is told of it then."""
        return keys(self.facts(day, dollars, outlook))

    def facts(self, day: float, dollars: float = 0.0, outlook: Outlook | None = None) -> list[Fact]:
        if dollars:
            count(self.ledger, self.budget, MARCH + day * DAY, round(dollars * USD))
        return look(self.ledger, self.budget, MARCH + day * DAY, outlook)

    @property
    def state(self) -> str:
        return standing(self.ledger, self.budget, self.ledger.now).state

    @property
    def limit(self) -> float:
        return standing(self.ledger, self.budget, self.ledger.now).limit / USD


def keys(facts: list[Fact]) -> list[str]:
    return [fact.key for fact in facts]


def forecast(expected: float, low: float | None = None, share: float = 0.5) -> Outlook:
    low = expected if low is None else low
    return Outlook(share, round(low * USD), round(expected * USD), round(expected * 1.2 * USD))


def test_pace_is_told_against_what_should_have_been_spent_by_now_and_not_against_the_total() -> None:
    story = Story()
    assert story.spend(15.5, 34.0) == []  # of 50 by now
    (fact,) = story.facts(15.5, 2.0)
    assert (fact.key, fact.severity, fact.spent, fact.limit) == ("pace:0.7", "info", 36 * USD, 100 * USD)
    assert fact.expected == 50 * USD
    assert story.spend(15.5, 5.0) == ["pace:0.8"]
    assert story.spend(16.0, 1.0) == [], "told once"
    assert story.state == "ok"


def test_the_usual_shape_of_a_window_decides_what_should_have_been_spent() -> None:
    assert Story().spend(15.5, 40.0, forecast(90, share=0.9)) == []
    assert Story().spend(15.5, 40.0, forecast(90, share=0.4)) == ["pace:0.8"]


def test_of_several_points_passed_at_once_the_highest_is_told() -> None:
    story = Story(pace_at=[0.7, 0.8, 1.2], alert_at=[0.5, 0.7, 1.0])
    assert sorted(story.spend(15.5, 75.0)) == ["pace:1.2", "soft:0.7"]
    assert story.spend(15.6, 0.1) == []


def test_one_early_call_is_no_trend() -> None:
    story = Story()
    assert story.spend(0.01, 5.0) == []
    assert story.spend(0.02, 3.0) == ["pace:0.8"], "of a tenth of the limit"


def test_a_forecast_beyond_the_limit_is_told_and_pages_who_will_be_refused_for_certain() -> None:
    assert Story().spend(10, 1.0, forecast(99)) == []
    (soft,) = Story().facts(10, 1.0, forecast(110, low=105))
    (unsure,) = Story(hard=True).facts(10, 1.0, forecast(110, low=90))
    (certain,) = Story(hard=True).facts(10, 1.0, forecast(110, low=105))
    assert [f.severity for f in (soft, unsure, certain)] == ["warning", "warning", "critical"]
    assert certain.expected == 110 * USD
    assert Story(alert_on_forecast=False).spend(10, 1.0, forecast(110)) == []


def test_a_soft_limit_is_told_and_nothing_is_refused() -> None:
    story = Story()
    assert story.spend(20, 100.0) == ["soft:1"]
    assert story.spend(21, 50.0) == []
    found = standing(story.ledger, story.budget, story.ledger.now)
    assert (found.state, found.hard, found.stop_at) == ("soft", False, None)


def test_a_hard_limit_is_a_page_and_says_so_instead_of_points() -> None:
    story = Story(hard=True)
    (fact,) = story.facts(20, 100.0)
    assert (fact.key, fact.severity) == ("hard:1", "critical")
    assert standing(story.ledger, story.budget, story.ledger.now).stop_at == 100 * USD
    assert story.state == "hard"
    assert story.spend(21, 0.0) == []


def test_grace_ends_with_its_time() -> None:
    story = Story(hard=True, grace_s=DAY)
    assert story.spend(19, 99.0) == ["pace:0.8"]
    assert standing(story.ledger, story.budget, story.ledger.now).stop_at == 110 * USD
    (fact,) = story.facts(20, 1.0)
    assert (fact.key, fact.until) == ("grace:1", MARCH + 21 * DAY)
    assert due(story.ledger, story.budget) == MARCH + 21 * DAY
    assert story.spend(20.9, 5.0) == []
    assert story.state == "grace"
    assert story.spend(21, 0.0) == ["hard:1"]
    assert standing(story.ledger, story.budget, story.ledger.now).stop_at == 100 * USD


def test_grace_ends_with_its_money() -> None:
    story = Story(hard=True, grace_s=DAY, grace_share=0.05)
    assert story.spend(20, 104.99) == ["grace:1"]
    assert story.spend(20.01, 0.01) == ["hard:1"]


def test_a_correction_takes_the_limit_back() -> None:
    story = Story(hard=True)
    story.spend(20, 100.0)
    assert story.spend(20, -1.0) == ["pace:0.8"]
    assert story.state == "pace"
    assert story.spend(20, 1.0) == [], "told once"
    assert story.state == "hard"


def test_a_window_that_ends_resets_at_its_instant_and_tells_what_it_spent() -> None:
    zone = "America/New_York"
    story = Story(hard=True, timezone=zone)
    april = at("2026-04-01T00:00", zone)
    count(story.ledger, story.budget, april - 10, 100 * USD)
    assert keys(look(story.ledger, story.budget, april - 1)) == ["hard:1"]
    assert due(story.ledger, story.budget) == april
    (fact,) = look(story.ledger, story.budget, april)
    assert (fact.key, fact.spent, fact.window.end, fact.severity) == ("reset:1", 100 * USD, april, "info")
    assert (story.state, standing(story.ledger, story.budget, april).spent) == ("ok", 0)


def test_late_spend_counts_in_the_window_it_belongs_to() -> None:
    story = Story(hard=True)
    story.spend(30.9, 90.0)
    assert story.spend(31.1, 0.0) == ["reset:1"]
    count(story.ledger, story.budget, MARCH + 30.95 * DAY, 50 * USD)
    assert story.spend(31.2, 0.0) == []
    assert (story.state, story.ledger.total) == ("ok", 140 * USD)


def test_spend_of_the_next_window_waits_for_it() -> None:
    story = Story()
    count(story.ledger, story.budget, MARCH + 31 * DAY, 100 * USD)
    assert story.spend(30.9, 0.0) == []
    assert story.spend(31, 0.0) == ["reset:1", "soft:1"]


def test_what_is_not_used_is_carried_over_up_to_a_share_and_not_twice() -> None:
    story = Story(rollover=0.2)
    story.spend(10, 90.0)
    assert story.limit == 100
    story.spend(31, 0.0)
    assert story.limit == 110
    story.spend(61, 0.0)
    assert story.limit == 120, "April spent nothing: its own amount is carried, capped"


def test_late_spend_and_corrections_change_what_is_carried_over() -> None:
    story = Story(rollover=0.2)
    story.spend(10, 90.0)
    story.spend(31, 0.0)
    for dollars, limit in ((4.0, 106), (50.0, 100), (-60.0, 116)):
        count(story.ledger, story.budget, MARCH + 10 * DAY, round(dollars * USD))
        assert story.limit == limit


def test_a_window_that_was_not_watched_from_its_start_leaves_nothing() -> None:
    story = Story(since=MARCH + 60, rollover=0.2)
    story.spend(10, 10.0)
    story.spend(31, 0.0)
    assert story.limit == 100


INCREASE = {"amount_usd": "50", "author": "ops", "expires_at": MARCH + 20 * DAY}


def test_an_increase_holds_until_it_expires() -> None:
    story = Story(hard=True, increases=[{**INCREASE, "starts_at": MARCH + 15 * DAY}])
    story.spend(14, 99.0)
    assert (story.limit, due(story.ledger, story.budget)) == (100, MARCH + 15 * DAY)
    story.spend(15, 40.0)
    assert (story.limit, story.state) == (150, "pace")
    assert due(story.ledger, story.budget) == MARCH + 20 * DAY
    assert story.spend(20, 0.0) == ["hard:1"]
    assert (story.limit, story.state) == (100, "hard")


def test_a_limit_that_was_raised_is_told_of_again() -> None:
    story = Story(hard=True)
    assert story.spend(5, 100.0) == ["hard:1"]
    story.budget = a_budget(hard=True, increases=[INCREASE])
    story.spend(6, 1.0)
    assert story.state == "pace"
    assert story.spend(7, 60.0) == ["hard:1"]


def test_a_rolling_window_forgets_spend_by_and_by() -> None:
    story = Story(window="day", rolling=True, hard=True)
    assert story.spend(1.0, 60.0) == []
    assert story.spend(1.5, 40.0) == ["hard:1"]
    assert story.spend(1.99, 0.0) == []
    assert story.state == "hard"
    assert story.spend(2.02, 0.0) == []
    assert story.state == "ok"
    assert story.spend(2.03, 60.0) == ["hard:1"], "told again: it had been below half"


def test_a_rolling_window_gives_grace_once_while_it_stays_near_its_limit() -> None:
    story = Story(window="day", rolling=True, hard=True, grace_s=3_600.0)
    assert story.spend(1.0, 30.0) == []
    assert story.spend(1.5, 70.0) == ["grace:1"]
    story.spend(1.6, 0.0)
    assert story.state == "hard"
    story.spend(2.03, 0.0)
    assert story.state == "ok"
    story.spend(2.04, 31.0)
    assert story.state == "hard"


@pytest.mark.parametrize(
    ("changes", "hard"),
    [
        ({}, False),
        ({"hard": True}, True),
        ({"purpose": "experiment"}, True),
        ({"purpose": "test"}, True),
        ({"purpose": "unknown_vendor"}, True),
        ({"purpose": "production"}, False),
        ({"purpose": "experiment", "hard": False}, False),
        ({"scope": {"kind": "environment", "value": "Production"}}, False),
        ({"scope": {"kind": "environment", "value": "staging"}}, True),
        ({"scope": {"kind": "environment", "value": "staging"}, "purpose": "production"}, False),
        ({"scope": {"kind": "model", "value": "gpt-4o"}}, False),
    ],
)
def test_experiments_tests_and_unknown_vendors_are_hard_unless_the_record_says_otherwise(
    changes: dict[str, Any], hard: bool
) -> None:
    assert is_hard(a_budget(**changes)) is hard


def test_a_snapshot_says_all_that_a_gateway_needs() -> None:
    story = Story(
        hard=True, grace_s=3_600.0, protected=["checkout-*"], reserve={"amount_usd": "0.05"}, message="Ask."
    )
    story.spend(20, 101.0)
    record = snapshot(
        story.ledger,
        story.budget,
        issued_at=MARCH + 20 * DAY + 3,
        counted_until=MARCH + 20 * DAY - 2,
        valid_s=60,
        config_version="1-a",
        outlook=forecast(130),
    )
    assert decode(BudgetSnapshot, record.to_json()) == record
    assert (record.state, record.limit, record.spent) == ("grace", 100 * USD, 101 * USD)
    assert (record.stop_at, record.reserve, record.protected) == (110 * USD, USD // 20, ["checkout-*"])
    assert record.grace_until is not None
    assert record.grace_until.timestamp() == MARCH + 20 * DAY + 3_600
    assert (record.window_start.timestamp(), record.window_end.timestamp()) == (MARCH, MARCH + 31 * DAY)
    assert (record.valid_until - record.issued_at).total_seconds() == 60


def test_sequences_rise_even_when_a_budget_is_made_anew() -> None:
    def taken(ledger: Ledger, issued: float) -> int:
        return snapshot(
            ledger, a_budget(), issued_at=issued, counted_until=MARCH, valid_s=9, config_version="1"
        ).sequence

    ledger = Ledger(since=MARCH, now=MARCH)
    first = [taken(ledger, MARCH + second) for second in (1, 1, 0.5, 2)]
    assert first == sorted(set(first))
    assert taken(Ledger(since=MARCH, now=MARCH), MARCH + 3) > first[-1]


RECORDS: list[Budget] = [
    a_budget(hard=True, rollover=0.3),
    a_budget(window="day", timezone="Europe/Berlin", hard=True, grace_s=7_200.0),
    a_budget(window="hour", alert_at=[0.5, 1.0], amount_usd="20"),
    a_budget(window="day", rolling=True, hard=True, grace_s=600.0),
    a_budget(window="week", anchor_day=7, increases=[INCREASE]),
    a_budget(amount_usd=..., amount_tokens=100 * USD, purpose="test"),
]
steps = st.lists(
    st.tuples(
        st.floats(0, 40),  # the day it is looked at
        st.floats(0, 3),  # how late the spend is, in days
        st.integers(-5 * USD, 40 * USD),
        st.none() | st.floats(10, 200),
    ),
    max_size=60,
)


@given(st.sampled_from(RECORDS), steps, st.sets(st.integers(0, 60)))
def test_a_restart_at_any_point_tells_the_same_and_leaves_the_same(
    budget: Budget, walk: list[tuple[float, float, int, float | None]], restarts: set[int]
) -> None:
    steady = restarted = Ledger(since=MARCH)
    restarted = load(dump(restarted))
    for number, (day, late, amount, end) in enumerate(walk):
        outlook = None if end is None else forecast(end, low=end * 0.8)
        told = []
        for ledger in (steady, restarted):
            count(ledger, budget, MARCH + (day - late) * DAY, amount)
            told.append(look(ledger, budget, MARCH + day * DAY, outlook))
        assert told[0] == told[1]
        assert dump(steady) == dump(restarted)
        if number in restarts:
            restarted = load(dump(restarted))
    assert len(dump(steady)) < 2_000


@given(st.sampled_from([b for b in RECORDS if not b.rolling and not b.increases and not b.rollover]), steps)
def test_each_fact_is_told_once_per_window(
    budget: Budget, walk: list[tuple[float, float, int, float | None]]
) -> None:
    ledger, told = Ledger(since=MARCH), list[tuple[object, str]]()
    for day, late, amount, end in sorted(walk, key=lambda step: step[0]):
        count(ledger, budget, MARCH + (day - late) * DAY, amount)
        outlook = None if end is None else forecast(end)
        told += [
            (astuple(fact.window), fact.key) for fact in look(ledger, budget, MARCH + day * DAY, outlook)
        ]
    assert len(told) == len(set(told))


@given(st.sampled_from(RECORDS), steps)
def test_what_holds_follows_from_the_numbers_alone(
    budget: Budget, walk: list[tuple[float, float, int, float | None]]
) -> None:
    ledger = Ledger(since=MARCH)
    for day, late, amount, _ in walk:
        count(ledger, budget, MARCH + (day - late) * DAY, amount)
        look(ledger, budget, MARCH + day * DAY)
        found = standing(ledger, budget, ledger.now)
        assert ledger.now in found.window
        assert found.spent == ledger.spent(found.window)
        assert (found.state in ("soft", "grace", "hard")) == (found.spent >= found.limit)
        assert (found.stop_at is None) == (not is_hard(budget))
        assert (found.grace_until is not None) == (found.state == "grace")
        if found.state == "hard":
            assert found.stop_at == found.limit
        if found.stop_at is not None and found.state != "hard":
            assert found.spent < found.stop_at, "what is let through is less than what is refused"
        assert due(ledger, budget) > ledger.now
