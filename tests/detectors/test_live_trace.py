"""What an open trace must stand out from: more where more traces come, and dollars that matter just now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from detectors.live_trace import LiveTrace, LiveTraceParams
from detectors.protocol import Score, Window
from tests.detectors.traffic import DAY, SECONDS, T0, Trace, Workload

STEADY = Workload(per_window=5.0, dispersion=1.5, cycle=0.0, cost_nanos=10_000_000)
"""About 18 dollars an hour in 1,800 traces."""
BEGINS = T0 + 0.25 * DAY


def learnt(windows: Iterable[Window], params: LiveTraceParams | None = None) -> LiveTrace:
    detector = LiveTrace(params)
    for window in windows:
        detector.learn(window)
    return detector


def met(detector: LiveTrace, dollars: float, calls: int = 7, at: float = BEGINS, begun: float = 5.0) -> Score:
    cost = round(dollars * 1e9)
    trace = Trace("t", calls, cost, 2_000, at, at + 5.0)
    return detector.score(Window(at, SECONDS, 40, cost, begun, live=[trace]))


def asked(detector: LiveTrace, begun: float = 5.0) -> float:
    """Dollars at which a trace of few calls is unusual enough."""
    low, high = 0.01, 1e4
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if met(detector, middle, begun=begun).value >= 1.0 else (middle, high)
    return high


def test_more_is_asked_of_a_trace_where_more_traces_come() -> None:
    rare, usual, many = (
        asked(learnt(replace(STEADY, per_window=n).windows(0.25, seed=1))) for n in (0.05, 5.0, 50.0)
    )
    assert rare < usual < many
    assert usual < 2.5 * rare
    assert many < 2.5 * usual


def test_a_launch_asks_for_more_while_it_lasts() -> None:
    detector = learnt(STEADY.windows(0.25, seed=1))
    before = asked(detector)
    for window in STEADY.windows(1_800 / DAY, 2, start=BEGINS, volume=50.0):
        detector.learn(replace(window, finished=()), frozen=True)
    during = asked(detector, begun=250.0)
    assert during > 1.1 * before


def test_a_smaller_page_budget_asks_for_more() -> None:
    bought = [
        asked(learnt(STEADY.windows(0.25, seed=1), LiveTraceParams(page_budget=b))) for b in (1.0, 0.1, 0.01)
    ]
    assert bought == sorted(bought)
    assert len(set(bought)) == 3


def test_the_quantile_bounds_what_any_budget_grants() -> None:
    granted = asked(learnt(STEADY.windows(0.25, seed=1), LiveTraceParams(page_budget=1e9)))
    strict = asked(learnt(STEADY.windows(0.25, seed=1), LiveTraceParams(page_budget=1e9, quantile=1e-6)))
    assert granted < strict


def test_few_finished_traces_ask_for_more_than_many() -> None:
    windows = list(STEADY.windows(0.25, seed=1))
    few = learnt(windows[:4])
    assert few.dump()[0][0] >= LiveTraceParams().warm_traces
    assert asked(few) > 1.3 * asked(learnt(windows))


@pytest.mark.parametrize(("volume", "speaks"), [(1.0, True), (50.0, False)])
def test_what_is_much_in_the_quiet_is_little_in_a_launch(volume: float, speaks: bool) -> None:
    """42 seconds of $18 an hour are below the floor, of fifty times that $10: a trace of $8 is news in the one."""
    detector = learnt(STEADY.windows(0.25, seed=1))
    for window in STEADY.windows(3_600 / DAY, 2, start=BEGINS, volume=volume):
        detector.learn(window, frozen=True)
    score = met(detector, 8.0, calls=400, at=BEGINS + 3_600.0, begun=5.0 * volume)
    assert score.value > 1.0
    assert score.speaks is speaks
    if not speaks:
        assert score.gate_nanos > 8_000_000_000


def test_the_dearest_trace_does_not_raise_its_own_bar() -> None:
    detector = learnt(STEADY.windows(0.25, seed=1))
    gates = [met(detector, dollars).gate_nanos for dollars in (1.0, 100.0, 10_000.0)]
    assert gates[0] == gates[1] == gates[2]


def test_few_calls_are_no_loop_however_rare() -> None:
    detector = learnt(replace(STEADY, calls=1.0).windows(0.25, seed=1))
    assert met(detector, 0.35, calls=7).value < 1.0
    assert met(detector, 0.35, calls=400).value >= 1.0
