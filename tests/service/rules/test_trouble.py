"""A firing alert as throttling sees it: which rule, which scopes, the narrowest first."""

from __future__ import annotations

from service.rules.config import ConfigBook
from service.rules.throttle import DEFAULT_RULE
from service.rules.throttling import Throttling, advance
from service.rules.trouble import Terms, trouble_of
from tests.service.rules.test_throttle import START, T, alert, rule

TERMS = Terms({"r": rule(scope="narrowest", mode="enforce")})
TOP = [("customer", "acme", 0.9), ("api_key", "k1", 0.5)]


def keys(found: object) -> list[list[str]]:
    assert found is not None
    return [[target.scope.key for target in level] for level in found.levels]  # type: ignore[attr-defined]


def test_the_narrowest_level_comes_first_and_those_that_nothing_names_are_left_out() -> None:
    everything = trouble_of(alert(traces=2, top=TOP), TERMS)
    assert keys(everything) == [
        ["trace:t0@support", "trace:t1@support"],
        ["customer:acme@support"],
        ["workflow:support"],
    ]
    assert keys(trouble_of(alert(), TERMS)) == [["workflow:support"]]


def test_traces_to_blame_are_all_there_is() -> None:
    assert keys(trouble_of(alert(traces=1, top=TOP, blames_traces=True), TERMS)) == [["trace:t0@support"]]
    assert trouble_of(alert(top=TOP, blames_traces=True), TERMS) is None, "they have ended"


def test_notices_and_doubts_about_prices_throttle_nothing() -> None:
    assert trouble_of(alert(severity="info"), TERMS) is None
    assert trouble_of(alert(kind="data_quality"), TERMS) is None


def test_without_rules_the_default_one_holds_and_does_nothing_but_say() -> None:
    terms = Terms.of(ConfigBook.empty())
    assert terms.rules == {"default": DEFAULT_RULE}
    found = trouble_of(alert(traces=1), terms)
    assert found is not None
    (command,) = advance(Throttling(), [found], T, terms).commands
    assert (command.mode, command.action.action, command.scope.kind) == ("dry_run", "block", "trace")


def test_what_usually_comes_is_known_of_the_whole_and_of_nothing_within() -> None:
    found = trouble_of(alert(traces=1, usual_calls_per_s=4.0), TERMS)
    assert found is not None
    assert [[target.usual_rps for target in level] for level in found.levels] == [[None], [4.0]]


def test_what_was_last_seen_is_told_and_a_budget_simply_lasts() -> None:
    found = trouble_of(alert(last_seen_at=START), TERMS)
    assert found is not None
    assert found.seen == T
    lasting = trouble_of(alert(), TERMS)
    assert lasting is not None
    assert lasting.seen == float("inf")
