"""The decomposition is exact, adds up over streams, survives zeros, and blames what moved."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.lmdi import decompose, logarithmic_mean, shapley
from detectors.protocol import Contribution

FACTORS = ("traces", "calls_per_trace", "input_per_call", "price")
values = st.floats(1e-3, 1e6)
loose = st.just(0.0) | st.floats(-1.0, 1e9)
streams = st.lists(st.fixed_dictionaries(dict.fromkeys(FACTORS, values)), min_size=2, max_size=2)
wild_streams = st.lists(st.fixed_dictionaries(dict.fromkeys(FACTORS, loose)), min_size=2, max_size=2)


def spend(found: list[dict[str, float]]) -> float:
    return math.fsum(math.prod(stream.values()) for stream in found)


def shares(found: list[Contribution]) -> dict[str, int]:
    return {c.factor: c.share_nanos for c in found}


@given(st.floats(1e-12, 1e15), st.floats(1e-12, 1e15))
def test_the_logarithmic_mean_lies_between_both_and_is_symmetric(a: float, b: float) -> None:
    mean = logarithmic_mean(a, b)
    slack = 1e-6
    assert min(a, b) * (1 - slack) <= mean <= max(a, b) * (1 + slack)
    assert mean == pytest.approx(logarithmic_mean(b, a), rel=1e-6)


def test_the_logarithmic_mean_of_equals_is_that_and_of_nothing_an_error() -> None:
    assert logarithmic_mean(3.0, 3.0) == 3.0
    assert logarithmic_mean(3.0, 3.0 * (1 + 1e-10)) == pytest.approx(3.0)
    for bad in ((0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)):
        with pytest.raises(ValueError, match="positive"):
            logarithmic_mean(*bad)


@settings(deadline=None)
@given(wild_streams, wild_streams, st.integers(-(10**18), 10**18))
def test_shares_add_up_to_the_change_to_the_nano_dollar(
    before: list[dict[str, float]], after: list[dict[str, float]], change: int
) -> None:
    found = decompose(before, after, change)
    assert {c.factor for c in found} == set(FACTORS)
    assert sum(c.share_nanos for c in found) == change
    assert all(math.isfinite(c.before) and math.isfinite(c.after) for c in found)
    assert [c.share_nanos for c in found] == sorted((c.share_nanos for c in found), reverse=True)


@settings(deadline=None)
@given(streams, streams)
def test_without_scaling_the_shares_are_exact(
    before: list[dict[str, float]], after: list[dict[str, float]]
) -> None:
    """Each stream's shares are L(C1, C0) ln(f1/f0): they sum up to C1 - C0 without any residual."""
    change = spend(after) - spend(before)
    brute = {
        f: math.fsum(
            logarithmic_mean(math.prod(new.values()), math.prod(old.values())) * math.log(new[f] / old[f])
            for old, new in zip(before, after, strict=True)
        )
        for f in FACTORS
    }
    size = spend(after) + spend(before)
    assert math.fsum(brute.values()) == pytest.approx(change, rel=1e-6, abs=1e-6 * size)
    if abs(change) > 1e-3 * size:
        found = shares(decompose(before, after, round(change)))
        for f in FACTORS:
            assert found[f] == pytest.approx(brute[f], rel=1e-2, abs=1e-2 * size + 5)


@given(values, values, st.sampled_from(FACTORS), st.floats(1.01, 100.0))
def test_a_single_factor_that_moved_is_blamed_for_everything(
    base: float, other: float, factor: str, times: float
) -> None:
    before = [dict.fromkeys(FACTORS, base), dict.fromkeys(FACTORS, other)]
    after = [stream | {factor: stream[factor] * times} for stream in before]
    change = 1_000_000_000
    found = shares(decompose(before, after, change))
    assert found[factor] == pytest.approx(change, abs=10)


def test_the_sign_is_that_of_the_money() -> None:
    before = [{"traces": 10.0, "price": 2.0}]
    more = shares(decompose(before, [{"traces": 20.0, "price": 1.5}], 10))
    assert more["traces"] > 0 > more["price"]
    less = shares(decompose([{"traces": 20.0, "price": 1.5}], before, -10))
    assert less["traces"] == -more["traces"]
    assert less["price"] == -more["price"]


def test_a_factor_that_is_zero_on_one_side_explains_the_change() -> None:
    found = decompose(
        [{"traces": 10.0, "output_per_call": 0.0}], [{"traces": 10.0, "output_per_call": 5.0}], 50
    )
    assert shares(found) == {"output_per_call": 50, "traces": 0}
    both = decompose([{"traces": 0.0}, {"traces": 3.0}], [{"traces": 0.0}, {"traces": 4.0}], 1)
    assert shares(both) == {"traces": 1}


