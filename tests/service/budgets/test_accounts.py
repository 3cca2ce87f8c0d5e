"""What is counted, told and kept of budgets, without a broker."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.alerts import Alert
from schemas.control import Budget
from schemas.decode import decode
from schemas.rollups import Watched
from service.budgets import account as accounts_codec
from service.budgets import progress as progress_codec
from service.budgets.accounts import STILL_S, Accounts, Said
from service.budgets.entry import Spend
from service.rules import forecast
from service.rules.config import ConfigBook
from tests.service.budgets.support import T0, accounts, book, spend, tick
from tests.service.rules.budgets import USD, a_budget, at

DAY = 86_400.0


def daily(**changes: Any) -> Budget:
    return a_budget(window="day", pace_at=[], alert_on_forecast=False, **changes)


def said(found: Sequence[Alert]) -> list[tuple[str, str]]:
    return [(alert.kind, alert.status) for alert in found]


def restarted(before: Accounts, wall: float) -> Accounts:
    """As another process finds what this one has kept."""
    kept = {
        name: accounts_codec.load(accounts_codec.dump(account), forecast.dump(account.usual))
        for name, account in before.accounts.items()
    }
    progress = progress_codec.load(progress_codec.dump(before.progress))
    after = Accounts(kept, progress, 1)
    after.use(before._book, wall)
    return after


# --- counting -------------------------------------------------------------------------------------------------


def test_spend_counts_in_every_budget_whose_scope_it_is_in_and_once_in_the_organisations() -> None:
    some = accounts(
        a_budget(name="team"),
        a_budget(name="all", scope={"kind": "organisation"}),
        a_budget(name="mine", scope={"kind": "workflow", "value": "care"}),
        a_budget(name="tokens", amount_usd=..., amount_tokens=1_000),
    )
    some.count(0, 0, spend(2.0, kind="workflow", tokens=30))
    some.count(0, 1, spend(2.0, kind="team", tokens=30))
    some.count(0, 2, spend(2.0, kind="workflow", of="unattributed"))
    some.count(0, 3, spend(5.0, kind="gateway"))
    totals = {name: account.ledger.total for name, account in some.accounts.items()}
    assert totals == {"team": 2 * USD, "all": 4 * USD, "mine": 2 * USD, "tokens": 30}


deltas = st.lists(
    st.tuples(
        st.sampled_from([("workflow", "w"), ("workflow", "v"), ("team", "care"), ("team", "x")]),
        st.integers(-(10**6), 10**12),
        st.floats(-3 * DAY, 3 * DAY),
    ),
    max_size=40,
)


@given(deltas, st.lists(st.integers(0, 40), max_size=5), st.randoms(use_true_random=False))
def test_a_crash_anywhere_loses_nothing_and_counts_nothing_twice(
    records: list[tuple[tuple[str, str], int, float]], crashes: list[int], chance: random.Random
) -> None:
    """What was kept last is gone on from, whatever was counted and told since then."""
    budgets = book(a_budget(name="team"), a_budget(name="all", scope={"kind": "organisation"}, window="day"))
    some = Accounts({}, accounts().progress, 2)
    some.use(budgets, T0)
    kept = restarted(some, T0)
    durable = 0
    offset = 0
    crashes = sorted(crashes, reverse=True)
    while offset < len(records):
        (kind, value), nanos, when = records[offset]
        some.count(offset % 2, offset, Spend(kind, value, T0 + when, T0 + when, nanos, 0))
        offset += 1
        if chance.random() < 0.3:
            some.tell(T0 + offset)
            kept, durable = restarted(some, T0), offset
        if crashes and crashes[-1] <= offset:
            crashes.pop()
            # Reading begins anywhere before the end of what is contained, as when it went back for a new budget.
            some, offset = restarted(kept, T0), chance.randint(0, durable)
    expected = {
        "team": sum(nanos for whose, nanos, _ in records if whose == ("team", "care")),
        "all": sum(nanos for whose, nanos, _ in records if whose[0] == "workflow"),
    }
    assert {name: account.ledger.total for name, account in some.accounts.items()} == expected


# --- gateways -------------------------------------------------------------------------------------------------


def test_a_snapshot_comes_at_once_then_each_second_of_spend_then_every_few_seconds() -> None:
    some = accounts(daily())
    (first,) = some.tell(T0).snapshots
    assert (first.spent, first.limit, first.state) == (0, 100 * USD, "ok")
    assert not some.tell(T0 + 1.5).snapshots, "nothing is new"
    some.count(0, 0, spend(3.0))
    some.pass_time(0, tick(T0 + 1), T0)
    (second,) = some.tell(T0 + 1.6).snapshots
    assert (second.spent, second.counted_until.timestamp()) == (3 * USD, T0 + 1)
    assert second.sequence > first.sequence
    some.count(0, 1, spend(3.0))
    assert not some.tell(T0 + 2.0).snapshots, "half a second after the last"
    assert [s.spent for s in some.tell(T0 + 2.6).snapshots] == [6 * USD]
    assert some.tell(T0 + 2.6 + STILL_S).snapshots, "nobody knows otherwise that somebody counts"


def test_the_limit_is_told_at_once() -> None:
    some = accounts(daily(hard=True))
    some.tell(T0)
    some.count(0, 0, spend(100.0))
    (snapshot,) = some.tell(T0 + 0.1).snapshots
    assert (snapshot.state, snapshot.stop_at) == ("hard", 100 * USD)


def test_what_was_spent_before_a_budget_was_counted_is_not_passed_over_in_silence() -> None:
    some = accounts(daily())
    assert some.tell(T0).snapshots[0].counted_since is not None
    known = accounts(daily())
    known.since("care", T0 - DAY)
    assert known.tell(T0).snapshots[0].counted_since is None


def test_nothing_is_said_of_a_budget_whose_past_is_being_read() -> None:
    some = accounts(daily())
    some.count(0, 0, spend(1.0))
    assert some.tell(T0, {"care"}) == Said()
    assert some.tell(T0).snapshots[0].spent == USD


def test_a_window_ends_by_the_watermark_alone_at_the_right_instant_of_its_zone() -> None:
    some = accounts(daily(timezone="Europe/Berlin"), wall=at("2026-03-29T12:00:00"))
    before = at("2026-03-29T21:59:50")  # clocks went forward that morning: midnight is at 22:00 UTC
    some.count(0, 0, spend(7.0, when=before))
    some.pass_time(0, tick(before), before)
    assert some.tell(before).snapshots[0].spent == 7 * USD
    some.pass_time(0, tick(before + 10.0), before + 10.0)
    (snapshot,) = some.tell(before + 10.0).snapshots
    assert (snapshot.spent, snapshot.window_start.isoformat()) == (0, "2026-03-29T22:00:00+00:00")
    some.count(0, 1, spend(1.0, when=before))  # late
    assert some.accounts["care"].ledger.total == 8 * USD
    assert some.tell(before + 20.0).snapshots[0].spent == 0


def test_spend_of_the_future_ends_no_window() -> None:
    some = accounts(daily())
    night = at("2026-03-10T23:59:00")
    some.pass_time(0, tick(night), night)
    some.count(0, 0, spend(1.0, when=night + 120.0))
    (snapshot,) = some.tell(night).snapshots
    assert snapshot.window_end.timestamp() == night + 60.0
    assert some.tell(night + 61.0).snapshots[0].window_start.timestamp() == night + 60.0


# --- people ---------------------------------------------------------------------------------------------------


def test_what_is_told_is_sent_again_while_it_holds_and_resolved_when_the_window_is_over() -> None:
    some = accounts(daily())
    some.count(0, 0, spend(100.0))
    (fired,) = some.tell(T0).alerts
    assert (fired.kind, fired.status, fired.severity) == ("budget_exhausted", "firing", "warning")
    assert (fired.workflow, fired.team, fired.scope) == (
        "team care",
        "care",
        Watched(kind="team", value="care"),
    )
    assert (fired.cost_nanos, fired.excess_nanos) == (100 * USD, 0)
    assert "$100.00 of $100.00" in fired.summary
    assert some.tell(T0 + 30).alerts == []
    some.pass_time(0, tick(T0 + 61), T0 + 61)
    (again,) = some.tell(T0 + 61).alerts
    assert (again.fingerprint, again.status, again.sequence) == (fired.fingerprint, "firing", 2)
    some.pass_time(0, tick(T0 + DAY / 2), T0 + DAY / 2)
    (over,) = some.tell(T0 + DAY / 2).alerts
    assert (over.fingerprint, over.status, over.sequence) == (fired.fingerprint, "resolved", 3)
    assert "the window is over" in over.summary
    assert some.tell(T0 + DAY / 2 + 61).alerts == []
    some.count(0, 1, spend(100.0, when=T0 + DAY / 2 + 1))
    (next_day,) = some.tell(T0 + DAY / 2 + 62).alerts
    assert next_day.fingerprint != fired.fingerprint


def test_the_same_is_not_told_anew_by_the_next_process() -> None:
    some = accounts(daily())
    some.count(0, 0, spend(100.0))
    (fired,) = some.tell(T0).alerts
    after = restarted(some, T0 + 10)
    assert after.tell(T0 + 10).alerts == []
    after.pass_time(0, tick(T0 + DAY / 2), T0)
    (over,) = after.tell(T0 + DAY / 2).alerts
    assert (over.fingerprint, over.status, over.sequence) == (fired.fingerprint, "resolved", 2)


def test_pace_soft_and_hard_are_alerts_of_their_own() -> None:
    some = accounts(a_budget(window="day", hard=True, grace_s=600, alert_on_forecast=False))
    some.count(0, 0, spend(36.0))
    (pace,) = some.tell(T0).alerts
    assert (pace.kind, pace.severity, pace.verdict.threshold) == ("budget_pace", "info", 0.7)
    some.count(0, 1, spend(64.0))
    (grace,) = some.tell(T0 + 1).alerts
    assert (grace.kind, grace.severity, grace.verdict.detector) == (
        "budget_exhausted",
        "critical",
        "budget.grace",
    )
    some.pass_time(0, tick(T0 + 601), T0 + 601)
    assert ("budget_exhausted", "firing") in said(some.tell(T0 + 601).alerts)
    assert {told.key for told in some.accounts["care"].told} == {"pace:0.7", "grace:1", "hard:1"}


def test_a_temporary_increase_ends_what_was_told_and_is_reached_anew() -> None:
    some = accounts(daily())
    some.count(0, 0, spend(100.0))
    (fired,) = some.tell(T0).alerts
    more = {"amount_usd": "50", "expires_at": T0 + 3_600, "author": "ada"}
    some.use(book(daily(increases=[more])), T0 + 1)
    found = some.tell(T0 + 1)
    assert [(a.fingerprint, a.status) for a in found.alerts] == [(fired.fingerprint, "resolved")]
    assert found.snapshots[0].limit == 150 * USD
    some.count(0, 1, spend(50.0))
    (anew,) = some.tell(T0 + 2).alerts
    assert anew.status == "firing"
    assert anew.fingerprint != fired.fingerprint
    some.pass_time(0, tick(T0 + 3_600), T0 + 3_600)
    assert some.tell(T0 + 3_600).snapshots[0].limit == 100 * USD


def test_a_rolling_window_is_told_again_after_it_was_quiet() -> None:
    some = accounts(a_budget(window="hour", rolling=True, pace_at=[]))
    some.count(0, 0, spend(100.0))
    (fired,) = some.tell(T0).alerts
    some.pass_time(0, tick(T0 + 3_700), T0 + 3_700)
    (over,) = some.tell(T0 + 3_700).alerts
    assert (over.fingerprint, over.status) == (fired.fingerprint, "resolved")
    some.count(0, 1, spend(100.0, when=T0 + 3_701))
    assert said(some.tell(T0 + 3_702).alerts) == [("budget_exhausted", "firing")]


def test_the_forecast_waits_until_something_is_known() -> None:
    some = accounts(a_budget(window="day", pace_at=[]), wall=at("2026-03-10T00:00:00"))
    early = at("2026-03-10T00:01:00")
    some.count(0, 0, spend(1.0, when=early))
    assert some.tell(early).alerts == [], "a dollar in the first minute is no trend"
    later = at("2026-03-10T06:00:00")
    some.count(0, 1, spend(60.0, when=later))
    found = some.tell(later + 60)
    assert said(found.alerts) == [("budget_pace", "firing")]
    assert found.alerts[0].verdict.detector == "budget.forecast"
    assert found.snapshots[0].forecast is not None
    assert found.alerts[0].projected_nanos == found.snapshots[0].forecast.expected


# --- the record changes ---------------------------------------------------------------------------------------


def test_a_deleted_budget_ends_its_snapshot_its_alerts_and_what_is_kept() -> None:
    some = accounts(daily())
    some.count(0, 0, spend(100.0))
    (fired,) = some.tell(T0).alerts
    for after in (restarted(some, T0), some):
        list(after.changes(T0))
        after.use(ConfigBook.empty(), T0 + 1)
        found = after.tell(T0 + 1)
        assert found.ended == ["care"]
        assert [(a.fingerprint, a.status) for a in found.alerts] == [(fired.fingerprint, "resolved")]
        assert list(after.changes(T0 + 1)) == [("care", None, True)]
        after.count(0, 9, spend(1.0))


def test_a_budget_that_was_deleted_while_nobody_ran_is_ended_by_the_next_process() -> None:
    some = accounts(daily())
    some.count(0, 0, spend(100.0))
    some.tell(T0)
    kept = accounts_codec.load(accounts_codec.dump(some.accounts["care"]))
    after = Accounts({"care": kept}, some.progress, 1)
    after.use(book(daily(name="other")), T0 + 1)
    found = after.tell(T0 + 1)
    assert (found.ended, said(found.alerts)) == (["care"], [("budget_exhausted", "resolved")])
    assert [snapshot.budget for snapshot in found.snapshots] == ["other"]


def test_a_budget_for_somebody_else_by_the_same_name_begins_anew() -> None:
    some = accounts(daily())
    some.count(0, 0, spend(100.0))
    some.tell(T0)
    new = some.use(book(daily(scope={"kind": "team", "value": "sales"})), T0 + 1)
    assert [budget.name for budget in new] == ["care"]
    found = some.tell(T0 + 1)
    assert (found.ended, said(found.alerts)) == ([], [("budget_exhausted", "resolved")])
    assert (found.snapshots[0].spent, found.snapshots[0].scope.value) == (0, "sales")


def test_only_what_changed_is_kept_again() -> None:
    some = accounts(daily(), daily(name="other", scope={"kind": "team", "value": "x"}))
    some.tell(T0)
    assert {name for name, _, _ in some.changes(T0)} == {"care", "other"}
    assert list(some.changes(T0)) == []
    some.count(0, 0, spend(1.0))
    assert [(name, learnt) for name, _, learnt in some.changes(T0 + 1)] == [("care", True)]
    some.count(0, 1, spend(1.0))
    assert [learnt for _, _, learnt in some.changes(T0 + 2)] == [False], "what is usual can wait a minute"


@pytest.mark.parametrize("bad", [b"", b"\x09", b"\x01\x00"])
def test_an_account_that_cannot_be_read_is_not_begun_anew(bad: bytes) -> None:
    with pytest.raises(accounts_codec.UnreadableAccount):
        accounts_codec.load(bad)


def test_every_alert_is_a_record_of_the_contract() -> None:
    some = accounts(
        daily(name="a", amount_usd="1000000000"),
        daily(name="b", scope={"kind": "environment", "value": "test"}),
        daily(name="c", scope={"kind": "organisation"}),
        daily(name="d", amount_usd=..., amount_tokens=5),
    )
    some.count(0, 0, spend(1e12, tokens=9))
    some.count(0, 1, spend(100.0, kind="environment", of="test"))
    some.count(0, 2, spend(100.0, kind="workflow"))
    found = some.tell(T0).alerts
    assert [a.workflow for a in found] == ["team care", "environment test", "organisation", "team care"]
    for alert in found:
        assert decode(Alert, alert.to_json(), max_bytes=Alert.max_bytes) == alert
