"""Nothing unfinished is committed, and everything finished is in the end."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.notify.offsets import Offsets


def test_before_the_first_alert_there_is_nothing_to_commit() -> None:
    assert Offsets().committable is None


def test_an_alert_for_nobody_is_finished_at_once() -> None:
    offsets = Offsets()
    offsets.begin(7, 0)
    assert offsets.committable == 8


def test_the_slowest_receiver_of_the_oldest_alert_holds_the_commit() -> None:
    offsets = Offsets()
    offsets.begin(7, 2)
    offsets.begin(9, 1)
    offsets.finish(9)
    offsets.finish(7)
    assert offsets.committable == 7
    assert len(offsets) == 1
    offsets.finish(7)
    assert offsets.committable == 10


def test_an_offset_from_before_is_a_bug() -> None:
    offsets = Offsets()
    offsets.begin(7, 1)
    with pytest.raises(ValueError):
        offsets.begin(7, 1)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), max_size=30), st.randoms(use_true_random=False)
)
def test_the_commit_is_always_the_lowest_unfinished_offset(
    steps: list[tuple[int, int]], chance: random.Random
) -> None:
    offsets = Offsets()
    left: dict[int, int] = {}
    offset = 0
    for gap, parts in steps:
        offset += gap
        offsets.begin(offset, parts)
        if parts:
            left[offset] = parts
        while left and chance.random() < 0.4:
            done = chance.choice(sorted(left))
            offsets.finish(done)
            left[done] -= 1
            if not left[done]:
                del left[done]
        assert offsets.committable == (min(left) if left else offset + 1)
        assert len(offsets) == len(left)
