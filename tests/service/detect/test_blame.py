"""Who is blamed when volume swings, excess is all there is, and names are many."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.detect.blame import MAX_SUSPECTS, suspects
from service.detect.state import Shares, WorkflowState
from service.detect.usual_shares import DIMENSIONS
from service.rules.lifecycle import Incident
from tests.service.detect.builders import T0

USD = 10**9
START = T0 + 3_000.0
NOW = START + 100.0


def incident(**fields: Any) -> Incident:
    known: dict[str, Any] = dict.fromkeys(("pending_since", "last_seen", "started"), START)
    known |= {"family": "cost", "kind": "retry_loop", "severity": "critical", "fingerprint": "f"}
    known |= {"status": "firing", "detector": "unit_cost", "score": 9.0, "threshold": 6.0, "excess_nanos": 0}
    return Incident(**(known | fields))


def shared(**dimensions: dict[str, int]) -> Shares:
    return {d: {v: [1, cost, 0] for v, cost in values.items()} for d, values in dimensions.items()}


def state_of(usual: Shares, now: Shares, *, spans: int = 5) -> WorkflowState:
    """What was usual over `spans` spans, and two hundred seconds of something else."""
    state = WorkflowState.fresh("support-agent")
    for i in range(spans):
        state.usual_shares.learn(usual, total(usual), T0 + 300.0 * i)
    state.shares, state.shares_cost, state.shares_since, state.now = now, total(now), NOW - 200.0, NOW
    return state


def total(shares: Shares) -> int:
    return max((sum(cost for _, cost, _ in values.values()) for values in shares.values()), default=0)


def found(state: WorkflowState, *, usual: float = 0.0, excess: int = 0) -> list[tuple[str, str]]:
    return [(d, v) for d, v, *_ in suspects(state, incident(), state.shares, usual, excess)]


USUAL = shared(customer={"acme": 10 * USD, "globex": 90 * USD})


def test_it_is_told_when_volume_is_below_the_usual_and_only_the_excess_says_that_something_is_wrong() -> None:
    state = state_of(USUAL, shared(customer={"acme": 8 * USD, "globex": 9 * USD}))
    by_rate = 1.0 * USD  # 200 s at a dollar each are usual; 17 dollars are not more
    assert found(state, usual=by_rate, excess=0) == []
    assert found(state, usual=by_rate, excess=7 * USD) == [("customer", "acme")]


def test_it_is_told_by_the_rate_when_a_detector_sums_up_no_excess() -> None:
    state = state_of(USUAL, shared(customer={"acme": 60 * USD, "globex": 20 * USD}))
    assert found(state, usual=0.1 * USD) == [("customer", "acme")]


def test_more_excess_than_spend_makes_all_of_it_excess() -> None:
    state = state_of(USUAL, shared(customer={"acme": 60 * USD, "globex": 20 * USD}))
    ((_, value, explains, usual, share),) = suspects(state, incident(), state.shares, 0.0, 10**15)
    assert (value, usual, share) == ("acme", 0.1, 0.75)
    assert explains == pytest.approx(0.75, abs=1e-3)


def test_before_a_usual_is_known_and_without_spend_nobody_is_blamed() -> None:
    now = shared(customer={"acme": 60 * USD})
    assert found(state_of(USUAL, now, spans=2), excess=USD) == []
    assert found(state_of(USUAL, {}), excess=USD) == []
    assert found(state_of(USUAL, shared(customer={"acme": 0})), excess=USD) == []


def test_charges_are_nobodys_calls() -> None:
    state = state_of(USUAL, shared(customer={"globex": 60 * USD}))
    state.shares["customer"]["acme"] = [1, 500 * USD, 500 * USD]
    state.shares_cost += 500 * USD
    state.shares_charges = 500 * USD
    assert found(state, excess=40 * USD) == []


def test_the_team_is_not_to_blame_and_what_says_the_same_is_told_by_its_plainest_name_first() -> None:
    usual = shared(api_key={"k0": 9}, team={"care": 9}, customer={"globex": 9}, provider={"east": 9})
    now = shared(
        api_key={"k9": 90 * USD},
        team={"ops": 90 * USD},
        customer={"acme": 90 * USD},
        provider={"east": 90 * USD},
    )
    assert found(state_of(usual, now), excess=80 * USD) == [("customer", "acme"), ("api_key", "k9")]


values = st.dictionaries(st.sampled_from("abcdefghijklmnop"), st.integers(0, 10**18), max_size=16)
divisions = st.dictionaries(st.sampled_from([*DIMENSIONS, "team"]), values, max_size=6)


@given(divisions, divisions, st.floats(0, 1e18), st.integers(-(10**18), 10**18))
def test_whatever_was_spent_few_are_named_each_once_with_shares_that_are_shares(
    usual: dict[str, dict[str, int]], now: dict[str, dict[str, int]], rate: float, excess: int
) -> None:
    state = state_of(shared(**usual), shared(**now))
    told = suspects(state, incident(), state.shares, rate, excess)
    assert len(told) <= MAX_SUSPECTS
    assert len({(d, v) for d, v, *_ in told}) == len(told)
    for dimension, value, explains, before, share in told:
        assert value in now[dimension]
        assert explains >= 0.1 - 1e-4
        assert 0.0 <= before <= 1.0
        assert 0.0 <= share <= 1.0
    assert told == suspects(state, incident(), state.shares, rate, excess)


def test_a_dozen_that_share_it_are_not_listed() -> None:
    usual = shared(customer={"globex": 100})
    now = shared(customer={f"c{i}": 10 * USD for i in range(12)})
    assert found(state_of(usual, now), excess=100 * USD) == []


@pytest.mark.parametrize("since", [START, START + 1e6])
def test_an_incident_that_begins_later_than_now_divides_by_nothing(since: float) -> None:
    state = state_of(USUAL, shared(customer={"acme": 60 * USD, "globex": 20 * USD}))
    assert suspects(state, incident(started=since), state.shares, 0.0, USD)
