"""Unit cost is asked only where it may speak: what it says of the others is nothing."""

from __future__ import annotations

from hypothesis import given, settings

from detectors.protocol import Window
from detectors.unit_cost import UnitCost
from tests.detectors.strategies import histories
from tests.detectors.test_behaviour import STEADY, dear_model


@given(histories())
@settings(max_examples=20)
def test_what_may_not_speak_does_not(history: list[tuple[Window, bool]]) -> None:
    detector = UnitCost()
    for window, frozen in history:
        score = detector.score(window)
        assert detector.ready == score.ready
        assert detector.may_speak(window) or not score.speaks
        detector.learn(window, frozen=frozen)


def test_what_is_usual_is_not_asked_of_and_what_is_dear_is() -> None:
    detector, asked, spoke = UnitCost(), [0, 0], 0
    for number, window in enumerate(STEADY.windows(0.5, seed=5)):
        wrong = number > 2_000
        seen = dear_model(window, 6) if wrong else window
        asked[wrong] += detector.may_speak(seen)
        spoke += detector.score(seen).speaks
        assert detector.may_speak(seen) or not detector.score(seen).speaks
        detector.learn(seen, frozen=wrong)
    assert spoke > 100
    assert asked[True] >= spoke
    assert asked[False] < 100
