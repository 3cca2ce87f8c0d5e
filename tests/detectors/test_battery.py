"""Promises of the detector protocol, held by every registered detector. A new one is tested by being registered."""

from __future__ import annotations

import ast
import builtins
import copy
import json
import math
import pathlib
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import detectors
from detectors.protocol import Contribution, Detector, Window
from detectors.registry import DETECTORS, OF_GATEWAYS
from detectors.unit_cost import UnitCost
from tests.detectors.strategies import MAX_NANOS, SECONDS, T0, histories, windows
from tests.detectors.traffic import Trace, Workload, of_trace

MAX_STATE_BYTES = 4_096
"""Two rows of Bloom filters for known names take up to 2.6 kB; whoever keeps no names needs half of this."""
ALLOWED_IMPORTS = {
    "__future__",
    "bisect",
    "collections",
    "compiled",
    "dataclasses",
    "detectors",
    "functools",
    "hashlib",
    "itertools",
    "math",
    "mypy_extensions",
    "numpy",
    "river",
    "scipy",
    "statistics",
    "typing",
}

EVERY = DETECTORS | OF_GATEWAYS

pytestmark = pytest.mark.parametrize("kind", list(EVERY.values()), ids=list(EVERY))
few = settings(
    max_examples=settings().max_examples // 4, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
History = list[tuple[Window, bool]]


def fresh(kind: type[Detector]) -> Detector:
    return kind(None)  # type: ignore[call-arg]


def learnt(kind: type[Detector], history: History) -> Detector:
    detector = fresh(kind)
    for window, frozen in history:
        detector.learn(window, frozen=frozen)
    return detector


def through_messagepack(plain: Any) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(plain))


def through_json(plain: Any) -> Any:
    return json.loads(json.dumps(plain, allow_nan=False))


@few
@given(histories())
def test_the_same_windows_give_the_same_scores_and_dumps(kind: type[Detector], history: History) -> None:
    one, other = fresh(kind), fresh(kind)
    for window, frozen in history:
        assert one.score(window) == other.score(window)
        assert one.explain(window) == other.explain(window)
        one.learn(window, frozen=frozen)
        other.learn(window, frozen=frozen)
    assert one.dump() == other.dump()


@pytest.mark.parametrize("carry", [through_messagepack, through_json])
@few
@given(history=histories(), at=st.integers(0, 95))
def test_a_dump_and_load_at_any_point_changes_nothing_afterwards(
    kind: type[Detector], carry: Any, history: History, at: int
) -> None:
    at = min(at, len(history))
    kept = learnt(kind, history[:at])
    carried = kind.load(carry(kept.dump()), kept.params)
    assert carried.dump() == kept.dump()
    for window, frozen in history[at:]:
        assert carried.score(window) == kept.score(window)
        assert list(carried.explain(window)) == list(kept.explain(window))
        kept.learn(window, frozen=frozen)
        carried.learn(window, frozen=frozen)
    assert carried.dump() == kept.dump()


@few
@given(histories())
def test_a_dump_is_a_copy(kind: type[Detector], history: History) -> None:
    detector = learnt(kind, history)
    before = copy.deepcopy(detector.dump())
    dumped = detector.dump()
    for window, frozen in history:
        detector.learn(replace(window, start=window.start + 1e6), frozen=frozen)
    assert dumped == before


@few
@given(histories(), windows(T0 + 1e10))
def test_scoring_and_explaining_change_nothing(
    kind: type[Detector], history: History, window: Window
) -> None:
    detector = learnt(kind, history)
    before = json.dumps(detector.dump())
    first = detector.score(window), list(detector.explain(window))
    assert (detector.score(window), list(detector.explain(window))) == first
    assert json.dumps(detector.dump()) == before


@few
@given(histories(late=True))
def test_scores_are_finite_and_in_order_whatever_comes(kind: type[Detector], history: History) -> None:
    detector = fresh(kind)
    for window, frozen in history:
        score = detector.score(window)
        assert math.isfinite(score.value)
        assert math.isfinite(score.threshold)
        assert score.value >= 0.0
        assert score.threshold > 0.0
        assert score.excess_nanos >= 0
        assert score.usual_nanos >= 0
        assert score.gate_nanos > 0
        assert len(score.culprits) <= 16
        detector.learn(window, frozen=frozen)
        json.dumps(detector.dump(), allow_nan=False)


