"""The topics' time: traces age by what was read, not by when it was read."""

from __future__ import annotations

import pytest

from service.outcomes import progress as progresses
from service.outcomes.progress import AHEAD_S, Progress, Times, UnreadableProgress

A, B = ("outcomes", 0), ("trace-costs", 0)
WALL = 1_769_900_000.0


def test_time_is_that_of_the_partition_that_is_furthest_behind() -> None:
    times = Times([A, B], 0.0)
    assert times.now(WALL) == 0.0, "of neither is anything known"
    times.read(A, WALL - 7_200)
    times.read(B, WALL - 3_600)
    assert times.now(WALL) == WALL - 7_200
    times.standing(A, read_up=True)
    assert times.now(WALL) == WALL - 3_600
    times.standing(B, read_up=True)
    assert times.now(WALL) == WALL


def test_time_never_goes_back_nor_beyond_the_wall() -> None:
    times = Times([A], WALL - 10)
    times.read(A, WALL - 3_600)
    assert times.now(WALL) == WALL - 10
    times.read(A, WALL + 3_600)
    assert times.now(WALL) == WALL


def test_whoever_is_far_ahead_waits_for_the_others() -> None:
    times = Times([A, B], WALL - 9_000)
    times.read(A, WALL - 9_000)
    times.read(B, WALL - 9_000 + AHEAD_S + 1)
    assert times.ahead(WALL) == {B}
    times.read(A, WALL - 9_000 + 10)
    assert times.ahead(WALL) == set()
    times.read(B, WALL)
    times.standing(A, read_up=True)
    assert times.ahead(WALL) == set(), "nobody waits for one that has nothing to read"


def test_progress_is_read_as_it_was_written() -> None:
    progress = Progress({"outcomes": {0: 17}, "trace-costs": {0: 1, 3: 90}}, WALL)
    assert progresses.load(progresses.dump(progress)) == progress


@pytest.mark.parametrize("data", [b"", b"\x02\x92", b"\x01\xc1"])
def test_progress_of_another_release_is_not_guessed_at(data: bytes) -> None:
    with pytest.raises(UnreadableProgress):
        progresses.load(data)
