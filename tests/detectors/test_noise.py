"""How far a ratio may stray: what a page budget asks for, what little history asks for, what one outlier may do."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.noise import Noise
from detectors.ratios import CALLS, COST, FACTORS

SCALES = (45.0, 720.0, 43_200.0)
NOTHING = [0.0] * len(FACTORS)


def seen(hours: float, residual: float = 0.0, h: int = 1) -> Noise:
    noise = Noise(SCALES)
    for _ in range(round(hours * 3_600.0 / SCALES[h])):
        noise.learn_stray(h, [residual] * len(FACTORS), 1e9, SCALES[h])
    return noise


def test_a_smaller_page_budget_asks_for_more() -> None:
    noise = Noise(SCALES)
    thresholds = [noise.threshold(1, budget) for budget in (9.0, 1.0, 0.25, 0.01)]
    assert thresholds == sorted(thresholds)
    assert len(set(thresholds)) == 4


def test_a_short_scale_asks_for_more_because_it_is_looked_at_more_often() -> None:
    noise = Noise(SCALES)
    assert noise.threshold(0, 0.25) > noise.threshold(1, 0.25) > noise.threshold(2, 0.25)


def test_little_history_asks_for_more() -> None:
    thresholds = [seen(hours).threshold(1, 0.25) for hours in (0, 1, 4, 24)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[0] > 1.5 * thresholds[-1]


@pytest.mark.parametrize("budget", [0.0, 1e-9, 1e-3, 1.0, 1e3, 1e9])
def test_any_budget_gives_a_finite_threshold(budget: float) -> None:
    for h in range(len(SCALES)):
        assert 0.0 < Noise(SCALES).threshold(h, budget) < math.inf


def test_the_threshold_keeps_its_budget_where_residuals_are_normal() -> None:
    """In independent stretches: as seldom as asked, or more seldom, however short the history."""
    dice = random.Random(1)
    budget = 2_592_000.0 / SCALES[1] * 12.0 * 0.05  # one stretch in twenty
    beyond = 0
    for _ in range(3_000):
        noise = Noise(SCALES)
        for _ in range(20):
            residuals = [dice.gauss(0.0, 0.45)] * len(FACTORS)
            noise.learn_stray(1, residuals, 1e9, SCALES[1])
        beyond += dice.gauss(0.0, 0.45) > noise.threshold(1, budget) * math.sqrt(
            noise.variance(1, COST, math.inf)
        )
    assert 0.01 < beyond / 3_000 < 0.075


def test_what_is_seen_moves_the_prior_only_as_far_as_there_is_history() -> None:
    """Five stretches' worth of prior: after five at rest the variance is half of it, after many hardly any."""
    prior = Noise(SCALES).stray[1][COST]
    assert seen(5 * 0.2).stray[1][COST] == pytest.approx(prior / 2)
    assert seen(75 * 0.2).stray[1][COST] == pytest.approx(prior / 16)
    assert seen(75 * 0.2).variance(1, COST, math.inf) > 0.08**2 - 1e-12, "no ratio is ever that still"


def test_one_outlier_widens_the_scale_by_no_more_than_its_clip() -> None:
    noise = seen(8.0, residual=0.2)
    before, variance = noise.stray[1][COST], noise.variance(1, COST, 1e9)
    noise.learn_stray(1, [50.0] * len(FACTORS), 1e9, SCALES[1])
    assert before < noise.stray[1][COST] <= before + 16.0 * variance / noise.blocks[1] + 1e-12


def test_sampling_noise_is_not_taken_for_straying() -> None:
    """What three traces show says little: residuals that c / w explains teach that the ratio does not stray."""
    few, many = Noise(SCALES), Noise(SCALES)
    for _ in range(60):
        few.learn_stray(1, [0.5] * len(FACTORS), 3.0, SCALES[1])
        many.learn_stray(1, [0.5] * len(FACTORS), 3_000.0, SCALES[1])
    assert few.stray[1][COST] < 0.05
    assert many.stray[1][COST] > 0.2


def test_looks_within_a_stretch_count_as_parts_of_one() -> None:
    often, once = Noise(SCALES), Noise(SCALES)
    for _ in range(12):
        often.learn_stray(1, NOTHING, 1e9, 60.0)
    once.learn_stray(1, NOTHING, 1e9, 720.0)
    assert often.blocks[1] == pytest.approx(once.blocks[1])
    assert often.stray[1][COST] == pytest.approx(once.stray[1][COST], rel=0.02)


def test_a_trace_teaches_the_noise_of_its_own_ratio_only() -> None:
    noise = Noise(SCALES)
    before = list(noise.per_trace)
    for _ in range(500):
        noise.learn_trace(CALLS, 0.04, 0.2)
    assert noise.per_trace[CALLS] < 0.1 * before[CALLS]
    assert noise.per_trace[COST] == before[COST]
    noise.learn_trace(COST, 1e6, 0.2)
    assert noise.per_trace[COST] < 2.0 * before[COST], "a wild trace is clipped"


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.floats(-300, 300), st.floats(0, 1e12), st.floats(0, 1e6)), max_size=60
    )
)
def test_whatever_is_seen_it_stays_finite_and_survives_its_dump(
    looks: list[tuple[int, float, float, float]],
) -> None:
    noise = Noise(SCALES)
    for h, residual, traces, elapsed in looks:
        noise.learn_stray(h, [residual] * len(FACTORS), traces, elapsed)
        noise.learn_trace(COST, residual * residual, 0.2)
    plain = json.loads(json.dumps(noise.dump(), allow_nan=False))
    again = Noise.load(plain, SCALES)
    assert again.dump() == noise.dump()
    for h in range(len(SCALES)):
        assert again.threshold(h, 0.25) == noise.threshold(h, 0.25)
        for f in range(len(FACTORS)):
            assert 0.0 < noise.variance(h, f, 0.0) < math.inf
            assert noise.variance(h, f, 1e9) <= noise.variance(h, f, 10.0) <= noise.variance(h, f, 0.0)


@pytest.mark.parametrize("damage", range(4))
def test_a_damaged_dump_is_refused(damage: int) -> None:
    plain = Noise(SCALES).dump()
    for wrong in (None, [], [1.0], "x", [[-1.0] * len(FACTORS)] * len(SCALES)):
        broken = list(plain)
        broken[damage] = wrong
        with pytest.raises((TypeError, ValueError)):
            Noise.load(broken, SCALES)