@few
@given(histories(late=True), windows(T0 + 3e9), st.integers(1, MAX_NANOS))
def test_shares_add_up_to_the_change_whatever_comes(
    kind: type[Detector], history: History, window: Window, more: int
) -> None:
    """What a window costs more, the shares sum up to more; no share is wilder than the money there is."""
    detector = learnt(kind, history)
    dearer = replace(
        window,
        cost_nanos=window.cost_nanos + more,
        live=[of_trace(t, cost_nanos=t.cost_nanos + more) for t in window.live],
    )
    spent = MAX_NANOS + more + sum(w.cost_nanos for w, _ in history)
    for one, other in ((window, dearer), (unpriced(window), unpriced(dearer)), (window, unpriced(dearer))):
        low, high = detector.explain(one), detector.explain(other)
        assert bool(low) == bool(high)
        if low:
            assert abs(total(high) - total(low) - more) <= 1, "each change is rounded to a nano-dollar"
        for c in (*low, *high):
            assert math.isfinite(c.before)
            assert math.isfinite(c.after)
            assert abs(c.share_nanos) <= 200 * spent, "shares that cancel each other out explain nothing"


def total(contributions: Sequence[Contribution]) -> int:
    return sum(c.share_nanos for c in contributions)


def unpriced(window: Window) -> Window:
    return replace(window, reference_nanos=0, reference_output_nanos=0)


@few
@given(histories(), windows(T0 + 3e9), st.integers(1, MAX_NANOS))
def test_a_dearer_window_never_scores_lower(
    kind: type[Detector], history: History, window: Window, more: int
) -> None:
    detector = learnt(kind, history)
    window = replace(window, start=history[-1][0].start + SECONDS if history else T0)
    dearer = replace(
        window,
        cost_nanos=window.cost_nanos + more,
        live=[of_trace(t, cost_nanos=t.cost_nanos + more) for t in window.live],
    )
    low, high = detector.score(window), detector.score(dearer)
    assert high.value >= low.value
    assert high.threshold == low.threshold
    # Of several scales another one may speak, and its gate be another one.
    assert high.gate_nanos == low.gate_nanos or kind is UnitCost
    assert high.speaks or not low.speaks


@pytest.mark.parametrize("size", [1.5, 10.0, 100.0])
def test_an_incident_that_is_not_learnt_leaves_the_baseline_as_it_was(
    kind: type[Detector], size: float
) -> None:
    """A window three hours after a frozen incident is judged, and explained, as it was before it."""
    history = list(Workload(per_window=5.0, dispersion=1.5, cycle=0.0).windows(0.3, 3))
    detector = fresh(kind)
    for window in history:
        detector.learn(window)
    end, reference = history[-1].end, history[-1]
    score, usual = detector.score(reference), [c.before for c in detector.explain(reference)]
    for window in history[:60]:
        incident = replace(
            window,
            start=end + (window.start - T0),
            cost_nanos=round(window.cost_nanos * size),
            finished=[of_trace(t, cost_nanos=round(t.cost_nanos * size)) for t in window.finished],
        )
        detector.learn(incident, frozen=True)
    assert [c.before for c in detector.explain(reference)] == pytest.approx(usual, rel=0.02)
    for window in history[:1080]:
        detector.learn(replace(window, start=end + 600.0 + (window.start - T0)))
    after = detector.score(replace(reference, start=end + 600.0 + 1080 * SECONDS))
    assert not after.speaks
    assert after.value == pytest.approx(score.value, abs=0.3 * score.threshold)


@few
@given(histories())
def test_time_goes_on_while_frozen(kind: type[Detector], history: History) -> None:
    """Silence during an incident is not spread over what is learnt afterwards."""
    thawed, frozen = learnt(kind, history), learnt(kind, history)
    start = (history[-1][0].start if history else T0) + SECONDS
    window = Window(start, SECONDS, 3, 5_000_000, 1.0)
    for detector in (thawed, frozen):
        detector.learn(window, frozen=detector is frozen)
    later = replace(window, start=start + SECONDS)
    for detector in (thawed, frozen):
        detector.learn(later)
        assert math.isfinite(detector.score(replace(later, start=later.end)).value)


@pytest.fixture
def no_outside_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def explode(*args: object, **kwargs: object) -> None:
        raise AssertionError("a detector looked at the world outside")

    with monkeypatch.context() as patched:
        for name in ("time", "time_ns", "monotonic", "perf_counter", "sleep"):
            patched.setattr(time, name, explode)
        patched.setattr(builtins, "open", explode)
        patched.setattr(builtins, "print", explode)
        patched.setattr(socket, "socket", explode)
        yield


