"""What is remembered of how spend is divided: small, slow, and deaf to incidents."""

from __future__ import annotations

import copy

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.detect.state import WorkflowState, decode, encode
from service.detect.step import Moment, step
from service.detect.usual_shares import DIMENSIONS, HALF_LIFE_S, KEPT, UsualShares
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, Traffic, played, rollup

SPAN = 300.0


def learnt(*spans: dict[str, int], total: int | None = None, every: float = SPAN) -> UsualShares:
    usual = UsualShares()
    for i, costs in enumerate(spans):
        shares = {"customer": {name: [1, cost, 0] for name, cost in costs.items()}}
        usual.learn(shares, sum(costs.values()) if total is None else total, i * every)
    return usual


def test_shares_are_of_all_spend_and_charges_are_not_spend_on_calls() -> None:
    usual = UsualShares()
    for i in range(4):
        usual.learn(
            {"customer": {"acme": [3, 30, 0], "seats": [0, 500, 500], "mixed": [2, 25, 5]}}, 100, i * SPAN
        )
    assert usual.known
    assert usual.share("customer", "acme") == pytest.approx(0.3)
    assert usual.share("customer", "mixed") == pytest.approx(0.2)
    assert usual.share("customer", "seats") == usual.share("model", "acme") == 0.0


def test_nothing_is_known_before_a_quarter_of_an_hour() -> None:
    assert [learnt(*[{"a": 5}] * n).known for n in (0, 1, 2, 3)] == [False, False, False, True]
    assert not learnt({"a": 0}, {"a": 0}, {"a": 0}).known, "silence teaches nothing"
    assert UsualShares().share("customer", "a") == 0.0


def test_yesterday_counts_half() -> None:
    usual = learnt({"a": 100}, {"b": 100}, every=HALF_LIFE_S)
    assert usual.share("customer", "b") == pytest.approx(2 / 3)


def test_who_is_only_small_does_not_look_new() -> None:
    many = {f"c{i:03}": 100 + i for i in range(100)}
    usual = learnt(many, many, many)
    assert len(usual.values["customer"]) == KEPT
    assert (
        usual.share("customer", "c000")
        == usual.share("customer", "stranger")
        == pytest.approx(0.0123, abs=1e-3)
    )
    few = learnt({"a": 60, "b": 30}, {"a": 60, "b": 30}, {"a": 60, "b": 30}, total=100)
    assert few.share("customer", "stranger") == 0.0, "everybody is known"


labels = st.text(min_size=1, max_size=200)
spans = st.lists(
    st.tuples(
        st.dictionaries(
            st.sampled_from(DIMENSIONS),
            st.dictionaries(
                labels, st.tuples(st.integers(0, 9), st.integers(0, 2**62), st.just(0)), max_size=32
            ),
            max_size=5,
        ),
        st.floats(0, 1e7),
    ),
    max_size=6,
)


@given(spans)
def test_it_is_small_whatever_comes_and_the_same_after_a_restart(
    found: list[tuple[dict[str, dict[str, tuple[int, int, int]]], float]],
) -> None:
    usual, carried, now = UsualShares(), UsualShares(), float(T0)
    for shares, gap in found:
        now += gap
        plain = {d: {v: list(s) for v, s in values.items()} for d, values in shares.items()}
        spent = max((sum(s[1] for s in values.values()) for values in plain.values()), default=0)
        usual.learn(plain, spent, now)
        carried.learn(plain, spent, now)
        carried = msgspec.msgpack.decode(msgspec.msgpack.encode(carried), type=UsualShares)
    assert carried == usual
    assert len(msgspec.msgpack.encode(usual)) <= 1_300
    for dimension in DIMENSIONS:
        for values in [shares.get(dimension, {}) for shares, _ in found]:
            assert all(0.0 <= usual.share(dimension, value) <= 1.0 for value in values)


def test_at_its_largest_it_takes_less_than_a_kilobyte_and_a_half() -> None:
    usual = UsualShares()
    for i in range(5):
        usual.learn(
            {d: {f"{d}{k}" * 20: [1, 10**12 + k, 0] for k in range(32)} for d in DIMENSIONS}, 10**14, i * SPAN
        )
    assert all(len(values) == KEPT for values in usual.values.values())
    assert 1_000 < len(msgspec.msgpack.encode(usual)) < 1_500


def test_who_spent_little_for_weeks_is_forgotten() -> None:
    usual = learnt({"gone": 10, "a": 1_000}, *[{"a": 1_000}] * 40, every=HALF_LIFE_S)
    assert len(usual.values["customer"]) == 1


def test_it_is_learnt_from_calm_traffic_and_not_from_a_loop() -> None:
    state = WorkflowState.fresh("support-agent")
    flow = Traffic(starts=2.0)
    played(state, flow.records(T0, 1_000))
    assert state.usual_shares.known
    assert state.usual_shares.share("model", "gpt-5") == pytest.approx(1.0)
    calm = copy.deepcopy(state.usual_shares)
    loop = Doing("loop", 30, 1_000_000_000, 8_000, customer="acme")
    played(state, flow.records(T0 + 1_000 * BUCKET, 360, extra=[[loop]] * 360))
    assert state.incidents
    assert state.usual_shares.share("customer", "acme") < 0.01, "as small as the smallest known"
    assert state.usual_shares.spent < 2 * calm.spent


def test_what_was_in_the_air_when_an_incident_ended_is_not_learnt_either() -> None:
    state = WorkflowState.fresh("support-agent")
    flow = Traffic(starts=2.0)
    played(state, flow.records(T0, 1_000))
    loop = Doing("loop", 30, 1_000_000_000, 8_000, customer="acme")
    played(state, flow.records(T0 + 10_000, 6, extra=[[loop]] * 6))
    played(state, flow.records(T0 + 10_060, 1_000))
    assert not state.incidents
    assert state.usual_shares.share("customer", "acme") < 0.01, "as small as the smallest known"
    assert state.usual_shares.until > T0 + 15_000, "learning went on"


def test_a_workflow_that_calls_once_an_hour_is_learnt_too() -> None:
    state = WorkflowState.fresh("nightly")
    for i in range(10):
        step(state, rollup(T0 + i * 3_600, [Doing("t", 1, 1_000, customer="acme")], workflow="nightly"), BOOK)
        step(state, Moment(float(T0 + i * 3_600 + 60)), BOOK)
        state = decode(encode(state))
    assert state.usual_shares.share("customer", "acme") == pytest.approx(1.0)


def test_the_months_spend_is_counted_from_its_first_second_on() -> None:
    state = WorkflowState.fresh("support-agent")
    february = T0 + 31 * 86_400
    for start, cost in ((T0, 5), (february - 10, 7), (february, 11), (february - 20, 3), (february + 50, 1)):
        step(state, rollup(start, [Doing("t", 1, cost)]), BOOK)
        state = decode(encode(state))
    assert state.month == 2026 * 12 + 1
    assert state.month_cost == 12, "what comes late for January is January's"
