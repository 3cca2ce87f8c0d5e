"""What somebody says is the usual is taken for it; what nobody is to learn from teaches nothing at all."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.expected_spend import ExpectedSpend
from detectors.protocol import Window
from detectors.steps import STEP_S, Steps
from detectors.unit_cost import UnitCost
from tests.detectors.strategies import windows
from tests.detectors.test_behaviour import STEADY, dear_model
from tests.detectors.traffic import DAY, T0

HOURS = 6.0
BEGINS = T0 + HOURS * 3_600.0


def after(minutes: float, times: int = 4) -> tuple[UnitCost, Window]:
    """Six usual hours, then dearer calls that an incident keeps from being learnt; and a window of these."""
    detector, last = UnitCost(), None
    for window in STEADY.windows(HOURS / 24.0 + minutes * 60.0 / DAY, seed=11):
        wrong = window.start >= BEGINS
        seen = dear_model(window, times) if wrong else window
        detector.learn(seen, frozen=wrong)
        last = seen
    assert last is not None
    return detector, replace(last, start=last.end)


@pytest.mark.parametrize(("minutes", "reached"), [(15.0, 0.9), (30.0, 0.85)])
def test_what_is_accepted_is_no_incident_any_more(minutes: float, reached: float) -> None:
    detector, window = after(minutes)
    assert detector.score(window).speaks
    risen = detector.accept()
    assert reached * math.log(4.0) <= risen <= 1.1 * math.log(4.0)
    score = detector.score(window)
    assert not score.speaks
    assert score.value < 0.5


def test_to_accept_what_is_usual_already_changes_next_to_nothing() -> None:
    detector, _ = after(0.0)
    assert 0.0 <= detector.accept() < 0.1
    assert UnitCost().accept() == 0.0


def test_what_nobody_is_to_learn_from_moves_neither_the_usual_nor_the_spread() -> None:
    detector, window = after(0.0)
    held, before = UnitCost.load(detector.dump()), detector.dump()
    for minute in range(60):
        for each in (detector, held):
            later = replace(dear_model(window, 4), start=window.start + 60.0 * minute)
            each.learn(later, frozen=True, aside=each is held)
    assert held.dump()[3:5] == before[3:5]
    assert detector.dump()[3] == before[3]
    assert detector.dump()[4] != before[4], "how far ratios stray is learnt in other incidents"
    assert held.dump()[0] == detector.dump()[0], "what goes on now is seen all the same"


@settings(max_examples=20)
@given(st.lists(windows(), max_size=20))
def test_whatever_came_what_is_accepted_can_be_kept(seen: list[Window]) -> None:
    detector, spend = UnitCost(), ExpectedSpend()
    for window in seen:
        detector.learn(window)
        spend.learn(window)
        spend.rescale(math.exp(detector.accept()))
    assert UnitCost.load(detector.dump()).dump() == detector.dump()
    assert ExpectedSpend.load(spend.dump()).dump() == spend.dump()


def test_usual_spend_rises_with_what_a_trace_costs_and_so_does_what_was_kept_up() -> None:
    spend = ExpectedSpend()
    for window in STEADY.windows(0.5, seed=3):
        spend.learn(window)
    at = T0 + DAY / 2
    before = spend.rate(at)
    spend.rescale(4.0)
    assert spend.rate(at) == pytest.approx(4.0 * before)
    steps = Steps()
    for i in range(300):
        steps.add(T0 + i * STEP_S, 5.0, frozen=False)
    steps.rescale(4.0)
    assert steps.highest() == pytest.approx(20.0)
    assert steps.latest(T0 + 300 * STEP_S, 0.0) == 5.0
