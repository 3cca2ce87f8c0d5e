"""What each detector is for: which traffic it must speak of, how soon, and which it must bear in silence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from detectors.expected_spend import ExpectedSpend, ExpectedSpendParams
from detectors.live_trace import LiveTrace, LiveTraceParams
from detectors.protocol import Detector, Score, Window
from detectors.registry import DETECTORS
from detectors.unit_cost import UnitCost, UnitCostParams
from tests.detectors.traffic import DAY, SECONDS, T0, Trace, Workload, dearer, of_trace

STEADY = Workload(per_window=5.0, dispersion=1.5, cycle=0.0, cost_nanos=100_000_000)
"""About $180 an hour in 1,800 traces."""
HALF_DAY = 0.5


def incident(
    detector: Detector,
    change: Callable[[Window], Window],
    minutes: float,
    workload: Workload = STEADY,
    after_minutes: float = 0.0,
) -> tuple[list[tuple[float, Score]], Window]:
    """Half a clean day, then what `change` makes of the next minutes: scores by seconds since then."""
    begins = T0 + HALF_DAY * DAY
    ends = begins + 60.0 * minutes
    scores, seen = [], None
    for window in workload.windows(HALF_DAY + (minutes + after_minutes) * 60.0 / DAY, seed=11):
        wrong = begins <= window.start < ends
        judged = change(window) if wrong else window
        judged = replace(judged, usual_nanos_per_s=workload.cost_nanos * workload.per_window / SECONDS)
        score = detector.score(judged)
        if window.start >= begins:
            scores.append((window.end - begins, score))
        else:
            assert not score.speaks
        detector.learn(judged, frozen=wrong or score.speaks)
        seen = judged if wrong else seen
    assert seen is not None
    return scores, seen


def first_word(scores: list[tuple[float, Score]]) -> float:
    return next((at for at, score in scores if score.speaks), math.inf)


def dear_model(window: Window, times: int) -> Window:
    """The same tokens of a model whose list price is higher."""
    return replace(
        window,
        cost_nanos=times * window.cost_nanos,
        reference_nanos=times * window.reference_nanos,
        reference_output_nanos=times * window.reference_output_nanos,
    )


@pytest.mark.parametrize(
    ("change", "factor", "driver", "within_s"),
    [
        pytest.param(
            lambda w: dearer(w, calls=6.0), "calls_per_trace", "calls_per_trace", 400, id="retry loop"
        ),
        pytest.param(
            lambda w: dearer(w, per_call=6.0), "input_per_call", "input_per_call", 600, id="context growth"
        ),
        pytest.param(
            lambda w: dearer(w, output=10.0), "output_per_call", "output_per_call", 600, id="output growth"
        ),
        pytest.param(
            lambda w: replace(w, cost_nanos=5 * w.cost_nanos), "price", "price", 420, id="dear price"
        ),
        pytest.param(lambda w: dear_model(w, 5), "model_mix", "", 420, id="dear model"),
    ],
)
def test_dearer_traces_are_told_with_the_factor_to_blame(
    change: Callable[[Window], Window], factor: str, driver: str, within_s: float
) -> None:
    detector = UnitCost()
    scores, window = incident(detector, change, 15)
    assert first_word(scores) <= within_s
    assert next(score.factor for _, score in scores if score.speaks) == factor
    drivers = detector.explain(window)
    assert sum(c.share_nanos for c in drivers) > 0
    if not driver:
        return
    culprit = next(c for c in drivers if c.factor == driver)
    assert culprit.share_nanos == max(c.share_nanos for c in drivers if c.factor != "traces")


def test_an_hour_that_is_over_is_over_within_minutes() -> None:
    """The long scale still holds the incident for hours; the verdict must not."""
    scores, _ = incident(UnitCost(), lambda w: dearer(w, calls=5.0), 60, after_minutes=120)
    assert any(score.speaks for at, score in scores if at <= 3_600)
    assert not any(score.speaks for at, score in scores if at > 3_600 + 900)


def test_a_small_lasting_rise_is_seen_by_the_long_scale() -> None:
    scores, _ = incident(
        UnitCost(),
        lambda w: replace(w, cost_nanos=round(1.9 * w.cost_nanos)),
        120,
        replace(STEADY, per_window=1.0),
    )
    assert first_word(scores) <= 7_200


@pytest.mark.parametrize("name", ["unit_cost", "live_trace"])
def test_twenty_times_the_traces_at_the_usual_cost_is_no_incident(name: str) -> None:
    loud, _ = launch(DETECTORS[name](None))  # type: ignore[call-arg]
    assert loud == []


def test_twenty_times_the_traces_at_the_usual_cost_is_a_launch() -> None:
    loud, first = launch(ExpectedSpend())
    assert loud
    assert first <= 60.0


def launch(detector: Detector) -> tuple[list[float], float]:
    """Seconds into a launch (ramp of 10 minutes to twenty times, then 50 minutes) at which it speaks."""
    begins = T0 + HALF_DAY * DAY
    usual = STEADY.cost_nanos * STEADY.per_window / SECONDS
    for window in STEADY.windows(HALF_DAY, seed=5):
        assert not detector.score(replace(window, usual_nanos_per_s=usual)).speaks
        detector.learn(window)
    loud = []
    for i, window in enumerate(STEADY.windows(3_600 / DAY, 6, start=begins, volume=20.0)):
        judged = replace(window, usual_nanos_per_s=usual)
        if detector.score(judged).speaks:
            loud.append((i + 1) * SECONDS)
        detector.learn(judged, frozen=bool(loud))
    return loud, loud[0] if loud else math.inf


def loop(started: float, dollars_per_minute: float) -> Iterator[Window]:
    """One trace alone that spends and spends."""
    for i in range(60):
        start = started + i * SECONDS
        cost = round(dollars_per_minute / 6 * (i + 1) * 1e9)
        trace = Trace("loop", 40 * (i + 1), cost, 9_000, started, start + 9.0)
        yield Window(start, SECONDS, 40, round(dollars_per_minute / 6 * 1e9), 1.0, live=[trace])


@pytest.mark.parametrize(("dollars_per_minute", "within_s"), [(20.0, 40.0), (5.0, 130.0)])
def test_a_loop_in_one_trace_is_told_as_soon_as_it_has_cost_enough(
    dollars_per_minute: float, within_s: float
) -> None:
    """Enough: three minutes of the workflow's usual $180 an hour are $9."""
    detector = LiveTrace()
    for window in STEADY.windows(HALF_DAY, seed=2):
        detector.learn(window)
    usual = STEADY.cost_nanos * STEADY.per_window / SECONDS
    for window in loop(T0 + DAY, dollars_per_minute):
        score = detector.score(replace(window, usual_nanos_per_s=usual))
        if score.speaks:
            assert window.end - (T0 + DAY) <= within_s
            assert score.culprits == ("loop",)
            assert score.factor == "calls_per_trace"
            spent = window.live[0].cost_nanos
            assert 0.9 * spent < score.excess_nanos < spent
            return
    pytest.fail("a loop of one trace was not seen")