zeros = st.just(0.0) | st.floats(1e-3, 1e6)
with_zeros = st.fixed_dictionaries(dict.fromkeys(FACTORS, zeros))


@settings(deadline=None)
@given(with_zeros, with_zeros)
def test_shapley_values_add_up_to_the_change_of_the_product(
    before: dict[str, float], after: dict[str, float]
) -> None:
    found = shapley(before, after)
    was, is_ = math.prod(before.values()), math.prod(after.values())
    size = math.prod(max(before[f], after[f]) for f in FACTORS)
    assert math.fsum(found.values()) == pytest.approx(is_ - was, rel=1e-9, abs=1e-9 * size)
    assert all(found[f] == 0.0 for f in FACTORS if before[f] == after[f])
    for f in FACTORS:
        assert found[f] * (after[f] - before[f]) >= 0, "a factor that grew never has a negative share"
    assert shapley(after, before) == pytest.approx({f: -v for f, v in found.items()}, abs=1e-9 * size)


def test_shapley_values_are_the_average_over_all_orders() -> None:
    before, after = {"a": 2.0, "b": 3.0, "c": 0.0}, {"a": 4.0, "b": 1.0, "c": 5.0}
    orders = list(itertools.permutations("abc"))
    brute = dict.fromkeys("abc", 0.0)
    for order in orders:
        at = dict(before)
        for f in order:
            was = math.prod(at.values())
            at[f] = after[f]
            brute[f] += (math.prod(at.values()) - was) / len(orders)
    assert shapley(before, after) == pytest.approx(brute)
    assert shapley({}, {}) == {}


@settings(deadline=None)
@given(with_zeros, with_zeros, with_zeros, with_zeros)
def test_with_zeros_the_shares_add_up_to_the_nano_dollar_and_none_outgrows_the_money(
    input_before: dict[str, float],
    input_after: dict[str, float],
    output_before: dict[str, float],
    output_after: dict[str, float],
) -> None:
    before, after = [input_before, output_before], [input_after, output_after]
    change = round(spend(after) - spend(before))
    found = decompose(before, after, change)
    assert sum(c.share_nanos for c in found) == change
    size = math.fsum(
        math.prod(max(old[f], new[f]) for f in FACTORS) for old, new in zip(before, after, strict=True)
    )
    logs = max(
        abs(math.log(new[f] / old[f])) if old[f] > 0 and new[f] > 0 else 1.0
        for old, new in zip(before, after, strict=True)
        for f in FACTORS
    )
    assert all(abs(c.share_nanos) <= 8 * size * (1 + logs) + 8 for c in found)


def test_a_product_too_small_for_a_float_is_split_all_the_same() -> None:
    before = [{"traces": 1e-200, "price": 1e-200}]
    after = [{"traces": 3.0, "price": 2.0}]
    found = decompose(before, after, 6)
    assert sum(c.share_nanos for c in found) == 6


def test_factors_that_cancel_out_are_told_as_they_are() -> None:
    found = shares(decompose([{"traces": 1e6, "price": 2.0}], [{"traces": 2e6, "price": 1.0}], 0))
    assert found["traces"] == -found["price"] == pytest.approx(2e6 * math.log(2.0), abs=2)


def test_no_change_has_no_shares_and_no_streams_have_no_factors() -> None:
    same = [{"traces": 3.0, "price": 2.0}]
    assert set(shares(decompose(same, same, 0)).values()) == {0}
    assert decompose([], [], 0) == []


@settings(deadline=None)
@given(streams, streams)
def test_shares_that_cancel_out_are_no_larger_than_the_money_on_both_sides(
    before: list[dict[str, float]], after: list[dict[str, float]]
) -> None:
    """|L ln(f1/f0)| is at most the larger spend times the log ratio: no division blows it up."""
    change = round(spend(after) - spend(before))
    size = spend(after) + spend(before)
    logs = max(
        abs(math.log(new[f] / old[f])) for old, new in zip(before, after, strict=True) for f in FACTORS
    )
    for c in decompose(before, after, change):
        assert abs(c.share_nanos) <= 2 * size * (1 + logs) + 2


def test_factors_beyond_any_number_do_not_stop_the_watch() -> None:
    before = [{"traces": 1e-320, "calls_per_trace": 1e308, "price": 1e308}]
    after = [{"traces": 1.0, "calls_per_trace": 1e-320, "price": 590.0}]
    assert sum(c.share_nanos for c in decompose(before, after, 590)) == 590
