"""The tail against distributions whose quantiles are known, and against what a stream may hold."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detectors.tail import Tail

Draw = Callable[[np.random.Generator, int], Any]
Quantile = Callable[[float], float]
EXPONENTIAL: tuple[Draw, Quantile] = (lambda r, n: r.exponential(1.0, n), lambda q: -math.log(q))
LOG_NORMAL: tuple[Draw, Quantile] = (
    lambda r, n: r.lognormal(0.0, 1.0, n),
    lambda q: math.exp(float(stats.norm.isf(q))),
)
PARETO: tuple[Draw, Quantile] = (lambda r, n: r.pareto(3.0, n) + 1.0, lambda q: q ** (-1.0 / 3.0))

samples = st.lists(
    st.floats(-1e12, 1e12) | st.integers(-3, 3).map(float) | st.floats(0, 1e-300), max_size=120
)


def filled(values: Any, keep: int = 32, half_life: float = 100_000.0) -> Tail:
    tail = Tail(keep, half_life)
    for x in values:
        tail.add(float(x))
    return tail


@pytest.mark.parametrize(
    ("law", "n", "q", "error"),
    [
        pytest.param(EXPONENTIAL, 5_000, 1e-4, 0.16, id="exponential"),
        pytest.param(EXPONENTIAL, 20_000, 1e-5, 0.16, id="exponential, beyond all samples"),
        pytest.param(LOG_NORMAL, 5_000, 1e-4, 0.33, id="log-normal"),
        pytest.param(LOG_NORMAL, 20_000, 1e-4, 0.20, id="log-normal, longer"),
        pytest.param(PARETO, 5_000, 1e-4, 0.45, id="pareto"),
        pytest.param(PARETO, 20_000, 1e-4, 0.24, id="pareto, longer"),
    ],
)
def test_quantiles_of_known_laws(law: tuple[Draw, Quantile], n: int, q: float, error: float) -> None:
    """Root mean square of the log ratio to the true quantile, over 20 seeds; half as much again is granted."""
    draw, quantile = law
    logs = [
        math.log(filled(draw(np.random.default_rng(seed), n)).quantile(q) / quantile(q)) for seed in range(20)
    ]
    assert math.sqrt(float(np.mean(np.square(logs)))) < error


def test_probability_is_the_inverse_of_the_quantile() -> None:
    tail = filled(np.random.default_rng(3).lognormal(0, 1, 5_000))
    for q in (1e-3, 1e-5, 1e-9):
        assert tail.probability(tail.quantile(q)) == pytest.approx(q, rel=1e-6)


def test_old_peaks_fade() -> None:
    """A stream that was ten times as large is forgotten after some half-lives, also where it left the peaks."""
    rng = np.random.default_rng(5)
    tail = filled(10.0 * rng.exponential(1, 5_000), half_life=1_000.0)
    assert tail.quantile(1e-3) > 40.0
    for x in rng.exponential(1, 12_000):
        tail.add(float(x))
    assert 4.0 < tail.quantile(1e-3) < 12.0
    assert tail.peaks > 4


def test_a_constant_stream_exceeds_itself_never() -> None:
    tail = filled([5.0] * 1_000)
    assert tail.quantile(1e-6) == 5.0
    assert tail.probability(5.1) == 0.0


@given(samples, samples, st.integers(2, 9))
def test_a_dump_and_load_changes_nothing_afterwards(
    before: list[float], after: list[float], keep: int
) -> None:
    kept = filled(before, keep, 40.0)
    carried = Tail.load(json.loads(json.dumps(kept.dump(), allow_nan=False)), keep, 40.0)
    for x in after:
        kept.add(x)
        carried.add(x)
        assert carried.quantile(1e-4) == kept.quantile(1e-4)
        assert carried.probability(x) == kept.probability(x)
    assert carried.dump() == kept.dump()


@given(samples.filter(bool), st.integers(2, 9))
def test_quantiles_are_finite_in_order_and_the_peaks_few(values: list[float], keep: int) -> None:
    tail = filled(values, keep, 30.0)
    assert tail.peaks <= keep
    quantiles = [tail.quantile(q) for q in (0.3, 1e-2, 1e-4, 1e-8)]
    assert all(math.isfinite(x) for x in quantiles)
    assert quantiles == sorted(quantiles)
    shares = [tail.probability(x) for x in (-1e13, 0.0, 1.0, 1e13)]
    assert all(0.0 <= p <= 1.0 for p in shares)
    assert shares == sorted(shares, reverse=True)


def test_what_is_no_sample_and_no_share_is_refused() -> None:
    tail = Tail()
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            tail.add(bad)
    with pytest.raises(ValueError, match="no samples"):
        tail.quantile(0.1)
    tail.add(1.0)
    with pytest.raises(ValueError, match="share"):
        tail.quantile(0.0)


@pytest.mark.parametrize(
    "plain",
    [None, [], [1.0, 2, None, [1.0], []], [1.0, 2, None, [1.0] * 40, [0] * 40], [1.0, 2, None, ["a"], [0]]],
)
def test_a_dump_of_another_shape_is_refused(plain: Any) -> None:
    with pytest.raises(ValueError, match=r"expected|number"):
        Tail.load(plain)
