"""What is remembered of the traces of the last minutes: who begins, in bounded space, however it comes in."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.detect.merge import merge
from service.detect.recent import MAX_ENTRIES, NOTHING_SEEN, RecentTraces
from service.detect.state import WorkflowState, decode, encode
from tests.service.detect.builders import BUCKET, T0, Doing, rollup

names = st.sampled_from(["a", "b", "c"]) | st.text(min_size=1, max_size=5)
comings = st.lists(
    st.tuples(st.sampled_from([0.0, 10.0, 300.0, 700.0, 5_000.0]), st.lists(names, max_size=20)), max_size=12
)


def seen(comings_: list[tuple[float, list[str]]], *, one_by_one: bool, carried: bool) -> RecentTraces:
    recent, now = RecentTraces(), 1_000.0
    for gap, ids in comings_:
        now += gap
        for part in [[i] for i in ids] if one_by_one else [ids]:
            recent.see(part, now)
            if carried:
                recent = RecentTraces.load(recent.dump())
    return recent


@settings(deadline=None)
@given(comings, st.booleans())
def test_it_is_the_same_however_it_is_split_and_wherever_it_is_written(
    found: list[tuple[float, list[str]]], carried: bool
) -> None:
    whole = seen(found, one_by_one=False, carried=False)
    assert seen(found, one_by_one=False, carried=carried) == whole
    assert seen(found, one_by_one=True, carried=carried) == whole


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 2_000), st.integers(0, 1_500)), max_size=8))
def test_it_is_bounded(found: list[tuple[float, int]]) -> None:
    recent, now, serial = RecentTraces(), 0.0, 0
    for gap, count in found:
        now += gap
        recent.see([f"{serial + i}" for i in range(count)], now)
        serial += count
        assert len(recent) <= 2 * MAX_ENTRIES
        assert 0.0 <= recent.usual_share <= 1.0
        assert RecentTraces.load(recent.dump()).dump() == recent.dump()


def test_a_trace_begins_once_for_as_long_as_it_goes_on() -> None:
    recent = RecentTraces()
    assert recent.see(["a", "b", "a"], 0.0) == 2
    assert [recent.see(["a"], i * 500.0) for i in range(1, 20)] == [0] * 19
    assert recent.see(["b"], 10_000.0) == 1, "hours later"


def test_an_open_trace_was_seen_however_long_it_was_silent() -> None:
    assert RecentTraces().see(["a", "b"], 1e6, {"a"}) == 1


def test_among_thousands_the_latest_are_known() -> None:
    recent = RecentTraces()
    recent.see([f"t{i}" for i in range(5_000)], 0.0)
    assert recent.see([f"t{i}" for i in range(5_000 - MAX_ENTRIES, 5_000)], 1.0) == 0
    assert recent.see(["t0"], 1.0) == 1


def test_the_usual_share_is_slow_and_stands_still_when_told() -> None:
    recent = RecentTraces()
    assert recent.usual_share == 1.0
    for i in range(3_000):
        recent.see([f"{i}", "long", "longer", "longest"], i * 10.0)
    assert recent.usual_share == pytest.approx(0.25, abs=0.01)
    before = recent.usual_share
    recent.see([f"x{i}" for i in range(500)], 30_000.0, learn=False)
    assert recent.usual_share == before


@pytest.mark.parametrize(
    "plain",
    [
        (0.0, 0, 1.0, b"123", b""),
        (0.0, 0, 1.0, b"", b"1234" * (MAX_ENTRIES + 1)),
        (0.0, -1, 1.0, b"", b""),
        (0.0, 0, float("nan"), b"", b""),
    ],
)
def test_what_was_never_dumped_is_refused(plain: tuple[float, int, float, bytes, bytes]) -> None:
    assert RecentTraces.load(NOTHING_SEEN) == RecentTraces()
    with pytest.raises(ValueError, match="recent traces"):
        RecentTraces.load(plain)


def test_writing_it_costs_next_to_nothing() -> None:
    recent = RecentTraces()
    recent.see([f"t{i}" for i in range(900)], 0.0)
    began = time.process_time()
    for _ in range(2_000):
        recent.dump()
    each = (time.process_time() - began) / 2_000
    print(f"{each * 1e6:.2f} us to dump {len(recent)} traces")
    assert each < 15e-6


def test_a_bucket_counts_the_traces_that_began_in_it() -> None:
    state = WorkflowState.fresh("support-agent")
    merge(state, rollup(T0, [Doing("a"), Doing("b"), Doing(None, 3)]))
    merge(state, rollup(T0, [Doing("a"), Doing("c")]))
    merge(state, rollup(T0 + BUCKET, [Doing("c"), Doing("d")]))
    assert [b.begun for b in state.buckets] == [6.0, 1.0]
    assert [b.begun for b in decode(encode(state)).buckets] == [6.0, 1.0]


def test_of_the_traces_that_are_only_counted_the_usual_share_begins() -> None:
    state = WorkflowState.fresh("support-agent")
    crowd = [Doing(f"t{i:03}", 1, 1_000_000 - i) for i in range(40)]
    merge(state, rollup(T0, crowd))
    assert state.buckets[0].begun == 40.0
    for i in range(1, 4):
        merge(state, rollup(T0 + i * BUCKET, crowd))
    assert state.recent_traces.usual_share == pytest.approx(1 / 4)
    assert state.buckets[-1].begun == pytest.approx(24 / 4)
