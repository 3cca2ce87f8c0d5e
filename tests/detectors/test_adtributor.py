"""The set that is named explains the change, is small, and would surprise."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.adtributor import ENOUGH, LEAST, attribute, surprise

names = st.sampled_from(["a", "b", "c", "d", "e", "f"])
spend = st.dictionaries(names, st.floats(0, 1e12), max_size=6)
dimensions = st.dictionaries(st.sampled_from(["customer", "model", "api_key"]), spend, max_size=3)


def test_one_customer_who_makes_the_excess_is_named_alone() -> None:
    usual = {"customer": {"acme": 10.0, "globex": 40.0}, "model": {"m": 100.0}}
    now = {"customer": {"acme": 190.0, "globex": 42.0}, "model": {"m": 282.0}}
    (found,) = attribute(usual, now, 100.0, 282.0)
    assert found.dimension == "customer", "the one model there is surprises nobody"
    (acme,) = found.suspects
    assert (acme.value, acme.usual_share) == ("acme", 0.1)
    assert acme.explains == pytest.approx(180 / 182)
    assert acme.share == pytest.approx(190 / 282)


def test_the_most_surprising_dimension_comes_first() -> None:
    usual = {"model": {"small": 80.0, "large": 20.0}, "feature": {"chat": 70.0, "triage": 30.0}}
    now = {"model": {"small": 80.0, "large": 220.0}, "feature": {"chat": 140.0, "triage": 160.0}}
    found = attribute(usual, now, 100.0, 300.0)
    assert [(e.dimension, [s.value for s in e.suspects]) for e in found] == [
        ("model", ["large"]),
        ("feature", ["triage", "chat"]),
    ]
    assert found[0].surprise > found[1].surprise


def test_growth_of_all_alike_is_nobodys_doing() -> None:
    usual = {"customer": {f"c{i}": 100.0 / (i + 1) for i in range(6)}}
    total = sum(usual["customer"].values())
    now = {"customer": {name: 11 * cost for name, cost in usual["customer"].items()}}
    assert attribute(usual, now, total, 11 * total) == []


def test_a_fall_is_explained_too() -> None:
    usual = {"provider": {"east": 60.0, "west": 40.0}}
    (found,) = attribute(usual, {"provider": {"east": 60.0, "west": 0.0}}, 100.0, 60.0)
    assert [(s.value, s.explains, s.share) for s in found.suspects] == [("west", 1.0, 0.0)]


def test_spend_that_has_no_name_is_no_set() -> None:
    assert attribute({"customer": {"acme": 5.0}}, {"customer": {"acme": 6.0}}, 100.0, 900.0) == []


def test_what_a_set_can_do_without_is_not_in_it() -> None:
    """By surprise alone `new` comes first, but `old` explains enough by itself."""
    usual = {"key": {"old": 30.0, "new": 0.0}}
    now = {"key": {"old": 180.0, "new": 60.0}}
    (found,) = attribute(usual, now, 100.0, 310.0)
    assert [s.value for s in found.suspects] == ["old"]


@pytest.mark.parametrize(
    ("before", "after"), [(5.0, 5.0), (-1.0, 5.0), (5.0, -1.0), (math.nan, 5.0), (0.0, math.inf), (0.0, 0.0)]
)
def test_without_a_change_there_is_nothing_to_explain(before: float, after: float) -> None:
    assert attribute({}, {"customer": {"acme": 5.0}}, before, after) == []


@given(dimensions, dimensions, st.floats(0, 1e13), st.floats(0, 1e13))
def test_every_set_explains_enough_by_members_that_each_matter(
    usual: dict[str, dict[str, float]], now: dict[str, dict[str, float]], before: float, after: float
) -> None:
    found = attribute(usual, now, before, after)
    assert [e.surprise for e in found] == sorted((e.surprise for e in found), reverse=True)
    assert {e.dimension for e in found} <= set(now)
    for e in found:
        assert e.explains > ENOUGH - 1e-9
        assert e.explains == pytest.approx(math.fsum(s.explains for s in e.suspects))
        for s in e.suspects:
            assert s.explains >= LEAST
            assert e.explains - s.explains <= ENOUGH + 1e-9, "none can be left out"
            assert 0 <= s.usual_share <= 1
            assert 0 <= s.share <= 1


@given(spend, spend)
def test_scale_does_not_matter(usual: dict[str, float], now: dict[str, float]) -> None:
    before, after = sum(usual.values()), sum(now.values())
    found = attribute({"model": usual}, {"model": now}, before, after)
    larger = attribute(
        {"model": {n: 1024 * c for n, c in usual.items()}},
        {"model": {n: 1024 * c for n, c in now.items()}},
        1024 * before,
        1024 * after,
    )
    assert larger == found


@given(st.lists(st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)), min_size=1, max_size=8))
def test_surprise_sums_up_to_the_divergence_of_two_divisions(pairs: list[tuple[float, float]]) -> None:
    p = [a / sum(a for a, _ in pairs) for a, _ in pairs]
    q = [b / sum(b for _, b in pairs) for _, b in pairs]
    total = math.fsum(surprise(a, b) for a, b in zip(p, q, strict=True))
    assert -1e-12 <= total <= math.log(2) + 1e-12
    assert surprise(0.3, 0.3) == surprise(0.0, 0.0) == 0.0
    assert surprise(0.0, 0.5) == pytest.approx(0.25 * math.log(2))
