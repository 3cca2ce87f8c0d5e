"""The sentence of every kind of incident, as a person is woken by it."""

from __future__ import annotations

import typing
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.protocol import Contribution
from schemas.alerts import Evidence, Kind, TraceEvidence
from service.detect.sentence import Account, sentence
from service.rules.lifecycle import Incident

NOON = datetime(2026, 1, 3, 14, 7, 30, tzinfo=UTC).timestamp()
USD = 10**9
ACME = ("customer", "acme", 0.94, 0.06, 0.81)


def rate(dollars_an_hour: float) -> float:
    return dollars_an_hour * USD / 3_600


def incident(kind: Kind, **fields: Any) -> Incident:
    known: dict[str, Any] = {
        "family": {"launch": "volume", "data_quality": "data_quality"}.get(kind, "cost"),
        "kind": kind,
        "severity": "critical",
        "fingerprint": "f",
        "status": "firing",
        "started": NOON,
        "pending_since": NOON,
        "last_seen": NOON + 60,
        "detector": "unit_cost",
        "score": 9.0,
        "threshold": 6.0,
        "excess_nanos": 96 * USD,
    }
    return Incident(**(known | fields))


def account(**fields: Any) -> Account:
    known: dict[str, Any] = {
        "workflow": "support-agent",
        "now": NOON + 1_500,
        "rate": rate(212.4),
        "usual": rate(23.1),
        "cost": 105 * USD,
        "excess": 96 * USD,
        "today": 2_310 * USD,
        "month": 64_000 * USD,
    }
    return Account(**(known | fields))


def traces(n: int, *customers: str | None) -> Evidence:
    return Evidence(
        traces=[
            TraceEvidence(
                trace_id=f"tr-{i}",
                calls=1_204 - i,
                cost_nanos=(13 - i) * USD,
                started_at=datetime.fromtimestamp(NOON, UTC),
                customer=customers[i % len(customers)] if customers else None,
            )
            for i in range(n)
        ]
    )


def up(factor: str, before: float, after: float, share: int = 90 * USD) -> Contribution:
    return Contribution(factor, share, before, after)


LOOP = up("calls_per_trace", 3.1, 41.0)