def test_a_trace_of_few_dear_calls_is_a_runaway_and_no_loop() -> None:
    detector = LiveTrace()
    for window in STEADY.windows(0.1, seed=2):
        detector.learn(window)
    trace = Trace("run", 3, 50_000_000_000, 900_000, T0 + DAY, T0 + DAY + 5)
    score = detector.score(Window(T0 + DAY, SECONDS, 3, 50_000_000_000, 1.0, live=[trace]))
    assert score.speaks
    assert score.factor == "cost_per_trace"
    contributions = detector.explain(Window(T0 + DAY, SECONDS, 3, 50_000_000_000, 1.0, live=[trace]))
    assert contributions[0].factor == "price"
    assert sum(c.share_nanos for c in contributions) < 50_000_000_000


def test_before_any_trace_has_finished_only_an_absolute_amount_speaks() -> None:
    cold = LiveTrace()
    for dollars, speaks in ((5, False), (19, False), (20, True), (500, True)):
        trace = Trace("t", 10, dollars * 10**9, 1_000, T0, T0 + 1)
        assert cold.score(Window(T0, SECONDS, 10, trace.cost_nanos, 1.0, live=[trace])).speaks is speaks
    assert not UnitCost().score(Window(T0, SECONDS, 10, 10**12, 1.0)).ready
    assert not ExpectedSpend().score(Window(T0, SECONDS, 10, 10**12, 1.0)).ready


def test_culprits_come_dearest_first_and_are_few() -> None:
    traces = [Trace(f"t{i:02}", 10, (30 + i) * 10**9, 1_000, T0, T0 + 1) for i in range(40)]
    score = LiveTrace().score(Window(T0, SECONDS, 400, 10**12, 40.0, live=traces))
    assert score.culprits == tuple(f"t{i}" for i in range(39, 31, -1))


def test_spend_after_a_long_silence_is_judged_by_its_own_minutes() -> None:
    """An hour of silence must not dilute the rate of the minute after it."""
    detector = ExpectedSpend()
    for window in STEADY.windows(HALF_DAY, seed=2):
        detector.learn(window)
    start = T0 + HALF_DAY * DAY + 3_600.0
    for i in range(6):
        detector.learn(Window(start + i * SECONDS, SECONDS, 10, 10_000_000_000, 5.0), frozen=True)
    assert detector.recent_rate() > 0.25e9, "a dollar a second, watched for a minute out of the last minutes"


def test_years_of_silence_leave_numbers_behind() -> None:
    """What is expected had faded to a number so small that the ratio to it was infinite, and then all was NaN."""
    detector = ExpectedSpend()
    for window in STEADY.windows(HALF_DAY, seed=2):
        detector.learn(window)
    for years in (1, 2, 3, 3.1, 4, 50):
        window = Window(T0 + years * 365 * DAY, SECONDS, 10, 10**15, 5.0)
        score = detector.score(window)
        assert math.isfinite(score.value)
        detector.learn(window)
    assert all(math.isfinite(x) for x in detector.dump()[-2])


