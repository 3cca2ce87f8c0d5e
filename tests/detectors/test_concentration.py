"""One newcomer that spends like a crowd is told from many that do, and from one that grows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.concentration import Concentration
from detectors.names import KnownNames, fingerprint
from detectors.newcomers import Newcomers
from detectors.protocol import Score, Window
from tests.detectors.traffic import DAY, SECONDS, T0, Workload, judged

USUAL = Workload(per_window=0.5, dispersion=1.5, cycle=0.0, cost_nanos=100_000_000.0)
Spend = tuple[str, str, int, int]
"""Customer, key, calls, nano-dollars."""


def labelled(days: float = 2.0, seed: int = 1, customers: int = 12, start: float = T0) -> Iterable[Window]:
    """Usual traffic, about 18 dollars an hour, its traces dealt to `customers` who share three keys."""
    for i, window in enumerate(USUAL.windows(days, seed, start=start)):
        spends = []
        for k, trace in enumerate(window.live):
            whose = (i * 7 + k * k) % customers
            spends.append((f"c{whose}", f"k{whose % 3}", trace.calls, trace.cost_nanos))
        yield named(replace(window, calls=0, cost_nanos=0, traces=0.0), spends, traces=len(spends))


def named(window: Window, spends: list[Spend], traces: float = 1.0) -> Window:
    """The window with these calls on top."""
    sides: tuple[dict[str, list[int]], dict[str, list[int]]] = (
        {n: [k, c] for n, k, c in window.customers},
        {n: [k, c] for n, k, c in window.api_keys},
    )
    for customer, key, calls, cost in spends:
        for side, name in zip(sides, (customer, key), strict=True):
            sums = side.setdefault(name, [0, 0])
            sums[0] += calls
            sums[1] += cost
    customers, keys = (tuple((n, k, c) for n, (k, c) in side.items()) for side in sides)
    return replace(
        window,
        calls=window.calls + sum(s[2] for s in spends),
        cost_nanos=window.cost_nanos + sum(s[3] for s in spends),
        traces=window.traces + traces,
        customers=customers,
        api_keys=keys,
    )


def hourly(dollars: float) -> int:
    """Nano-dollars a window."""
    return round(dollars * 1e9 * SECONDS / 3_600)


@pytest.fixture(scope="module")
def settled() -> Concentration:
    """Two days old."""
    detector = Concentration()
    for window in labelled():
        detector.learn(window)
    return detector


def carried(detector: Concentration) -> Concentration:
    return Concentration.load(detector.dump(), detector.params)


def after(extra: Iterable[list[Spend]], *, hours: float = 2.0, seed: int = 2) -> Iterable[Window]:
    more = iter(extra)
    for window in labelled(hours / 24, seed, start=T0 + 2 * DAY):
        spends = next(more, [])
        yield named(window, spends, traces=float(len(spends)))


def first(scores: list[Score]) -> float:
    """Seconds until it speaks."""
    return next((SECONDS * (i + 1) for i, s in enumerate(scores) if s.speaks), math.inf)


def test_usual_traffic_says_nothing(settled: Concentration) -> None:
    scores = judged(carried(settled), iter(after([])))
    assert scores[-1].ready
    assert not any(s.speaks for s in scores)
    assert max(s.value for s in scores) == 0.0, "nobody is new"


def test_a_stranger_with_its_own_key_is_named_within_minutes(settled: Concentration) -> None:
    leak = [[("stranger", "leaked", 3, hourly(40))]] * 720
    scores = judged(carried(settled), iter(after(leak)))
    assert first(scores) <= 120.0
    told = next(s for s in scores if s.speaks)
    assert (told.factor, told.culprits, told.since) == ("new_api_key", ("leaked",), T0 + 2 * DAY)
    assert told.excess_nanos >= told.gate_nanos > 0


def test_a_key_that_leaks_under_an_old_customer_is_named(settled: Concentration) -> None:
    leak = [[("c1", "leaked", 3, hourly(150))]] * 720
    scores = judged(carried(settled), iter(after(leak)))
    told = next(s for s in scores if s.speaks)
    assert (told.factor, told.culprits) == ("new_api_key", ("leaked",))


def test_a_new_customer_on_an_old_key_is_named(settled: Concentration) -> None:
    leak = [[("stranger", "k1", 3, hourly(150))]] * 720
    scores = judged(carried(settled), iter(after(leak)))
    told = next(s for s in scores if s.speaks)
    assert (told.factor, told.culprits) == ("new_customer", ("stranger",))


def test_a_launch_with_many_newcomers_is_silent(settled: Concentration) -> None:
    """Twenty times the usual spend, of a hundred new customers on old keys."""
    crowd = [
        [(f"new{(i * 13 + k * 29) % 100}", f"k{k % 3}", 3, hourly(36)) for k in range(10)] for i in range(720)
    ]
    assert first(judged(carried(settled), iter(after(crowd)))) == math.inf


def test_a_launch_whose_customers_each_have_a_key_is_silent(settled: Concentration) -> None:
    def of(i: int) -> list[Spend]:
        whose = [(i * 13 + k * 29) % 100 for k in range(10)]
        return [(f"new{n}", f"own{n}", 3, hourly(36)) for n in whose]

    crowd = [of(i) for i in range(720)]
    assert first(judged(carried(settled), iter(after(crowd)))) == math.inf


def test_a_launch_that_opens_with_one_customer_speaks_only_if_that_is_like_a_leak(
    settled: Concentration,
) -> None:
    """The first seconds of a crowd are one newcomer: its few calls are not enough."""
    opening = [[("new0", "k0", 3, hourly(36))]] * 6
    assert first(judged(carried(settled), iter(after(opening)))) == math.inf


def test_a_new_customer_of_the_usual_size_is_silent(settled: Concentration) -> None:
    for key in ("k1", "own"):
        joined = [[("new", key, 3, hourly(2))]] * 720
        assert first(judged(carried(settled), iter(after(joined)))) == math.inf


def test_where_newcomers_bring_their_own_keys_one_as_large_as_they_is_silent() -> None:
    """Five came before, one a day, each with a key of its own and a dear first hour."""
    detector = Concentration()
    for window in labelled(9.0):
        day, into = divmod(window.start - T0, DAY)
        came = 2 <= day < 7 and into < 3_600.0
        spends = [(f"new{day:.0f}", f"own{day:.0f}", 3, hourly(30))] if came else []
        detector.learn(named(window, spends, traces=float(len(spends))))
    begins = labelled(1 / 24, 3, start=T0 + 9 * DAY)
    like_them = [named(w, [("next", "own", 3, hourly(20))]) for w in begins]
    assert first(judged(carried(detector), iter(like_them))) == math.inf
    begins = labelled(1 / 24, 3, start=T0 + 9 * DAY)
    like_none = [named(w, [("next", "own", 3, hourly(400))]) for w in begins]
    assert first(judged(carried(detector), iter(like_none))) <= 1_800.0


def test_a_rotated_key_is_silent(settled: Concentration) -> None:
    """All that was done with one key is done with another."""
    windows = (
        replace(w, api_keys=tuple(("rotated" if n == "k1" else n, k, c) for n, k, c in w.api_keys))
        for w in after([], hours=6.0)
    )
    assert first(judged(carried(settled), windows)) == math.inf


def test_old_customers_who_grow_are_silent(settled: Concentration) -> None:
    grown = (
        replace(
            w,
            cost_nanos=8 * w.cost_nanos,
            customers=tuple((n, 8 * k, 8 * c) for n, k, c in w.customers),
            api_keys=tuple((n, 8 * k, 8 * c) for n, k, c in w.api_keys),
        )
        for w in after([], hours=6.0)
    )
    assert first(judged(carried(settled), grown)) == math.inf


def test_the_first_day_is_silent() -> None:
    detector = Concentration()
    leak = (named(w, [("stranger", "leaked", 3, hourly(500))]) for w in labelled(0.9))
    scores = judged(detector, leak)
    assert not any(s.ready or s.speaks for s in scores)


def test_a_stranger_while_a_launch_goes_on_has_a_place(settled: Concentration) -> None:
    """All places are held by larger newcomers; whoever comes begins small."""
    detector = carried(settled)
    crowd = [[(f"new{(i + k) % 16}", f"k{k % 3}", 3, hourly(60)) for k in range(8)] for i in range(120)]
    leak = [[*crowd[0], ("stranger", "leaked", 3, hourly(2_000))]] * 240
    scores = judged(detector, iter(after([*crowd, *leak])))
    assert first(scores[:120]) == math.inf
    assert first(scores[120:]) <= 180.0


def test_with_names_it_is_small_and_quick() -> None:
    detector = Concentration()
    windows = list(labelled(0.3, customers=40))
    for window in windows[: len(windows) // 2]:
        detector.learn(window)
    rest = [w for w in windows[len(windows) // 2 :] if len(w.customers) + len(w.api_keys) >= 2]
    began = time.process_time()
    for window in rest:
        detector.score(window)
        detector.learn(window)
    each = (time.process_time() - began) / len(rest)
    print(f"{each * 1e6:.1f} us a window with names")
    assert each < 250e-6, "ten times what it is on an idle machine"
    for i in range(5_000):
        spends = [(f"x{i}-{k}" + "y" * 180, f"z{i}-{k}" + "y" * 180, 1, 10**9 + i) for k in range(8)]
        detector.learn(named(replace(windows[0], start=T0 + DAY + i * 600.0), spends))
    size = len(msgspec.msgpack.encode(detector.dump()))
    print(f"{size} bytes after 40,000 names")
    assert size <= 4_096


names = st.lists(st.integers(0, (1 << 63) - 1) | st.integers(0, 50), max_size=200)


@settings(deadline=None)
@given(names, st.integers(0, 200), st.sampled_from([0.0, 10.0, 50_000.0]))
def test_known_names_are_known_and_carrying_them_changes_nothing(
    marks: list[int], at: int, gap: float
) -> None:
    kept = KnownNames(120)
    for i, mark in enumerate(marks):
        if i == at:
            kept = KnownNames.load(kept.dump(), 120)
        kept.add(mark, i * gap)
        assert kept.knows(mark)
    other = KnownNames(120)
    for i, mark in enumerate(marks):
        other.add(mark, i * gap)
    assert other.dump() == kept.dump()


def test_strangers_are_seldom_taken_for_known() -> None:
    known = KnownNames(120)
    for i in range(450):
        known.add(fingerprint(f"known-{i}"), 0.0)
    wrong = sum(known.knows(fingerprint(f"stranger-{i}")) for i in range(20_000)) / 20_000
    print(f"{wrong:.2%} of strangers look known")
    assert all(known.knows(fingerprint(f"known-{i}")) for i in range(450))
    assert wrong < 0.015


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([10.0, 3_600.0, 90_000.0]),
            st.lists(
                st.tuples(
                    st.sampled_from([f"n{i}" for i in range(40)]), st.integers(0, 9), st.integers(0, 10**12)
                ),
                max_size=16,
                unique_by=lambda t: t[0],
            ),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.integers(0, 12),
)
def test_newcomers_go_on_from_a_dump_as_they_were(
    windows: list[tuple[float, list[tuple[str, int, int]], bool]], at: int
) -> None:
    one, other, now = Newcomers(120), Newcomers(120), T0
    for i, (gap, spends, frozen) in enumerate(windows):
        now += gap
        if i == at:
            other = Newcomers.load(msgspec.msgpack.decode(msgspec.msgpack.encode(other.dump())), 120)
        assert one.largest(spends, now, now + 10) == other.largest(spends, now, now + 10)
        for side in (one, other):
            side.learn(spends, now, frozen=frozen, settling=i < 2)
    assert one.dump() == other.dump()
