"""Distinct counts over lanes, restarts and any order: one answer, within the error that is stated."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rollups import Rollup
from service.detect.sketches import LG_K, merge_sketches
from service.detect.state import WorkflowState, decode, encode
from service.detect.step import step
from service.ingest import share
from service.ingest.share import sketch
from tests.service.detect.builders import BOOK, T0, Doing, rollup

STANDARD_ERROR = 1.04 / math.sqrt(2**LG_K)
IN_REGISTERS = 97
"""Distinct values from which on an image holds registers and no list."""


def merged(images: list[bytes]) -> tuple[bytes, float]:
    image, estimate = b"", 0.0
    for each in images:
        image, estimate = merge_sketches(image, each)
    return image, estimate


def after_the_wire(image: bytes) -> bytes:
    """Through a rollup's JSON, and through a state's bytes."""
    record = Rollup.from_json(rollup(T0, [Doing(None)], traces=image).to_json())
    state = WorkflowState.fresh("support-agent")
    step(state, record, BOOK)
    return decode(encode(state)).buckets[0].sketch


def split(ids: list[str], dice: random.Random) -> list[bytes]:
    """Images of any parts that cover the ids: overlapping, shuffled, repeated."""
    parts: list[list[str]] = [[] for _ in range(dice.randint(1, 20))]
    for each in ids:
        for part in dice.sample(parts, min(len(parts), dice.choice([1, 1, 1, 2, 5]))):
            part.append(each)
    images = [sketch(part) for part in parts if part]
    images += dice.choices(images, k=dice.randint(0, 3))
    dice.shuffle(images)
    return images


@settings(deadline=None)
@given(st.sets(st.text(max_size=6), min_size=1, max_size=400), st.randoms(use_true_random=False))
def test_any_split_any_order_any_repetition_gives_the_estimate_of_one_sketch(
    found: set[str], dice: random.Random
) -> None:
    ids = sorted(found)
    whole, expected = merge_sketches(b"", sketch(ids))
    image, estimate = merged(split(ids, dice))
    assert estimate == expected
    assert merge_sketches(image, sketch(ids))[1] == expected, "what is known already changes nothing"
    assert merge_sketches(sketch(ids), image)[1] == expected
    if len(ids) >= IN_REGISTERS:
        assert image == whole


@settings(deadline=None, max_examples=max(10, settings().max_examples // 4))
@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 7, 8, 96, 97, 98, 130, 300, 1_000, 5_000]),
    st.randoms(use_true_random=False),
)
def test_the_estimate_is_the_same_around_the_changes_of_format(
    seed: int, many: int, dice: random.Random
) -> None:
    """A list up to 7, a set up to 96, registers above: lanes cross these at different times."""
    ids = [f"{seed}-{i}" for i in range(many)]
    whole, expected = merge_sketches(b"", sketch(ids))
    image, estimate = merged(split(ids, dice))
    assert estimate == expected
    assert (image == whole) or many < IN_REGISTERS


@settings(deadline=None, max_examples=max(10, settings().max_examples // 4))
@given(st.integers(0, 10**6), st.sampled_from([5, 96, 97, 2_000]), st.randoms(use_true_random=False))
def test_stored_and_read_between_any_two_merges_it_counts_the_same(
    seed: int, many: int, dice: random.Random
) -> None:
    images = split([f"{seed}-{i}" for i in range(many)], dice)
    image, estimate = b"", 0.0
    for each in images:
        image, estimate = merge_sketches(image, each)
        image = after_the_wire(image)
    assert (image, estimate) == merged([after_the_wire(each) for each in images])
    assert estimate == merged(images)[1]


@settings(deadline=None, max_examples=max(10, settings().max_examples // 4))
@given(st.lists(st.integers(0, 300), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_lanes_can_be_merged_first_and_with_each_other_later(sizes: list[int], dice: random.Random) -> None:
    """Associative: the union of unions is the union."""
    images = [sketch(f"{dice.randrange(400)}" for _ in range(n)) for n in sizes]
    images = [image for image in images if image]
    if not images:
        return
    at = dice.randint(0, len(images))
    halves = [merged(half)[0] for half in (images[:at], images[at:]) if half]
    assert merged(halves)[1] == merged(images)[1]


def test_few_are_counted_exactly() -> None:
    for many in (1, 2, 7, 8, 30, 96):
        assert merged([sketch([f"t{i}"]) for i in range(many)])[1] == pytest.approx(many, rel=1e-6)


@pytest.mark.parametrize("many", [10, 100, 1_000, 10_000, 100_000])
def test_the_error_is_what_is_stated(many: int) -> None:
    """Fixed seeds: root mean square within the standard error of 3.2 %, no bias, nothing beyond four of them."""
    runs = 60 if many <= 10_000 else 12
    errors = []
    for seed in range(runs):
        ids = [f"{seed}/{i}" for i in range(many)]
        size = max(1, many // 7)
        _, estimate = merged([sketch(ids[i : i + size]) for i in range(0, many, size)])
        errors.append(estimate / many - 1.0)
    rms = math.sqrt(statistics.fmean(e * e for e in errors))
    mean, worst = statistics.fmean(errors), max(map(abs, errors))
    print(f"{many} ids, {runs} runs: rms {rms:.3%}, mean {mean:+.3%}, worst {worst:.3%}")
    # The rms of `runs` samples itself spreads by 1 / sqrt(2 runs) of it.
    assert rms <= STANDARD_ERROR * (1.0 + 3.0 / math.sqrt(2 * runs))
    assert abs(mean) <= 3.0 * STANDARD_ERROR / math.sqrt(runs)
    assert worst <= 4.0 * STANDARD_ERROR


@pytest.mark.parametrize("many", [1, 7, 96, 97, 1_000, 100_000])
def test_an_image_stays_small(many: int) -> None:
    image, _ = merged([sketch(f"t{i}" for i in range(k, many, 5)) for k in range(5) if k < many])
    print(f"{many} values: {len(image)} bytes")
    assert len(image) <= (12 + 4 * many if many < IN_REGISTERS else 600)


def test_ingest_and_detect_count_alike() -> None:
    assert share.LG_K == LG_K


def test_the_customers_of_a_bucket_are_counted_once_over_its_deltas() -> None:
    state = WorkflowState.fresh("support-agent")
    for part in range(4):
        doings = [Doing(f"t{part}-{i}", customer=f"c{i % 30}") for i in range(60)]
        step(state, rollup(T0, doings), BOOK)
    assert state.buckets[0].customers == pytest.approx(30, rel=1e-6)