GOLDEN: list[tuple[Incident, Account, Evidence, str]] = [
    (
        incident("retry_loop"),
        account(drivers=[LOOP]),
        traces(10, "acme"),
        "support-agent is spending $212/h, 9× its usual $23/h: calls per trace went from 3.1 to 41"
        " since 14:07 UTC in 10 traces of customer acme, tr-0 alone made 1,204 calls for $13; $96 over so far.",
    ),
    (
        incident("retry_loop", suspects=[ACME]),
        account(drivers=[LOOP]),
        Evidence(),
        "support-agent is spending $212/h, 9× its usual $23/h: calls per trace went from 3.1 to 41"
        " since 14:07 UTC for customer acme; $96 over so far.",
    ),
    (
        incident("context_growth", suspects=[("feature", "triage", 0.9, 0.2, 0.7)]),
        account(drivers=[up("input_per_call", 4.2e6, 3.9e7), up("output_per_call", 1e6, 2e6, 2 * USD)]),
        Evidence(),
        "support-agent is spending $212/h, 9× its usual $23/h: input per call went from $0.0042 to $0.039"
        " since 14:07 UTC in feature triage; $96 over so far.",
    ),
    (
        incident("output_growth"),
        account(drivers=[up("output_per_call", 1e6, 9e6, 50 * USD), up("calls_per_trace", 2, 5, 46 * USD)]),
        Evidence(),
        "support-agent is spending $212/h, 9× its usual $23/h: output per call went from $0.001 to $0.009"
        " and calls per trace went from 2 to 5 since 14:07 UTC; $96 over so far.",
    ),
    (
        incident("dearer_calls", suspects=[("model", "o3-pro", 1.02, 0.0, 0.9)]),
        account(drivers=[up("price", 0.8, 4.4)]),
        Evidence(),
        "support-agent is spending $212/h, 9× its usual $23/h: price went from 80 % to 440 % of the list price"
        " since 14:07 UTC on model o3-pro; $96 over so far.",
    ),
    (
        incident("cache_collapse"),
        account(drivers=[up("price", 0.3, 0.99)], rate=rate(70)),
        Evidence(),
        "support-agent is spending $70/h, 3.0× its usual $23/h: the cache no longer helps, price went from 30 %"
        " to 99 % of the list price since 14:07 UTC; $96 over so far.",
    ),
    (
        incident("runaway_trace", culprits=[f"tr-{i}" for i in range(13)]),
        account(usual=0.0),
        traces(10, "acme", "globex"),
        "support-agent is spending $212/h (its usual is not known yet): a trace runs away since 14:07 UTC"
        " in more than 10 traces, tr-0 alone made 1,204 calls for $13; $96 over so far.",
    ),
    (
        incident("new_customer", suspects=[ACME]),
        account(drivers=[up("traces", 10, 90)]),
        Evidence(),
        "support-agent is spending $212/h, 9× its usual $23/h: new customer acme makes 81 % of the spend"
        " since 14:07 UTC; $96 over so far.",
    ),
    (
        incident("new_api_key", suspects=[ACME, ("api_key", "key-9", 0.9, 0.0, 0.8)]),
        account(),
        Evidence(),
        "support-agent is spending $212/h, 9× its usual $23/h: new key key-9 makes 80 % of the spend"
        " since 14:07 UTC for customer acme; $96 over so far.",
    ),
    (
        incident("new_api_key", note="key key-9, first seen 40 min ago, spent $96."),
        account(),
        Evidence(),
        "support-agent is spending $212/h, 9× its usual $23/h: key key-9, first seen 40 min ago, spent $96"
        " since 14:07 UTC; $96 over so far.",
    ),
    (
        incident("cost_per_trace"),
        account(),
        Evidence(),
        "support-agent is spending $212/h, 9× its usual $23/h: traces cost more since 14:07 UTC; $96 over so far.",
    ),
    (
        incident("creep", severity="warning", started=NOON - 2 * 86_400),
        account(rate=rate(34.7), drivers=[up("calls_per_trace", 3.0, 4.4)]),
        Evidence(),
        "support-agent is spending $35/h, 1.5× its usual $23/h: calls per trace crept from 3 to 4.4"
        " since 14:07 UTC on Jan 1; $96 over so far.",
    ),
    (
        incident("unusual_pattern", severity="warning"),
        account(rate=rate(24), excess=0),
        Evidence(),
        "support-agent is spending $24/h, about its usual $23/h: an unusual mix of calls, tokens and prices"
        " since 14:07 UTC; nothing over the usual so far.",
    ),
    (
        incident("budget_pace", severity="warning", note="$1.2k of $2k a day are spent at noon."),
        account(),
        Evidence(),
        "support-agent is spending $212/h, 9× its usual $23/h: $1.2k of $2k a day are spent at noon;"
        " $2.3k today and $64k this month (UTC) if this goes on.",
    ),
    (
        incident("budget_exhausted"),
        account(rate=0.0),
        Evidence(),
        "support-agent is spending $0/h, below its usual $23/h: its budget is used up;"
        " $2.3k today and $64k this month (UTC) if this goes on.",
    ),
    (
        incident("launch", severity="info"),
        account(
            rate=rate(254), per_call=40e6, drivers=[up("traces", 100, 1_000), up("price", 40e6, 41e6, 1)]
        ),
        Evidence(),
        "support-agent is spending $254/h, 11× its usual $23/h, with 10× the traces at the usual $0.04 per call"
        " since 14:07 UTC, $2.3k today (UTC) if this goes on: looks like a launch.",
    ),
    (
        incident("launch", severity="info"),
        account(
            per_call=60e6, drivers=[up("input_per_call", 5e7, 5e7, 0), up("price", 0.8, 1.2, 1)], crowd=9
        ),
        Evidence(),
        "support-agent is spending $212/h, 9× its usual $23/h, with more calls at $0.06 per call (usually $0.04)"
        " since 14:07 UTC, $2.3k today (UTC) if this goes on: looks like a launch.",
    ),
    (
        incident("data_quality", note="40 of 40 calls have no price."),
        account(),
        Evidence(),
        "support-agent, since 14:07 UTC: 40 of 40 calls have no price.",
    ),
    (
        incident("data_quality", status="resolved", note="40 of 40 calls have no price.", last_seen=NOON),
        account(),
        Evidence(),
        "support-agent: not seen since 14:07 UTC, and so taken as over: 40 of 40 calls have no price.",
    ),
    (
        incident("retry_loop", status="resolved", suspects=[ACME, ("customer", "globex", 0.1, 0.0, 0.1)]),
        account(drivers=[LOOP]),
        Evidence(),
        "support-agent: retry loop since 14:07 UTC is over; it spent $105, $96 more than usual:"
        " calls per trace went from 3.1 to 41 for customers acme and globex.",
    ),
    (
        incident("launch", status="resolved"),
        account(excess=-3),
        Evidence(),
        "support-agent: launch since 14:07 UTC is over; it spent $105, no more than usual.",
    ),
    (
        incident("cost_per_trace"),
        account(drivers=[up("cost_per_trace", 0.0, 2e9), up("price", 1.0, 0.5, -4)], cost=0, excess=1),
        Evidence(),
        "support-agent is spending $212/h, 9× its usual $23/h: cost per trace went from $0 to $2.00"
        " since 14:07 UTC; $0.000000001 over so far.",
    ),
    (
        incident("cost_per_trace"),
        account(drivers=[up("traces", 0.0, 7.0), up("calls_per_trace", 3.0, 3.02)]),
        Evidence(),
        "support-agent is spending $212/h, 9× its usual $23/h: traces where there were none and calls per trace"
        " rose by 0.7 % since 14:07 UTC; $96 over so far.",
    ),
]


