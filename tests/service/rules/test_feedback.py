"""What people say alerts were worth: bounded, reversible, and over after a month."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.feedback import WORTH, Feedback, Worth
from service.rules.config import ConfigBook, WorkflowConfig, control_key
from service.rules.feedback import WINDOW, tuning

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BASE = WorkflowConfig()


def said(worth: Worth, days_ago: float = 0.0, **changed: Any) -> Feedback:
    at = NOW - timedelta(days=days_ago)
    return Feedback(
        **{
            "fingerprint": f"f{days_ago}",
            "workflow": "chat",
            "kind": "retry_loop",
            "worth": worth,
            "author": "ada",
            "at": at,
            "via": "cli",
            **changed,
        }
    )


def held(*given: Feedback) -> WorkflowConfig:
    """What holds for the workflow then."""
    found = tuning("chat", BASE, given, NOW)
    if found is None:
        return BASE
    return ConfigBook.empty().apply(control_key(found), found.to_json(), 1).at(NOW).workflow("chat")


def test_not_worth_it_asks_for_twice_the_money_and_half_the_pages() -> None:
    found = held(said("not_worth_it"))
    assert (found.min_excess_usd, found.trace_min_usd) == (Decimal("1.0"), Decimal("0.50"))
    assert found.page_budget == BASE.page_budget / 2


def test_expected_asks_for_half_the_pages_only() -> None:
    assert held(said("expected")) == WorkflowConfig(page_budget=BASE.page_budget / 2)


def test_planned_says_nothing_of_other_times() -> None:
    assert tuning("chat", BASE, [said("planned")], NOW) is None


def test_real_voids_what_was_said_before_and_not_what_is_said_later() -> None:
    assert held(said("not_worth_it", 2), said("real", 1)) == BASE
    assert held(said("real", 2), said("not_worth_it", 1)) == held(said("not_worth_it", 1))


def test_the_last_word_on_an_alert_counts() -> None:
    first, second = said("not_worth_it", 2, fingerprint="f"), said("planned", 1, fingerprint="f")
    assert held(first, second) == BASE


def test_it_is_over_after_a_month_and_about_no_other_workflow() -> None:
    assert held(said("not_worth_it", 30)) == held(said("not_worth_it", workflow="agent")) == BASE
    found = tuning("chat", BASE, [said("not_worth_it", 20), said("expected", 10)], NOW)
    assert found is not None
    assert found.expires_at == NOW - timedelta(days=10) + WINDOW
    assert found.holds(NOW)
    assert not found.holds(NOW + timedelta(days=20))


def test_it_says_who_said_what() -> None:
    found = tuning("chat", BASE, [said("expected", 5), said("not_worth_it", 2, author="bo")], NOW)
    assert found is not None
    assert (found.author, found.reason) == (
        "bo",
        'quieter since bo said "not worth it" on 2026-11-20, the last of 2 answers',
    )


@pytest.mark.parametrize("other", ["chat", "zzz"])
def test_it_holds_over_other_tunings_of_the_workflow(other: str) -> None:
    book = ConfigBook.empty()
    own = (
        b'{"kind":"tuning","name":"%s","scope":{"workflow":"chat"},"settings":{"page_budget":4}}'
        % other.encode()
    )
    book = book.apply(f"tuning/{other}", own, 1)
    found = tuning("chat", book.workflow("chat"), [said("expected")], NOW)
    assert found is not None
    assert book.apply(control_key(found), found.to_json(), 2).workflow("chat").page_budget == 2.0


@given(
    st.lists(st.tuples(st.sampled_from(WORTH), st.floats(0, 60)), max_size=40),
    st.floats(0.01, 100),
    st.decimals(0, 1_000_000, places=2),
    st.randoms(use_true_random=False),
)
def test_the_effect_is_bounded_and_does_not_depend_on_order(
    words: list[tuple[Worth, float]], budget: float, usd: Decimal, chance: Any
) -> None:
    base = WorkflowConfig(page_budget=budget, min_excess_usd=usd)
    given = [said(worth, days, fingerprint=str(n)) for n, (worth, days) in enumerate(words)]
    found = tuning("chat", base, given, NOW)
    chance.shuffle(given)
    assert tuning("chat", base, given, NOW) == found
    if found is not None:
        assert found.settings.page_budget is not None
        assert max(budget / 8, 0.01) <= found.settings.page_budget <= budget
        if found.settings.min_excess_usd is not None:
            assert (
                usd <= found.settings.min_excess_usd <= 8 * usd or found.settings.min_excess_usd == 1_000_000
            )
        ConfigBook.empty().apply(control_key(found), found.to_json(), 1)
