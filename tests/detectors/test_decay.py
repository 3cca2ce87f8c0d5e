"""Decayed sums and fading moments against the same thing done by brute force."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.decay import LN2, DecayedSums, FadingMoments

gaps = st.floats(0.0, 20_000.0)
amounts = st.floats(-1e9, 1e15)


@settings(deadline=None)
@given(st.lists(st.tuples(gaps, amounts, amounts), min_size=1, max_size=30), st.floats(10.0, 1e6))
def test_sums_are_those_of_every_value_weighted_by_its_age(
    steps: list[tuple[float, float, float]], half_life: float
) -> None:
    sums = DecayedSums(half_life, 2)
    end, history = 1.7e9, []
    for gap, a, b in steps:
        end += gap + 10.0
        sums.add(end, (a, b), 10.0)
        history.append((end, a, b))
    for i in range(2):
        brute = math.fsum(entry[1 + i] * 0.5 ** ((end - entry[0]) / half_life) for entry in history)
        size = math.fsum(abs(entry[1 + i]) for entry in history)
        assert sums.sums[i] == pytest.approx(brute, rel=1e-6, abs=1e-9 * size + 1e-12)


@settings(deadline=None)
@given(st.lists(gaps, min_size=1, max_size=30), st.floats(100.0, 1e6))
def test_seconds_are_those_of_every_instant_weighted_by_its_age(gaps: list[float], half_life: float) -> None:
    """Time that brought values counts in full when it comes, the silence before it by its age."""
    sums = DecayedSums(half_life, 1)
    end = 1.7e9
    ends = [end]
    sums.add(end, (0.0,), 10.0)
    for gap in gaps:
        end += gap + 10.0
        ends.append(end)
        sums.add(end, (0.0,), 10.0)

    def weight(at: float) -> float:
        return math.pow(0.5, (end - at) / half_life)

    rate = LN2 / half_life
    spoken = math.fsum(10.0 * weight(e) for e in ends)
    silent = math.fsum((weight(b - 10.0) - weight(a)) / rate for a, b in pairwise(ends))
    assert sums.seconds == pytest.approx(spoken + silent, rel=1e-5, abs=1e-4)


def test_a_steady_rate_is_told_as_it_is() -> None:
    for half_life in (120.0, 2_700.0, 86_400.0):
        sums = DecayedSums(half_life, 1)
        for i in range(20_000):
            sums.add(10.0 * (i + 1), (50.0,), 10.0)
        assert sums.sums[0] / sums.seconds == pytest.approx(5.0, rel=1e-9)


def test_after_long_silence_a_rate_is_one_of_the_last_half_lives() -> None:
    sums = DecayedSums(120.0, 1)
    sums.add(10.0, (50.0,), 10.0)
    sums.add(86_400.0, (1_000.0,), 10.0)
    assert sums.seconds < 120.0 / LN2 + 10.0
    assert sums.sums[0] / sums.seconds > 5.0


def test_peeking_changes_nothing_and_foretells_adding() -> None:
    sums = DecayedSums(180.0, 1)
    sums.add(100.0, (7.0,), 10.0)
    before = sums.dump()
    foretold = sums.peek(400.0, (3.0,), 10.0)
    assert sums.dump() == before
    sums.add(400.0, (3.0,), 10.0)
    assert (sums.sums, sums.seconds) == foretold


def test_what_is_late_counts_and_does_not_turn_time_back() -> None:
    sums = DecayedSums(180.0, 1)
    sums.add(1_000.0, (7.0,), 10.0)
    sums.add(500.0, (3.0,), 10.0)
    assert sums.sums == [10.0]
    assert sums.seconds == 10.0
    assert sums.until == 1_000.0
    sums.skip(600.0)
    assert sums.until == 1_000.0


def test_skipped_time_neither_fades_nor_counts() -> None:
    sums, other = DecayedSums(180.0, 1), DecayedSums(180.0, 1)
    sums.add(100.0, (7.0,), 10.0)
    other.add(100.0, (7.0,), 10.0)
    sums.skip(5_000.0)
    sums.add(5_010.0, (1.0,), 10.0)
    other.add(110.0, (1.0,), 10.0)
    assert sums.sums == other.sums
    assert sums.seconds == other.seconds


@settings(deadline=None)
@given(st.lists(st.floats(-50.0, 50.0), min_size=1, max_size=60))
def test_moments_are_plain_ones_until_the_memory_is_full(samples: list[float]) -> None:
    moments = FadingMoments()
    for x in samples:
        moments.add(x, 10_000.0)
    mean = math.fsum(samples) / len(samples)
    variance = math.fsum((x - mean) ** 2 for x in samples) / len(samples)
    assert moments.count == len(samples)
    assert moments.mean == pytest.approx(mean, abs=1e-9)
    assert moments.variance == pytest.approx(variance, abs=1e-7)


@settings(deadline=None)
@given(st.lists(st.floats(-50.0, 50.0), min_size=1, max_size=60), st.floats(1.0, 20.0))
def test_moments_fade_by_half_every_half_life_of_samples(samples: list[float], half_life: float) -> None:
    moments = FadingMoments()
    for x in samples:
        moments.add(x, half_life)
    limit = half_life / LN2
    weights: list[float] = []
    count = 0.0
    for _ in samples:
        count = min(count + 1.0, limit)
        weights = [w * (1.0 - 1.0 / count) for w in weights] + [1.0 / count]
    mean = math.fsum(w * x for w, x in zip(weights, samples, strict=True))
    assert moments.mean == pytest.approx(mean, abs=1e-6)
    square = math.fsum(w * x * x for w, x in zip(weights, samples, strict=True))
    assert moments.variance == pytest.approx(square - mean * mean, abs=1e-5)


def test_one_wild_sample_moves_the_mean_by_no_more_than_its_clipped_weight() -> None:
    moments = FadingMoments()
    for i in range(100):
        moments.add(1.0 if i % 2 else -1.0, 1_000.0, clip=3.0, floor=0.1)
    moments.add(1e300, 1_000.0, clip=3.0, floor=0.1)
    assert abs(moments.mean) <= 3.1 / 100
    assert math.isfinite(moments.variance)


@pytest.mark.parametrize(
    "plain", [None, [], [1.0], "abcd", {"a": 1}, [0.0, -1.0, 2.0], [0.0, "1", 2.0], [0.0, math.nan, 1.0]]
)
def test_what_is_not_a_dump_is_a_value_error(plain: object) -> None:
    with pytest.raises(ValueError):
        DecayedSums.load(plain, 180.0, 1)
    with pytest.raises(ValueError):
        FadingMoments.load([1.0, 2.0, -1.0] if plain == [0.0, -1.0, 2.0] else plain)