@pytest.mark.parametrize(
    ("found", "numbers", "evidence", "expected"),
    GOLDEN,
    ids=[f"{i}-{g[0].kind}-{g[0].status}" for i, g in enumerate(GOLDEN)],
)
def test_golden_sentences(found: Incident, numbers: Account, evidence: Evidence, expected: str) -> None:
    assert sentence(found, numbers, evidence) == expected


def test_every_kind_has_a_golden_sentence() -> None:
    ours = set(typing.get_args(Kind)) - {"throttle"}  # which the throttles role says
    assert {found.kind for found, *_ in GOLDEN} == ours


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200)
amounts = st.integers(-(2**63), 2**63)
rates = st.floats(-1e15, 1e18)
values = st.sampled_from([0.0, -0.0, 1e-300, 1e300]) | st.floats(allow_nan=False, allow_infinity=False)
factors = st.sampled_from(
    [
        "traces",
        "calls_per_trace",
        "input_per_call",
        "output_per_call",
        "price",
        "cost_per_trace",
        "calls",
        "cost",
    ]
)
drivers = st.lists(st.builds(Contribution, factors, amounts, values, values), max_size=5)
dimensions = st.sampled_from(["customer", "api_key", "feature", "model", "provider"])
shares = st.floats(0, 1)


@given(
    kind=st.sampled_from(typing.get_args(Kind)),
    status=st.sampled_from(["firing", "resolved"]),
    numbers=st.builds(
        Account,
        workflow=names,
        now=st.floats(NOON - 1e7, NOON + 1e8),
        rate=rates,
        usual=rates,
        cost=amounts,
        excess=amounts,
        today=amounts,
        month=amounts,
        drivers=drivers,
        per_call=rates,
        crowd=st.floats(0, 1e9),
        usual_crowd=st.floats(0, 1e9),
    ),
    suspects=st.lists(st.tuples(dimensions, names, values, shares, shares), max_size=6),
    whose=st.lists(st.none() | names, max_size=3),
    note=st.text(max_size=300),
)
def test_whatever_the_numbers_it_is_one_sentence_that_fits(
    kind: Kind,
    status: Any,
    numbers: Account,
    suspects: list[tuple[str, str, float, float, float]],
    whose: list[str | None],
    note: str,
) -> None:
    found = incident(kind, status=status, suspects=suspects, note=note)
    text = sentence(found, numbers, traces(len(whose), *whose))
    assert 10 < len(text) < 1_500, "a summary holds 4,000 characters"
    assert "UTC" in text
    assert "nan" not in text.replace(note, "") or "nan" in numbers.workflow + str(suspects) + str(whose)
