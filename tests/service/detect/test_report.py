"""An alert's numbers agree with each other and with the state, and its sentence says them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detectors.protocol import Contribution
from schemas.alerts import Alert
from schemas.decode import decode
from service.detect import report as module
from service.detect.bucket import Bucket, Crowd
from service.detect.report import MAX_NANOS, report
from service.detect.state import WorkflowState
from service.detect.step import step
from service.rules.lifecycle import Incident
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, Traffic, played, rollup


def incident(**fields: Any) -> Incident:
    defaults: dict[str, Any] = {
        "family": "cost",
        "kind": "retry_loop",
        "severity": "critical",
        "fingerprint": "abc",
        "status": "firing",
        "started": float(T0 + 34_200),  # 09:30
        "pending_since": float(T0 + 34_200),
        "last_seen": float(T0 + 34_260),
        "detector": "live_trace",
        "score": 9.0,
        "threshold": 4.0,
        "excess_nanos": 12_500_000_000,
        "fired": float(T0 + 34_203),
        "last_sent": float(T0 + 34_260),
        "sequence": 3,
    }
    return Incident(**(defaults | fields))


def state_with(monkeypatch: pytest.MonkeyPatch, *, rate: float = 0.0, usual: float = 0.0) -> WorkflowState:
    """A state whose recent and usual spend, in dollars an hour, are as given."""
    state = WorkflowState.fresh("support-agent")
    state.now = T0 + 34_260.0
    monkeypatch.setattr(module, "recent_rate", lambda _: rate * 1e9 / 3_600)
    monkeypatch.setattr(module, "usual_rate", lambda *_: usual * 1e9 / 3_600)
    return state


def sentence(
    monkeypatch: pytest.MonkeyPatch, found: Incident, state: WorkflowState, drivers: Any = ()
) -> str:
    monkeypatch.setattr(module, "explain", lambda *_: list(drivers))
    return report(state, found, "v").summary


def driver(factor: str, before: float, after: float, share: int = 5_000_000_000) -> Contribution:
    return Contribution(factor, share, before, after)


def test_sentence_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_with(monkeypatch, rate=212.4, usual=23.1)
    played(state, [rollup(T0 + 34_200, [Doing("tr-7f3a", 1_204, 12_830_000_000, 9_000, "acme")])])
    found = incident(culprits=["tr-7f3a", "tr-gone"])
    assert sentence(monkeypatch, found, state) == (
        "support-agent is spending $770/h, 33× its usual $23/h: calls repeat in a loop since 09:30 UTC in 1 trace"
        " of customer acme, tr-7f3a alone made 1,204 calls for $13; $12 over so far."
    )


@pytest.mark.parametrize(
    ("rate", "usual", "drivers", "fields", "expected"),
    [
        (
            212.4,
            23.1,
            [driver("calls_per_trace", 3.0, 27.4)],
            {},
            "support-agent is spending $212/h, 9× its usual $23/h: calls per trace went from 3 to 27"
            " since 09:30 UTC; $12 over so far.",
        ),
        (
            9.5,
            2.5,
            [driver("input_per_call", 4_200_000.0, 39_000_000.0)],
            {"kind": "context_growth"},
            "support-agent is spending $9.50/h, 3.8× its usual $2.50/h: input per call went from $0.0042 to $0.039"
            " since 09:30 UTC; $12 over so far.",
        ),
        (
            50.0,
            10.0,
            [driver("price", 0.55, 1.0)],
            {"kind": "cache_collapse"},
            "support-agent is spending $50/h, 5× its usual $10/h: the cache no longer helps, price went"
            " from 55 % to 100 % of the list price since 09:30 UTC; $12 over so far.",
        ),
        (
            50.0,
            10.0,
            [driver("price", 2_000_000.0, 10_000_000.0)],
            {"kind": "dearer_calls"},
            "support-agent is spending $50/h, 5× its usual $10/h: price per call went from $0.002 to $0.01"
            " since 09:30 UTC; $12 over so far.",
        ),
        (
            4_000.0,
            0.001,
            [],
            {},
            "support-agent is spending $4k/h, more than 1,000× its usual $0.001/h: calls repeat in a loop"
            " since 09:30 UTC; $12 over so far.",
        ),
        (
            60.0,
            0.0,
            [],
            {},
            "support-agent is spending $60/h (its usual is not known yet): calls repeat in a loop since 09:30 UTC;"
            " $12 over so far.",
        ),
        (
            460.0,
            23.0,
            [driver("traces", 100.0, 2_010.0)],
            {"family": "volume", "kind": "launch", "severity": "info"},
            "support-agent is spending $460/h, 20× its usual $23/h, with 20× the traces at the usual cost per call"
            " since 09:30 UTC, $6.7k today (UTC) if this goes on: looks like a launch.",
        ),
        (
            20.0,
            23.0,
            [],
            {"status": "resolved", "resolved": float(T0 + 36_000), "cost_before": -30_000_000_000},
            "support-agent: retry loop since 09:30 UTC is over; it spent $30, $12 more than usual.",
        ),
    ],
)
def test_sentences(
    monkeypatch: pytest.MonkeyPatch,
    rate: float,
    usual: float,
    drivers: list[Contribution],
    fields: dict[str, Any],
    expected: str,
) -> None:
    state = state_with(monkeypatch, rate=rate, usual=usual)
    assert sentence(monkeypatch, incident(**fields), state, drivers) == expected


@pytest.mark.parametrize(
    ("usual", "now", "expected"),
    [
        (12.4, 210.0, ": customers per 10 s went from 12 to 210, looks like a launch."),
        (12.4, 13.0, ": customers per 10 s went from 12 to 13, the same ones do more."),
        (0.0, 210.0, ": looks like a launch."),
        (12.4, 0.0, ": looks like a launch."),
    ],
)
def test_a_launch_is_told_with_the_customers_it_brings(
    monkeypatch: pytest.MonkeyPatch, usual: float, now: float, expected: str
) -> None:
    state = state_with(monkeypatch, rate=460.0, usual=23.0)
    state.crowd = Crowd(100.0, usual)
    state.buckets = [Bucket(T0 + 34_200 + i * BUCKET, calls=1, customers=now) for i in range(3)]
    found = incident(family="volume", kind="launch", severity="info")
    assert sentence(monkeypatch, found, state).endswith(
        f"at the usual cost per call since 09:30 UTC, $6.7k today (UTC) if this goes on{expected}"
    )


def test_customers_are_learnt_from_calm_buckets_and_told_of_a_launch() -> None:
    state = WorkflowState.fresh("support-agent")
    flow = Traffic(starts=2.0, customers=10_000)
    played(state, flow.records(T0, 2_500))
    usual = state.crowd.mean
    assert 1.0 < usual < 12.0
    told = played(state, flow.records(T0 + 25_000, 60, volume=25.0))
    assert state.crowd.mean == pytest.approx(usual, rel=0.05), "a launch is not the usual"
    (first, *_) = [a for _, e in told for a in e.alerts]
    assert first.kind == "launch"
    before, after = re.findall(r"customers per 10 s went from (\S+) to (\S+), looks", first.summary)[0]
    assert float(before) == pytest.approx(usual, rel=0.06)
    assert float(after) > 4 * usual
    assert first.summary.endswith("looks like a launch.")


def test_what_no_trace_is_to_blame_for_names_none() -> None:
    state = WorkflowState.fresh("support-agent")
    played(state, [rollup(T0 + 34_200, [Doing("a", 5, 10**9)])])
    assert report(state, incident(), "v").evidence.traces == []


shares = st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=5)


@given(shares, st.integers(-(10**16), 10**16))
def test_drivers_add_up_to_the_change_and_stay_within_reason(found: list[int], change: int) -> None:
    contributions = [Contribution(f"f{i}", share, 1.0, 2.0) for i, share in enumerate(found)]
    fitted = module._fitted(contributions, change)
    if not fitted:
        assert sum(found) == 0
        return
    assert sum(c.share_nanos for c in fitted) == change
    assert [c.share_nanos for c in fitted] == sorted((c.share_nanos for c in fitted), reverse=True)
    bound = 20 * (abs(change) + sum(map(abs, found)))
    assert all(abs(c.share_nanos) <= bound for c in fitted)
    if change > 0 and all(share > 0 for share in found):
        assert all(c.share_nanos >= 0 for c in fitted)


@settings(deadline=None, max_examples=settings().max_examples // 3)
@given(
    st.integers(1, 80),
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 10**6), st.integers(0, 10**15), st.booleans()),
        min_size=1,
        max_size=12,
    ),
)
@example(warm=1, steps=[(0, 1, 20 * 10**9, True), (15, 1, 0, False), (15, 1, 0, False), (0, 1, 0, True)])
def test_every_alert_can_be_read_and_its_numbers_agree(
    warm: int, steps: list[tuple[int, int, int, bool]]
) -> None:
    state = WorkflowState.fresh("support-agent")
    played(state, Traffic(deltas=1).records(T0, warm))
    now = T0 + warm * BUCKET
    for gap, calls, cost, traced in steps:
        now += gap * BUCKET
        doing = Doing("t" if traced else None, calls, cost, 10**6, "acme")
        for alert in step(state, rollup(now, [doing]), BOOK).alerts:
            check(alert)


def check(alert: Alert) -> None:
    assert decode(Alert, alert.to_json()) == alert
    if alert.drivers:
        assert sum(d.share_nanos for d in alert.drivers) == alert.cost_nanos - alert.expected_nanos
    assert alert.expected_nanos >= 0
    assert 0 <= alert.cost_nanos <= MAX_NANOS
    assert alert.started_at <= alert.updated_at
    assert alert.fired_at is not None
    assert alert.started_at <= alert.fired_at <= alert.updated_at
    assert (alert.resolved_at is not None) == (alert.status == "resolved")
    assert 10 < len(alert.summary) < 1_000
    for item in alert.evidence.top:
        assert 0.0 <= item.share <= 1.0


def test_money_beyond_what_an_alert_can_say_is_capped_and_does_not_stop_the_watch() -> None:
    """Two events of a million dollars within a second used to be an alert that could not be made."""
    state = WorkflowState.fresh("support-agent")
    told = played(state, [rollup(T0 + i * BUCKET, [Doing("t", 9, 2**61)]) for i in range(12)])
    (first, *_) = [a for _, e in told for a in e.alerts]
    assert first.cost_nanos == first.projected_nanos == MAX_NANOS
    check(first)
    assert state.totals.cost == 12 * 2**61


def test_a_label_that_few_calls_carry_does_not_look_like_the_whole() -> None:
    """One customer with 5 % of the spend, all others without a label: not to be throttled for the rest."""
    state = WorkflowState.fresh("support-agent")
    played(state, [rollup(T0, [Doing("a", 1, 5 * 10**9, customer="acme"), Doing("b", 1, 95 * 10**9)])])
    evidence = report(state, incident(started=float(T0)), "v").evidence
    assert {(i.dimension, i.value): i.share for i in evidence.top} == {
        ("customer", "acme"): 0.05,
        ("model", "gpt-5"): 1.0,
    }


def test_many_small_customers_do_not_make_one_of_them_dominant() -> None:
    doings = [Doing(f"t{i}", 1, 10**9 + 100 - i, customer=f"c{i:02}") for i in range(100)]
    state = WorkflowState.fresh("support-agent")
    played(state, [rollup(T0, doings)])
    shares_ = [
        i.share
        for i in report(state, incident(started=float(T0)), "v").evidence.top
        if i.dimension == "customer"
    ]
    assert shares_ == pytest.approx([0.01, 0.01], abs=1e-4)


def test_the_projection_is_todays_spend_and_the_rate_to_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_with(monkeypatch, rate=36.0)
    state.day, state.day_cost = T0 // 86_400, 7_000_000_000
    state.now = T0 + 86_400 - 3_600.0
    found = incident(last_sent=state.now)
    assert report(state, found, "v").projected_nanos == pytest.approx(43_000_000_000, abs=2)
    state.now = T0 + 86_400 + 3_600.0
    assert report(state, replace_last_sent(found, state.now), "v").projected_nanos == pytest.approx(
        36_000_000_000 * 23, abs=30
    ), "yesterday's spend is not today's"


def replace_last_sent(found: Incident, at: float) -> Incident:
    found.last_sent = at
    return found


def test_after_the_ring_has_moved_on_the_drivers_are_still_those_of_the_incident() -> None:
    """An hour later the last five minutes are not the hour: rate and drivers must not shrink with it."""
    state = WorkflowState.fresh("support-agent")
    flow = Traffic(starts=2.0)
    played(state, flow.records(T0, 2_000))
    start = T0 + 2_000 * BUCKET
    loop = Doing("loop", 30, 1_000_000_000, 8_000)
    told = played(state, flow.records(start, 360, extra=[[loop]] * 360))
    alerts = [a for _, e in told for a in e.alerts]
    for alert in alerts[2:]:
        assert alert.cost_nanos > 0.9 * (alert.updated_at - alert.started_at).total_seconds() * 1e8
        assert alert.drivers[0].factor == "calls_per_trace"
        assert alert.drivers[0].share_nanos > 0
        hourly = int(alert.summary.split("$")[1].split("/h")[0].replace(",", ""))
        assert 350 <= hourly <= 420
        check(alert)


def test_a_launch_counts_its_own_excess() -> None:
    state = WorkflowState.fresh("support-agent")
    flow = Traffic(starts=2.0)
    played(state, flow.records(T0, 2_500))
    told = played(state, flow.records(T0 + 25_000, 60, volume=25.0))
    alerts = [a for _, e in told for a in e.alerts]
    assert {a.kind for a in alerts} == {"launch"}
    for alert in alerts:
        assert alert.excess_nanos == max(0, alert.cost_nanos - alert.expected_nanos)


def test_the_dearest_two_of_each_dimension_are_named() -> None:
    state = WorkflowState.fresh("support-agent")
    doings = [replace(Doing(f"t{i}", 1, (i + 1) * 10**9), customer=f"c{i}", model=f"m{i}") for i in range(5)]
    played(state, [rollup(T0, doings)])
    top = report(state, incident(started=float(T0)), "v").evidence.top
    assert [(i.dimension, i.value) for i in top] == [
        ("customer", "c4"),
        ("customer", "c3"),
        ("model", "m4"),
        ("model", "m3"),
    ]


def looped(buckets: int, **traffic: Any) -> tuple[WorkflowState, list[Alert]]:
    """Seven hours of twelve customers, then three traces of a new one that loop."""
    state = WorkflowState.fresh("support-agent")
    flow = Traffic(starts=2.0, customers=12, **traffic)
    played(state, flow.records(T0, 2_500))
    loop = [
        Doing(f"loop-{i}", 12, 300_000_000, 8_000, customer="acme", key="key-acme", model="o3")
        for i in range(3)
    ]
    told = played(state, flow.records(T0 + 25_000, buckets, extra=[loop] * buckets))
    return state, [a for _, e in told for a in e.alerts]


def test_who_makes_the_excess_comes_first_and_is_compared_with_the_usual() -> None:
    _, alerts = looped(30)
    assert alerts
    for alert in alerts:
        blamed = [item for item in alert.evidence.top if item.excess_share is not None]
        assert alert.evidence.top[: len(blamed)] == blamed, "those that explain it come first"
        assert [(i.dimension, i.value) for i in blamed] == [
            ("customer", "acme"),
            ("api_key", "key-acme"),
            ("model", "o3"),
        ], "the one that people know before those that say the same"
        for item in blamed:
            assert item.usual_share == 0.0
            assert item.excess_share == pytest.approx(1.0, abs=0.1)
            assert item.share > 0.4
        usual = [i for i in alert.evidence.top if i not in blamed and i.dimension == "model"]
        assert [(i.value, i.usual_share, i.excess_share) for i in usual] == [("gpt-5", 1.0, None)]
        keys = [(i.dimension, i.value) for i in alert.evidence.top]
        assert len(keys) == len(set(keys)) <= 20
        assert " traces of customer acme, loop-" in alert.summary
        check(alert)


def test_once_it_is_over_it_is_still_told_whose_doing_it_was() -> None:
    state, _ = looped(30)
    flow = Traffic(starts=2.0, customers=12, seed=5)
    told = played(state, flow.records(T0 + 25_300, 200))
    (over,) = [a for _, e in told for a in e.alerts if a.status == "resolved"]
    assert "went from" in over.summary
    assert over.summary.endswith(" for customer acme.")


def test_a_launch_of_all_customers_alike_blames_nobody() -> None:
    state = WorkflowState.fresh("support-agent")
    flow = Traffic(starts=2.0, customers=12)
    played(state, flow.records(T0, 2_500))
    told = played(state, flow.records(T0 + 25_000, 60, volume=25.0))
    alerts = [a for _, e in told for a in e.alerts]
    assert {a.kind for a in alerts} == {"launch"}
    for alert in alerts:
        assert {i.excess_share for i in alert.evidence.top} == {None}
        assert None not in {i.usual_share for i in alert.evidence.top}


def test_without_a_known_usual_nobody_is_blamed_and_the_dearest_are_named() -> None:
    state = WorkflowState.fresh("support-agent")
    told = played(
        state, [rollup(T0 + i * BUCKET, [Doing("t", 9, 5 * 10**9, customer="acme")]) for i in range(9)]
    )
    (first, *_) = [a for _, e in told for a in e.alerts]
    assert {(i.value, i.usual_share, i.excess_share) for i in first.evidence.top} == {
        ("acme", None, None),
        ("gpt-5", None, None),
    }
    assert "its usual is not known yet" in first.summary


@pytest.mark.parametrize(
    ("now", "ends", "month"),
    [
        ("2026-01-31T23:00:00", "2026-02-01T00:00:00", 2026 * 12),
        ("2026-12-15T00:00:00", "2027-01-01T00:00:00", 2026 * 12 + 11),
        ("2028-02-28T12:00:00", "2028-03-01T00:00:00", 2028 * 12 + 1),
    ],
)
def test_the_months_projection_ends_with_the_month(
    monkeypatch: pytest.MonkeyPatch, now: str, ends: str, month: int
) -> None:
    state = state_with(monkeypatch, rate=36.0)
    state.now = datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp()
    left = datetime.fromisoformat(ends).replace(tzinfo=UTC).timestamp() - state.now
    state.month, state.month_cost = month, 7 * 10**9
    found = incident(started=state.now - 60, fired=state.now, last_sent=state.now)
    assert report(state, found, "v").projected_month_nanos == 7 * 10**9 + left * 10**7
    state.month -= 1
    assert report(state, found, "v").projected_month_nanos == left * 10**7, (
        "last month's spend is not this one's"
    )
