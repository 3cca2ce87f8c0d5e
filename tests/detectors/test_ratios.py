"""Seven ratios: what moves one moves hardly another, volume moves none, and next to no traffic says nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given

from detectors.protocol import Window
from detectors.ratios import (
    CACHE,
    CALLS,
    COST,
    FACTORS,
    INPUT,
    MIX,
    OUTPUT,
    PRICE,
    SUMS,
    TOKENS_IN,
    Usual,
    sums_of,
)
from tests.detectors.strategies import windows
from tests.detectors.traffic import T0

IN, OUT, CACHED_PRICE = 2_500, 10_000, 625
"""Nano-dollars per token; a hit costs a quarter, which is what the expectation grants."""
FACTOR = 5.0


def traffic(
    traces: float = 400.0,
    calls: float = 3.0,
    tokens_in: float = 2_000.0,
    tokens_out: float = 300.0,
    dear: float = 1.0,
    price: float = 1.0,
    cached: float = 0.8,
) -> Window:
    """Ten seconds of a workflow; `dear` is of the model's list price, `price` of what is paid over it."""
    n = round(traces * calls)
    into, out = round(n * tokens_in), round(n * tokens_out)
    hits = round(into * cached)
    paid = ((into - hits) * IN + hits * CACHED_PRICE + out * OUT) * dear * price
    return Window(
        start=T0,
        seconds=10.0,
        calls=n,
        cost_nanos=round(paid),
        traces=traces,
        input_tokens=into,
        cached_input_tokens=hits,
        output_tokens=out,
        reference_nanos=round((into * IN + out * OUT) * dear),
        reference_output_nanos=round(out * OUT * dear),
    )


def usual_of(window: Window) -> Usual:
    return Usual.first(sums_of(window, IN, OUT), IN, OUT)


def moved(window: Window, usual: Usual | None = None) -> dict[str, float]:
    usual = usual or usual_of(traffic())
    logs = usual.logs_over(sums_of(window, usual.per_input, usual.per_output))
    return dict(zip(FACTORS, logs, strict=True))


@pytest.mark.parametrize("volume", [0.1, 1.0, 10.0, 1_000.0])
def test_volume_moves_none(volume: float) -> None:
    assert all(abs(x) < 0.03 for x in moved(traffic(traces=400.0 * volume)).values())


@pytest.mark.parametrize(
    ("window", "factor"),
    [
        pytest.param(traffic(calls=3.0 * FACTOR), CALLS, id="calls"),
        pytest.param(traffic(tokens_in=2_000.0 * FACTOR), INPUT, id="context"),
        pytest.param(traffic(tokens_out=300.0 * FACTOR), OUTPUT, id="output"),
        pytest.param(traffic(dear=FACTOR), MIX, id="dear model"),
        pytest.param(traffic(price=FACTOR), PRICE, id="price"),
    ],
)
def test_each_change_moves_its_own_ratio_and_what_a_trace_costs(window: Window, factor: int) -> None:
    logs = moved(window)
    own, cost = FACTORS[factor], FACTORS[COST]
    assert logs[own] == pytest.approx(math.log(FACTOR), rel=0.03)
    # Dearer output tokens shift the list price between cached input and what no cache can serve: a little.
    others = {name: x for name, x in logs.items() if name not in (own, cost)}
    assert all(abs(x) < 0.45 * logs[own] for x in others.values()), others
    assert all(abs(x) < 0.05 for name, x in others.items() if name != FACTORS[CACHE]), others
    assert 0.0 < logs[cost] <= math.log(FACTOR) + 0.01


def test_a_lost_cache_is_told_as_that_and_not_as_a_price() -> None:
    logs = moved(traffic(cached=0.0))
    assert logs["cache"] > 0.4
    assert logs["cost_per_trace"] == pytest.approx(logs["cache"], rel=0.05)
    for name in ("calls_per_trace", "input_per_call", "output_per_call", "model_mix", "price"):
        assert abs(logs[name]) < 0.02, name


def test_a_model_without_a_list_price_counts_at_what_tokens_usually_cost() -> None:
    """It is then no change of the mix, and what is paid for it shows as a price."""
    window = replace(traffic(dear=3.0), reference_nanos=0, reference_output_nanos=0)
    logs = moved(window)
    assert abs(logs["model_mix"]) < 0.02
    assert logs["price"] == pytest.approx(math.log(3.0), rel=0.03)


def test_a_workflow_that_never_had_a_list_price_has_ratios_all_the_same() -> None:
    plain = replace(traffic(), reference_nanos=0, reference_output_nanos=0)
    usual = Usual.first(sums_of(plain, 1.0, 4.0), 1.0, 4.0)
    assert all(abs(x) < 0.01 for x in moved(plain, usual).values())
    dearer = replace(plain, cost_nanos=4 * plain.cost_nanos)
    assert moved(dearer, usual)["price"] == pytest.approx(math.log(4.0), rel=0.03)


def test_no_traffic_says_nothing_and_little_says_little() -> None:
    usual = usual_of(traffic())
    assert all(x == pytest.approx(0.0, abs=1e-12) for x in usual.logs_over([0.0] * SUMS))
    alone, many = moved(traffic(traces=1.0, calls=30.0)), moved(traffic(traces=1_000.0, calls=30.0))
    assert 0.0 < alone["calls_per_trace"] < 0.8 * many["calls_per_trace"]


def test_zero_tokens_are_no_tokens_and_no_error() -> None:
    logs = moved(replace(traffic(), input_tokens=0, output_tokens=0, cached_input_tokens=0))
    assert logs["input_per_call"] < -3.0
    assert all(math.isfinite(x) for x in logs.values())


def test_traces_that_go_on_are_counted_once() -> None:
    """Calls per trace are of traces that begin: long traces are in many windows."""
    window = replace(traffic(), traces=4_000.0, begun=400.0)
    assert all(abs(x) < 0.01 for x in moved(window).values())


def test_the_level_moves_by_as_much_as_it_is_told() -> None:
    usual = usual_of(traffic())
    doubled = traffic(calls=6.0)
    before = moved(doubled, usual)
    usual.move([math.log(2.0), 0.0, 0.0, 0.0, 0.0, math.log(2.0), 0.0])
    assert before["calls_per_trace"] == pytest.approx(math.log(2.0), rel=0.02)
    assert all(abs(x) < 0.02 for x in moved(doubled, usual).values())


@given(windows(T0), windows(T0))
def test_any_window_against_any_usual_is_finite_and_survives_its_dump(first: Window, window: Window) -> None:
    usual = Usual.first(sums_of(first, 1.0, 4.0), 1.0, 4.0)
    sums = sums_of(window, usual.per_input, usual.per_output)
    assert all(math.isfinite(s) and s >= 0.0 for s in sums)
    assert sums[TOKENS_IN] == window.input_tokens
    logs = usual.logs_over(sums)
    assert all(math.isfinite(x) for x in logs)
    for _ in range(50):
        usual.move(logs)
    assert all(math.isfinite(x) for x in usual.logs_over(sums))
    again = Usual.load(usual.dump())
    assert again.logs_over(sums) == usual.logs_over(sums)


@pytest.mark.parametrize("plain", [None, [], [0.0] * 8, [0.0] * 10, [*[301.0] * 7, 1.0, 1.0], ["x"] * 9])
def test_a_damaged_dump_is_refused(plain: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        Usual.load(plain)
