"""What people read."""

from __future__ import annotations

from datetime import timedelta

import pytest

from schemas.alerts import Driver, Evidence, Verdict
from service.notify import template
from tests.service.notify.support import NOW, alert, resolved, told

USD = 1_000_000_000


def test_the_headline_says_how_bad_what_and_where() -> None:
    assert template.headline(alert()) == "CRITICAL: retry loop in support-agent"
    assert template.headline(alert(severity="info", kind="launch")) == "NOTICE: launch in support-agent"
    assert template.headline(resolved()) == "RESOLVED: retry loop in support-agent"


def test_the_end_says_how_long_it_went_on_and_what_it_cost() -> None:
    assert template.sentence(resolved()).startswith(
        "Over after 14 min; it cost $3.90, $3.48 more than usual. support-agent is spending"
    )
    assert template.ending(resolved(excess_nanos=-1)) == "Over after 14 min; it cost $3.90."


def test_the_end_of_a_budget_s_alert_has_no_cost_of_its_own() -> None:
    assert template.ending(resolved(verdict=verdict("budget.pace"))) == "Over after 14 min."


def test_of_several_alerts_the_others_are_named_what_is_new_first() -> None:
    said = told(alert(), resolved(fingerprint="b", workflow="chat"))
    assert template.title(said) == "CRITICAL: retry loop in support-agent"
    assert template.others(said) == [
        "RESOLVED: retry loop in chat. Over after 14 min; it cost $3.90, $3.48 more than usual."
    ]
    both = told(alert(), alert(fingerprint="b", workflow="chat", severity="warning"))
    assert template.title(both) == "CRITICAL: retry loop in support-agent and 1 more"
    assert template.others(both) == ["WARNING: retry loop in chat, $3.90 so far"]


def test_an_empty_summary_still_says_something() -> None:
    assert template.sentence(alert(summary="\x00")) == "CRITICAL: retry loop in support-agent."


def test_the_dollars_are_exact_strings() -> None:
    assert template.dollars(alert()) == [
        ("Spent so far", "$3.90"),
        ("Usual for the time", "$0.420"),
        ("Excess", "$3.48"),
        ("Day's end if this goes on", "$2,310.00"),
        ("Month's end if this goes on", "$2,890.00"),
    ]
    of_an_older_release = template.dollars(alert(projected_month_nanos=None))
    assert [label for label, _ in of_an_older_release][-1] == "Day's end if this goes on"


def test_of_a_budget_the_amounts_are_those_of_its_window() -> None:
    spent = {"cost_nanos": 36 * USD, "projected_nanos": 90 * USD}
    pace = alert(**spent, expected_nanos=50 * USD, verdict=verdict("budget.pace"))
    assert template.dollars(pace) == [
        ("Spent in the window", "$36.00"),
        ("Should be by now", "$50.00"),
        ("Expected at its end", "$90.00"),
    ]
    hard = resolved(**spent, expected_nanos=30 * USD, verdict=verdict("budget.hard"))
    assert template.dollars(hard) == [("Spent in the window", "$36.00"), ("Limit", "$30.00")]
    in_tokens = alert(cost_nanos=0, expected_nanos=0, projected_nanos=0, verdict=verdict("budget.hard"))
    assert template.dollars(in_tokens) == []


def verdict(detector: str) -> Verdict:
    return Verdict(detector=detector, score=1.0, threshold=1.0)


def test_drivers_come_largest_first_with_their_share() -> None:
    assert template.drivers(alert()) == [
        "calls per trace 3.1 → 41: +$3.30, 95 % of the change",
        "traces 14 → 15: +$0.180, 5 % of the change",
    ]


def test_a_driver_that_saved_money_has_a_minus_and_a_change_of_nothing_no_share() -> None:
    saved = Driver(factor="price", share_nanos=-(10**9), before=2e-6, after=1e-6)
    assert template.drivers(alert(drivers=[saved])) == ["price 2.00e-06 → 1.00e-06: -$1.00"]


def test_traces_and_customers_are_named() -> None:
    assert template.traces(alert()) == [
        "trace run-4711: $3.10, 130 calls, 18,000 tokens in its largest call, customer acme, gpt-4o"
    ]
    assert template.top(alert()) == ["81 % customer acme (usually 6 %): $3.15, 131 calls; 94 % of the excess"]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"usual_share": None, "excess_share": None}, "81 % customer acme: $3.15, 131 calls"),
        ({"excess_share": None}, "81 % customer acme (usually 6 %): $3.15, 131 calls"),
        ({"excess_share": 1.04}, "81 % customer acme (usually 6 %): $3.15, 131 calls; all of the excess"),
        ({"value": "5%"}, "81 % customer 5% (usually 6 %): $3.15, 131 calls; 94 % of the excess"),
    ],
)
def test_a_share_is_compared_with_the_usual_where_that_is_known(
    changed: dict[str, object], text: str
) -> None:
    (found,) = alert().evidence.top
    assert template.top(alert(evidence=Evidence(top=[found.model_copy(update=changed)]))) == [text]


def test_what_was_done_and_how_to_check_it() -> None:
    assert template.provenance(alert()) == (
        "live_trace 11.2 over 4.3 · config 17-3fa9c1d2 · incident 9f2c64b1d0aa4e17 #1 · 2026-01-31T14:08:05Z"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (35, "35 s"),
        (60, "1 min"),
        (725, "12 min 5 s"),
        (3_600, "1 h"),
        (12_000, "3 h 20 min"),
        (187_200, "2 d 4 h"),
        (-5, "0 s"),
    ],
)
def test_elapsed_time_in_its_two_largest_units(seconds: int, words: str) -> None:
    assert template.elapsed(NOW, NOW + timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (3.14159, "3.14"), (1_234.5, "1,234"), (1e300, "1.00e+300"), (-0.00001, "-1.00e-05")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert template.number(value) == text


def test_a_link_is_filled_in_and_quoted() -> None:
    link = template.Link("https://tide.example/i/{fingerprint}?w={workflow}")
    assert link.to(alert(workflow="a b&c")) == "https://tide.example/i/9f2c64b1d0aa4e17?w=a%20b%26c"


def test_who_is_told_although_somebody_wanted_less_hears_of_it() -> None:
    said = told(alert(), remark='quieter since ada said "not worth it" on 2026-11-20')
    assert template.opening(said).endswith(
        ' (support-agent is quieter since ada said "not worth it" on 2026-11-20.)'
    )
