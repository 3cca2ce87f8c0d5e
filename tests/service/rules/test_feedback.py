"""What people say alerts were worth: bounded, reversible, and over after a month."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.alerts import Kind, Verdict
from schemas.control import MAX_ANSWERS, Tuning
from schemas.feedback import WORTH, Feedback, Worth
from service.rules.answers import times
from service.rules.config import ConfigBook, WorkflowConfig, control_key
from service.rules.feedback import MASKED, WINDOW, loudness, meant_usd, remarks, tuning
from tests.service.notify.support import alert

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


def words(*given: Feedback) -> list[tuple[str, str]]:
    """Kind and worth of what holds for the workflow then."""
    return [(one.kind, one.worth) for one in held(*given).answers]


def test_what_is_said_becomes_a_word_on_that_kind_and_nothing_else() -> None:
    for worth in WORTH:
        found = held(said(worth))
        assert found == replace(BASE, answers=found.answers)
        assert [(one.kind, one.worth, one.fingerprint) for one in found.answers] == [
            ("retry_loop", worth, "f0.0")
        ]


def test_what_is_usual_counts_for_a_month_and_what_is_masked_for_a_week() -> None:
    ends = {worth: held(said(worth)).answers[0].until - NOW for worth in WORTH}
    assert ends == {"real": MASKED, "planned": MASKED, "expected": WINDOW, "not_worth_it": WINDOW}
    assert words(said("planned", 7), said("real", 8), said("expected", 9)) == []


def test_real_voids_what_was_said_before_of_that_kind_and_not_what_is_said_later() -> None:
    assert words(said("not_worth_it", 2), said("real", 1)) == [("retry_loop", "real")]
    assert words(said("real", 2), said("not_worth_it", 1)) == [
        ("retry_loop", "real"),
        ("retry_loop", "not_worth_it"),
    ]
    assert words(said("expected", 2, kind="creep"), said("real", 1)) == [
        ("creep", "expected"),
        ("retry_loop", "real"),
    ]


def test_real_voids_also_when_it_is_over_itself() -> None:
    assert words(said("not_worth_it", 20), said("real", 10)) == []


def test_doubts_about_data_need_twice_the_calls_and_budgets_have_their_own_records() -> None:
    doubt = held(said("not_worth_it", kind="data_quality"))
    assert doubt.data_quality_min_calls == 2 * BASE.data_quality_min_calls
    assert held(said("expected", kind="data_quality")) == BASE
    for kind in ("budget_pace", "budget_exhausted", "throttle"):
        assert held(said("not_worth_it", kind=kind)) == BASE


def test_a_planned_alert_carries_the_dollars_that_were_meant() -> None:
    [planned] = held(said("planned", cap_usd=Decimal(40), loudness=3.0)).answers
    assert (planned.cap_usd, planned.loudness) == (Decimal(40), 3.0)
    assert held(said("expected", cap_usd=Decimal(40))).answers[0].cap_usd is None


def test_the_last_word_on_an_alert_counts() -> None:
    first, second = said("not_worth_it", 2, fingerprint="f"), said("planned", 1, fingerprint="f")
    assert words(first, second) == [("retry_loop", "planned")]


def test_it_is_over_after_a_month_and_about_no_other_workflow() -> None:
    assert held(said("not_worth_it", 30)) == held(said("not_worth_it", workflow="agent")) == BASE
    found = tuning("chat", BASE, [said("not_worth_it", 20), said("expected", 10)], NOW)
    assert found is not None
    assert found.expires_at == NOW - timedelta(days=10) + WINDOW
    assert found.holds(NOW)
    assert not found.holds(NOW + timedelta(days=20))


def test_it_says_who_said_what_of_which_kind_and_until_when() -> None:
    found = tuning(
        "chat", BASE, [said("expected", 5, kind="creep"), said("not_worth_it", 2, author="bo")], NOW
    )
    assert found is not None
    assert (found.author, found.reason) == (
        "bo",
        'quieter about retry loop since bo said "not worth it" on 2026-11-20, until 2026-12-20; '
        'learning creep as the usual since ada said "always like that" on 2026-11-17, until 2026-12-17',
    )
    assert remarks(book_of(found)) == {"chat": found.reason}


def test_who_is_told_hears_of_the_latest_few() -> None:
    kinds: list[Kind] = ["creep", "retry_loop", "launch", "new_customer", "context_growth"]
    found = tuning("chat", BASE, [said("expected", n, kind=kind) for n, kind in enumerate(kinds)], NOW)
    assert found is not None
    assert found.reason is not None
    assert found.reason.startswith("learning creep")
    assert found.reason.endswith("; and 2 more")


@pytest.mark.parametrize("other", ["chat", "zzz"])
def test_it_holds_beside_other_tunings_of_the_workflow(other: str) -> None:
    book = ConfigBook.empty()
    own = (
        b'{"kind":"tuning","name":"%s","scope":{"workflow":"chat"},"settings":{"page_budget":4}}'
        % other.encode()
    )
    book = book.apply(f"tuning/{other}", own, 1)
    found = tuning("chat", book.workflow("chat"), [said("expected")], NOW)
    assert found is not None
    both = book.apply(control_key(found), found.to_json(), 2)
    assert both.workflow("chat").page_budget == 4.0
    assert len(both.workflow("chat").answers) == 1


def test_without_the_record_everything_is_what_it_was_byte_for_byte() -> None:
    own = b'{"kind":"tuning","name":"own","scope":{"workflow":"chat"},"settings":{"page_budget":4}}'
    book = ConfigBook.empty().apply("tuning/own", own, 1)
    before = (book.workflow("chat"), book.version, effective(book))
    found = tuning("chat", book.workflow("chat"), [said(worth) for worth in WORTH], NOW)
    assert found is not None
    with_it = book.apply(control_key(found), found.to_json(), 2)
    assert effective(with_it) != before[2]
    without = with_it.apply(control_key(found), None, 3)
    assert (without.workflow("chat"), without.version, effective(without)) == before
    assert found.expires_at is not None
    assert effective(with_it.at(found.expires_at)) == before[2]


def effective(book: ConfigBook) -> bytes:
    return repr(book.workflow("chat")).encode()


def book_of(found: Tuning) -> ConfigBook:
    return ConfigBook.empty().apply(control_key(found), found.to_json(), 1)


@given(
    st.lists(
        st.tuples(st.sampled_from(WORTH), st.floats(0, 60), st.sampled_from(get_args(Kind))), max_size=40
    ),
    st.floats(0, 1e12, allow_nan=False),
    st.randoms(use_true_random=False),
)
def test_the_effect_is_bounded_and_does_not_depend_on_order(
    words: list[tuple[Worth, float, Kind]], score: float, chance: Any
) -> None:
    loud = loudness(alert(verdict=Verdict(detector="unit_cost", score=score, threshold=1.0)))
    given = [
        said(worth, days, fingerprint=str(n), kind=kind, loudness=loud)
        for n, (worth, days, kind) in enumerate(words)
    ]
    found = tuning("chat", BASE, given, NOW)
    chance.shuffle(given)
    assert tuning("chat", BASE, given, NOW) == found
    if found is None:
        return
    config = book_of(found).workflow("chat")
    assert 1 <= len(config.answers) <= MAX_ANSWERS
    assert replace(config, answers=(), data_quality_min_calls=BASE.data_quality_min_calls) == BASE
    assert config.data_quality_min_calls <= 8 * BASE.data_quality_min_calls
    assert len(found.to_json()) <= Tuning.max_bytes
    assert found.expires_at is not None
    assert NOW < found.expires_at <= NOW + WINDOW
    for kind in get_args(Kind):
        assert times(config.answers, kind, NOW.timestamp()) <= 8


def test_twice_the_dollars_of_the_day_are_meant_whatever_an_alert_says() -> None:
    assert meant_usd(alert(projected_nanos=10_400_000_000, cost_nanos=1)) == 21
    assert meant_usd(alert(projected_nanos=-5, cost_nanos=0)) == 1
    assert meant_usd(alert(projected_nanos=2**62)) == 1_000_000
