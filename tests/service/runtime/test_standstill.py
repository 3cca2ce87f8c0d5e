"""What moves, however slowly, is waited for; what stands still is not."""

from __future__ import annotations

from service.runtime.standstill import Standstill


def test_what_moves_is_waited_for_however_long_it_takes() -> None:
    recovery = Standstill(300.0)
    assert not any(recovery.look(1_000 - t // 290, float(t)) for t in range(0, 30_000, 10))


def test_what_stands_still_is_given_up_after_the_limit() -> None:
    recovery = Standstill(300.0)
    stuck = [t for t in range(0, 1_000, 10) if recovery.look(7_108, float(t))]
    assert stuck[0] == 310


def test_having_arrived_begins_anew() -> None:
    recovery = Standstill(300.0)
    assert not recovery.look(5, 0.0)
    recovery.moves()
    assert not recovery.look(5, 1_000.0)
    assert recovery.look(5, 1_301.0)
