"""A loop is detectable from the call on with which its run cost so much more than usual."""

from __future__ import annotations

from benchmarks.loops import CALLS, USUAL_NANOS, Loop
from benchmarks.stop_loop import _crossed

LEAST = 500_000_000
USUAL = round(USUAL_NANOS * sum(CALLS) / 2)


def loop(*ended: tuple[float, int]) -> Loop:
    return Loop("w", "w-loop", 12.0, 0.05, 0.0, list(ended))


def test_the_usual_part_of_a_run_is_not_excess() -> None:
    assert _crossed(loop((1.0, USUAL), (2.0, LEAST - 1), (3.0, 1)), LEAST) == 3.0


def test_a_loop_that_was_stopped_before_is_left_out() -> None:
    assert _crossed(loop((1.0, USUAL), (2.0, LEAST - 1)), LEAST) is None
