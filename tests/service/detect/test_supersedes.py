"""A worker that was suspended beyond its session must not undo what its successor wrote."""

from __future__ import annotations

from service.detect.state import WorkflowState, supersedes


def _state(now: float, **applied: int) -> WorkflowState:
    state = WorkflowState.fresh("agent")
    state.now, state.applied = now, {int(p[1:]): offset for p, offset in applied.items()}
    return state


def test_the_state_with_more_records_is_the_later_one() -> None:
    assert supersedes(_state(10.0, p0=5), _state(10.0, p0=6))
    assert not supersedes(_state(10.0, p0=6), _state(10.0, p0=5))


def test_the_same_records_further_in_time_are_later() -> None:
    assert supersedes(_state(10.0, p0=5), _state(20.0, p0=5))
    assert not supersedes(_state(20.0, p0=5), _state(10.0, p0=5))


def test_a_state_that_lacks_a_partition_is_older() -> None:
    assert not supersedes(_state(10.0, p0=5), _state(20.0, p1=9))