@pytest.mark.usefixtures("no_outside_world")
def test_no_clock_and_no_input_or_output_while_running(kind: type[Detector]) -> None:
    detector = fresh(kind)
    for window in Workload().windows(0.05, 1):
        detector.score(window)
        detector.explain(window)
        detector.learn(window)
    assert kind.load(detector.dump(), detector.params).dump() == detector.dump()


def test_the_module_imports_nothing_but_arithmetic(kind: type[Detector]) -> None:
    assert detectors.__file__ is not None
    folder = pathlib.Path(detectors.__file__).parent  # the sources, whether or not machine code comes first
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] in ALLOWED_IMPORTS, f"{path.name} imports {name}"
            called = node.func if isinstance(node, ast.Call) else None
            assert getattr(called, "id", "") not in {"open", "print", "input", "exec", "eval"}, path.name


def test_state_stays_small_after_ten_thousand_windows(kind: type[Detector]) -> None:
    detector = fresh(kind)
    for window in Workload(per_window=20.0).windows(10_000 / 8_640, 7):
        detector.learn(window)
    size = len(msgspec.msgpack.encode(detector.dump()))
    print(f"{kind.name}: {size} bytes after 10,000 windows")
    assert size < MAX_STATE_BYTES


def test_state_stays_small_with_new_names_in_every_window(kind: type[Detector]) -> None:
    detector = fresh(kind)
    for i in range(2_000):
        start = T0 + i * SECONDS
        trace = Trace(f"{i}-" + "x" * 190, 3, MAX_NANOS - i, 10**9, start, start + 1.0)
        window = Window(start, SECONDS, 10**9, MAX_NANOS, 1e9, live=[trace] * 16, finished=[trace] * 16)
        who = [(f"{i}-{k}-" + "x" * 190, 10**9, MAX_NANOS - i) for k in range(16)]
        detector.learn(replace(window, customers=who, api_keys=who))
    assert len(msgspec.msgpack.encode(detector.dump())) < MAX_STATE_BYTES


@pytest.mark.parametrize("damage", ["none", "text", "number", "empty", "map", "short", "long"])
def test_a_dump_of_another_shape_is_refused_by_name(kind: type[Detector], damage: str) -> None:
    plain = learnt(kind, [(w, False) for w in Workload().windows(0.02, 1)]).dump()
    bad: Any = {
        "none": None,
        "text": "unit_cost",
        "number": 3,
        "empty": [],
        "map": {str(i): value for i, value in enumerate(plain)},
        "short": plain[:-1],
        "long": [*plain, 0.0],
    }[damage]
    with pytest.raises(ValueError, match=f"not a dump of {kind.name}"):
        kind.load(bad, None)


@few
@given(data=st.data())
def test_a_damaged_dump_is_refused_or_harmless(kind: type[Detector], data: st.DataObject) -> None:
    """Whatever one value deep inside is replaced by: refused by name, or a detector that works."""
    plain = through_json(learnt(kind, [(w, False) for w in Workload().windows(0.02, 1)]).dump())
    node, key = plain, data.draw(st.integers(0, len(plain) - 1))
    while isinstance(node[key], list) and node[key] and data.draw(st.booleans()):
        node, key = node[key], data.draw(st.integers(0, len(node[key]) - 1))
    node[key] = data.draw(
        st.sampled_from([None, "x", [], {}, {"0": 1, "1": 2}, [1.0], [[]], math.nan, math.inf, 10**400, -1.0])
    )
    window = next(Workload(per_window=9.0).windows(0.01, 2, start=T0 + 86_400.0))
    try:
        detector = kind.load(plain, None)
    except ValueError as error:
        assert kind.name in str(error)  # noqa: PT017
        return
    assert math.isfinite(detector.score(window).value)
    detector.explain(window)
    detector.learn(window)
    json.dumps(detector.dump(), allow_nan=False)


@few
@given(histories())
def test_tunables_may_be_replaced_between_calls(kind: type[Detector], history: History) -> None:
    one, other = learnt(kind, history), learnt(kind, history)
    other.params = replace(other.params)
    assert one.dump() == other.dump()
    if history:
        window = history[-1][0]
        other.params = replace(other.params, min_excess_nanos=10**30)
        assert not other.score(window).speaks
