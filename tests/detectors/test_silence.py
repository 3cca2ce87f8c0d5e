"""A source that publishes regularly and stops: told soon where it is never silent, and late where it often is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.protocol import Window
from detectors.silence import Silence, SilenceParams
from tests.detectors.strategies import SECONDS, T0

DAY = 86_400.0
MINUTE = 60.0
CENT = 10_000_000
FREE = SilenceParams(min_excess_nanos=1)


def busy(days: float, share: float = 0.9, seed: int = 1, *, office: bool = False) -> Iterator[Window]:
    """Windows with calls: this share of all, at random; with `office` hours only those from 8 to 18."""
    random = np.random.default_rng(seed)
    for i in np.flatnonzero(random.random(round(days * DAY / SECONDS)) < share):
        at = T0 + float(i) * SECONDS
        if not office or 8.0 <= (at % DAY) / 3_600.0 < 18.0:
            yield Window(at, SECONDS, 5, CENT, 2.0)


def knowing(windows: Iterator[Window], params: SilenceParams | None = None) -> Silence:
    silence = Silence(params)
    for window in windows:
        silence.learn(window)
    return silence


def nothing_until(at: float) -> Window:
    return Window(at - SECONDS, SECONDS, 0, 0, 0.0)


def test_a_source_that_never_pauses_is_told_of_within_half_an_hour() -> None:
    silence = knowing(busy(6))
    alarm = silence.alarm()
    assert alarm is not None
    assert 5 * MINUTE < alarm - (T0 + 6 * DAY) < 30 * MINUTE
    assert silence.score(nothing_until(alarm)).speaks
    assert not silence.score(nothing_until(alarm - MINUTE)).speaks


def test_the_score_says_since_when_and_what_may_have_been_spent_unseen() -> None:
    silence = knowing(busy(6))
    score = silence.score(nothing_until(T0 + 6 * DAY + 3_600.0))
    assert score.since == pytest.approx(T0 + 6 * DAY, abs=60.0)
    assert score.factor == "silence"
    assert score.value == pytest.approx(0.9 * 3_600, rel=0.05), "seconds with calls that were missed"
    assert score.usual_nanos == score.excess_nanos == pytest.approx(0.9 * 360 * CENT, rel=0.05)


def test_any_call_ends_a_silence() -> None:
    silence = knowing(busy(6))
    assert silence.score(nothing_until(T0 + 6.5 * DAY)).speaks
    call = Window(T0 + 6.5 * DAY, SECONDS, 1, 1, 1.0)
    assert silence.score(call).value == 0.0
    silence.learn(call)
    assert not silence.score(nothing_until(call.end + MINUTE)).speaks


def test_a_night_is_no_silence_and_a_morning_without_calls_is() -> None:
    silence = knowing(busy(12, office=True))
    closed = T0 + 11 * DAY + 18 * 3_600.0
    assert not silence.score(nothing_until(closed + 13 * 3_600.0)).speaks, "at seven in the morning"
    alarm = silence.alarm()
    assert alarm is not None
    assert 14 * 3_600.0 < alarm - closed < 19.5 * 3_600.0, (
        "by lunchtime, where it should have opened at eight"
    )


def test_bursty_traffic_is_given_longer_than_even_traffic_of_as_many_calls() -> None:
    even = knowing(busy(6, 0.2))
    random = np.random.default_rng(4)
    at, bursts = T0, Silence()
    while at < T0 + 6 * DAY:
        for _ in range(12):
            bursts.learn(Window(at, SECONDS, 5, CENT, 2.0))
            at += SECONDS
        at += SECONDS * round(random.pareto(2.5) * 70)
    of_even, of_bursts = even.alarm(), bursts.alarm()
    assert of_even is not None
    assert of_bursts is not None
    assert of_bursts - bursts.score(nothing_until(at + DAY)).since > 2 * (of_even - T0 - 6 * DAY)  # type: ignore[operator]


def test_what_is_silent_for_days_anyway_is_not_spoken_of() -> None:
    silence = Silence(FREE)
    for i in range(40):
        silence.learn(Window(T0 + i * 1.5 * DAY, SECONDS, 5, CENT, 2.0))
    assert silence.alarm() is None


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_false_tickets_keep_to_the_budget(share: float) -> None:
    """Eight sources whose silences are what chance makes them, for three weeks each."""
    told = 0
    for seed in range(8):
        silence = Silence(FREE)
        for window in busy(24, share, seed):
            told += silence.score(replace(window, seconds=0.0, calls=0)).speaks
            silence.learn(window)
    assert told <= 4, "a quarter of a ticket for each of six months, and luck"


def test_an_outage_does_not_become_the_usual() -> None:
    silence = knowing(busy(6))
    before = silence.alarm()
    for window in busy(1, seed=2):
        silence.learn(replace(window, start=window.start + 6.5 * DAY))
    after = silence.alarm()
    assert before is not None
    assert after is not None
    assert after - (T0 + 7.5 * DAY) < 4.0 * (before - (T0 + 6 * DAY)) < 3_600.0, "and it lasted half a day"


def test_a_frozen_silence_teaches_nothing() -> None:
    silence = knowing(busy(6))
    before = silence.alarm()
    later = T0 + 9 * DAY
    silence.learn(Window(later, SECONDS, 5, CENT, 2.0), frozen=True)
    after = silence.alarm()
    assert before is not None
    assert after is not None
    assert after - later == pytest.approx(before - (T0 + 6 * DAY), abs=MINUTE)


def test_nothing_is_said_before_four_days_are_known() -> None:
    silence = knowing(busy(3.9))
    assert silence.alarm() is None
    assert not silence.score(nothing_until(T0 + 3.9 * DAY + 3_600.0)).ready


def test_a_silence_that_costs_nothing_is_no_ticket_until_it_would() -> None:
    cheap = knowing(busy(6), SilenceParams(min_excess_nanos=1_000 * CENT))
    alarm = cheap.alarm()
    assert alarm is not None
    assert alarm - (T0 + 6 * DAY) == pytest.approx(1_000 * SECONDS / 0.9, rel=0.05)
    assert cheap.score(nothing_until(alarm)).speaks
    assert not cheap.score(nothing_until(alarm - 100.0)).speaks


@settings(deadline=None)
@given(
    gaps=st.lists(st.floats(0.0, 3 * DAY) | st.floats(0.0, 300.0), min_size=1, max_size=60),
    ahead=st.lists(st.floats(0.0, 5 * DAY), min_size=2, max_size=6),
)
def test_a_longer_silence_never_scores_lower_and_speaks_from_the_alarm_on(
    gaps: list[float], ahead: list[float]
) -> None:
    silence, at = Silence(replace(FREE, warm_seconds=1.0)), T0
    for gap in gaps:
        at += gap
        silence.learn(Window(at, SECONDS, 3, CENT, 1.0))
        at += SECONDS
    scores = [silence.score(Window(at, SECONDS + more, 0, 0, 0.0)) for more in sorted(ahead)]
    assert [s.value for s in scores] == sorted(s.value for s in scores)
    alarm = silence.alarm()
    for more, score in zip(sorted(ahead), scores, strict=True):
        assert math.isfinite(score.value)
        if alarm is not None and abs(at + SECONDS + more - alarm) > 1.0:
            assert score.speaks == (at + SECONDS + more > alarm)


@settings(deadline=None)
@given(gaps=st.lists(st.floats(0.0, DAY), max_size=60), more=st.floats(0.0, 3 * DAY))
def test_silences_are_judged_alike_after_a_dump_and_load(gaps: list[float], more: float) -> None:
    silence, at = Silence(replace(FREE, warm_seconds=1.0)), T0
    for gap in gaps:
        silence.learn(Window(at + gap, SECONDS, 3, CENT, 1.0))
        at += gap + SECONDS
    loaded = Silence.load(json.loads(json.dumps(silence.dump())), silence.params)
    empty = nothing_until(at + more + SECONDS)
    assert loaded.score(empty) == silence.score(empty)
    assert loaded.alarm() == silence.alarm()
