"""What is kept up for a while, step by step of ten minutes, tells a launch from a burst."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.expected_spend import ExpectedSpend
from detectors.protocol import Window
from detectors.steps import STEP_S, Steps
from tests.detectors.strategies import SECONDS, T0

DAY = 86_400.0
STEPS_A_DAY = 144


def filled(costs: list[float], start: float = T0, *, frozen: bool = False) -> Steps:
    steps = Steps()
    for i, cost in enumerate(costs):
        steps.add(start + i * STEP_S, cost, frozen=frozen)
    return steps


def test_what_every_step_reaches_was_kept_up_and_a_burst_was_not() -> None:
    burst = filled([1.0] * 6 + [500.0] + [1.0])
    assert burst.kept_up(T0 + 8 * STEP_S, 2.0) == (0.0, 0.0)
    launch = filled([1.0] * 6 + [9.0, 8.0])
    assert launch.kept_up(T0 + 8 * STEP_S, 2.0) == (8.0, 12.0)


def test_eighty_minutes_may_have_two_idle_steps() -> None:
    steps = filled([9.0, 9.0, 0.0, 9.0, 9.0, 0.0, 9.0, 9.0, 0.0])
    rate, over = steps.kept_up(T0 + 8 * STEP_S, 1.0)
    assert (rate, over) == (9.0, 64.0), "over twenty minutes, and most dollars over eighty"
    assert filled([9.0, 0.0, 0.0, 9.0, 9.0, 0.0, 9.0, 0.0]).kept_up(T0 + 8 * STEP_S, 1.0)[0] == 0.0


def test_the_step_that_goes_on_is_not_kept_up_yet() -> None:
    assert filled([0.0, 9.0]).kept_up(T0 + 1.9 * STEP_S, 1.0)[0] == 0.0
    assert filled([9.0, 9.0]).kept_up(T0 + 2.0 * STEP_S, 1.0)[0] == 9.0


def test_only_more_than_on_any_day_before_counts() -> None:
    steps = filled([5.0] * STEPS_A_DAY)
    for i, cost in enumerate([4.0, 4.0, 4.0, 6.0, 6.0]):
        steps.add(T0 + DAY + i * STEP_S, cost, frozen=False)
    assert steps.kept_up(T0 + DAY + 3 * STEP_S, 1.0)[0] == 0.0
    assert steps.kept_up(T0 + DAY + 5 * STEP_S, 1.0)[0] == 6.0
    assert steps.highest() == 5.0


def test_a_high_halves_in_five_days() -> None:
    steps = filled([8.0] * STEPS_A_DAY)
    steps.add(T0 + DAY, 1.0, frozen=False)
    assert steps.highest() == pytest.approx(8.0)
    steps.add(T0 + 6 * DAY, 1.0, frozen=False)
    assert steps.highest() == pytest.approx(4.0)


def test_what_is_not_learnt_makes_no_high_nor_does_a_stretch_that_has_some_of_it() -> None:
    steps = filled([500.0] * STEPS_A_DAY, frozen=True)
    for i in range(20):
        steps.add(T0 + DAY + i * STEP_S, 500.0 if i == 0 else 1.0, frozen=i == 0)
    steps.add(T0 + 2 * DAY, 1.0, frozen=False)
    assert steps.highest() == 1.0
    assert steps.dump()[-1] == pytest.approx([1.0] * 4)


@given(st.lists(st.tuples(st.floats(0, 30 * DAY), st.floats(0, 1e15), st.booleans()), max_size=60))
def test_a_dump_holds_all_of_it_whatever_comes(seen: list[tuple[float, float, bool]]) -> None:
    kept = Steps()
    for at, cost, frozen in seen:
        kept.add(T0 + at, cost, frozen=frozen)
        carried = Steps.load(json.loads(json.dumps(kept.dump())))
        assert carried.dump() == kept.dump()
        kept = carried
    assert len(kept.dump()[1]) == 9


@pytest.mark.parametrize(
    "plain", [None, [], [None] * 6, [0.0, [0.0] * 9, None, 0.0, [0.0] * 4, [float("nan")] * 4]]
)
def test_what_is_no_dump_is_refused(plain: object) -> None:
    with pytest.raises(ValueError, match=r"expected|number"):
        Steps.load(plain)


def bursty(days: float, seed: int, volume: float = 1.0) -> list[Window]:
    """Silent in five of six steps, and two hundred times its mean in one of a hundred."""
    dice = random.Random(seed)
    found = []
    for step in range(round(days * STEPS_A_DAY)):
        size = 100.0 if dice.random() < 0.01 else dice.random() < 1 / 6
        if volume > 1.0:
            size = volume * dice.uniform(0.7, 1.3)
        for at in range(0, 600, 60):
            if size:
                cost = round(size * 1e8 * dice.uniform(0.5, 1.5))
                found.append(Window(T0 + step * STEP_S + at, SECONDS, 10, cost, 5.0))
    return found


def test_a_launch_shows_on_a_client_whose_bursts_are_far_above_it() -> None:
    """Ten times what it spends when it is active, kept up: its bursts are ten times that, and last ten minutes."""
    detector = ExpectedSpend()
    words = 0
    for window in bursty(7, 3):
        words += detector.score(window).speaks
        detector.learn(window)
    assert words < 60, "sixty windows are six bursts, of ten in the week"
    begins = 7 * DAY
    first = None
    for window in bursty(0.1, 4, volume=10.0):
        window = Window(window.start + begins, SECONDS, 10, window.cost_nanos, 5.0)
        if first is None and detector.score(window).speaks:
            first = window.start - begins - T0
        detector.learn(window, frozen=first is not None)
    assert first is not None
    assert first <= 3_600.0


def test_more_is_never_kept_up_less() -> None:
    costs = [3.0, 7.0, 2.0, 9.0, 4.0, 4.0, 8.0, 6.0]
    rates = [filled([c * k for c in costs]).kept_up(T0 + 8 * STEP_S, 1.0)[0] for k in (1.0, 1.5, 2.0, 10.0)]
    assert all(a < b for a, b in pairwise(rates))