def test_the_hours_of_the_day_are_learnt() -> None:
    detector = ExpectedSpend()
    for day in range(7):
        for hour in range(24):
            for i in range(0, 360, 6):
                start = T0 + day * DAY + hour * 3_600 + i * SECONDS
                cost = 3_000_000_000 if 9 <= hour < 17 else 300_000_000
                detector.learn(Window(start, SECONDS, 1, cost, 1.0))
    noon, night = detector.rate(T0 + 7 * DAY + 12 * 3_600), detector.rate(T0 + 7 * DAY + 3 * 3_600)
    assert 3.0 < noon / night < 10.0, "shrunk towards the day's level by how little a week tells"


@pytest.mark.parametrize("times", [1e-3, 7.0, 1e4])
def test_unit_cost_and_expected_spend_do_not_depend_on_the_currency(times: float) -> None:
    """All dollars times k, floors too: the same values, and k times the dollars."""
    plain: list[Detector] = [UnitCost(), ExpectedSpend()]
    floor = round(500_000_000 * times)
    scaled: list[Detector] = [
        UnitCost(UnitCostParams(min_excess_nanos=floor)),
        ExpectedSpend(ExpectedSpendParams(min_excess_nanos=floor)),
    ]
    workload = replace(STEADY, cost_nanos=1e12)  # large, so that whole nano-dollars do not round visibly
    for window in workload.windows(0.3, seed=9):
        if window.start >= T0 + 0.29 * DAY:
            window = dearer(window, calls=4.0)
        other = replace(
            window,
            cost_nanos=round(window.cost_nanos * times),
            reference_nanos=round(window.reference_nanos * times),
            reference_output_nanos=round(window.reference_output_nanos * times),
            finished=[of_trace(t, cost_nanos=round(t.cost_nanos * times)) for t in window.finished],
        )
        for one, two in zip(plain, scaled, strict=True):
            a, b = one.score(window), two.score(other)
            assert b.value == pytest.approx(a.value, rel=1e-4, abs=1e-4)
            assert b.excess_nanos == pytest.approx(a.excess_nanos * times, rel=1e-3, abs=1e9 * times)
            one.learn(window)
            two.learn(other)


def test_live_trace_does_not_depend_on_the_currency_once_it_is_warm() -> None:
    plain = LiveTrace()
    scaled = LiveTrace(LiveTraceParams(min_cost_nanos=25_000_000_000, min_excess_nanos=50_000_000_000))
    for window in STEADY.windows(0.05, seed=9):
        plain.learn(window)
        scaled.learn(replace(window, finished=[times_hundred(t) for t in window.finished]))
    trace = Trace("t", 90, 10_000_000_000, 1_000, T0 + DAY, T0 + DAY)
    window = Window(T0 + DAY, SECONDS, 1, 1, 1.0, live=[trace])
    other = replace(window, live=[times_hundred(trace)])
    assert scaled.score(other).value == pytest.approx(plain.score(window).value, rel=1e-6)


def times_hundred(trace: object) -> Trace:
    assert isinstance(trace, Trace)
    return replace(trace, cost_nanos=100 * trace.cost_nanos)


CHEAP = Workload()
DEAR = Workload(per_window=0.5, dispersion=10.0, cost_nanos=100_000_000.0)


@pytest.mark.parametrize(
    ("workload", "seed"),
    [pytest.param(CHEAP, 1, id="cheap-1"), *(pytest.param(DEAR, s, id=f"dear-{s}") for s in (1, 2, 3, 4, 5))],
)
def test_a_clean_week_hardly_says_a_word(workload: Workload, seed: int) -> None:
    """Bursty counts, log-normal costs, a daily cycle, 60,480 windows.

    Unit cost is silent, but for what its page budget grants: a quarter of a page a month. A live trace may speak
    as often as its quantile says that traces are so dear, where one of them is worth minutes of the workflow's
    spend: rare and dear traces, not many and cheap ones.
    """
    judges = {name: kind(None) for name, kind in DETECTORS.items()}  # type: ignore[call-arg]
    expected = judges["expected_spend"]
    assert isinstance(expected, ExpectedSpend)
    words: Counter[str] = Counter()
    pages, last = 0, -math.inf
    traces = 0
    for window in workload.windows(7.0, seed):
        judged = replace(window, usual_nanos_per_s=expected.rate(window.start))
        traces += len(window.finished)
        for name, detector in judges.items():
            spoke = detector.score(judged).speaks
            words[name] += spoke
            if spoke and name == "unit_cost":
                pages += window.start > last + 7_200.0
                last = window.start
            detector.learn(judged)
    print(f"seed {seed}: {traces} traces, words in 7 days: {dict(words)}")
    granted = traces * LiveTraceParams().quantile
    assert pages <= (1 if workload is DEAR else 0)
    assert words["live_trace"] <= (1.0 + granted + 3.0 * math.sqrt(granted) if workload is DEAR else 0)
    assert words["expected_spend"] <= 3
