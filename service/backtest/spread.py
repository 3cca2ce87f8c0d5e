"""Several configurations over one history, on every core."""

from __future__ import annotations

import os
from collections.abc import Sequence

from service.backtest.candidate import Candidate
from service.backtest.course import Judged
from service.backtest.history import History
from service.backtest.seating import Seating
from service.backtest.side import Side
from service.runtime.garbage import collect_rarely


def judged(
    history: History,
    candidates: Sequence[Candidate],
    *,
    only: str | None = None,
    spend: bool = False,
    processes: int | None = None,
) -> Judged:
    """The verdict of each configuration, in their order; the same with any number of processes.

    Parameters
    ----------
    only : str or None
        Judge this workflow alone.
    spend : bool
        Also sum spend by minute, for pictures.
    processes : int or None
        That judge, besides this one, which reads. 1: all of it is done here. None: one for each core, as soon as
        there is enough to do.

    Raises
    ------
    TidegateError
    """
    collect_rarely()
    sides = [Side(candidate.name, candidate.book(), only=only) for candidate in candidates]
    seating = Seating(_cores(), spend) if processes is None else Seating(processes, spend, after=0)
    return history.through(sides, seating)


def _cores() -> int:
    # macOS has no affinity to ask for.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
