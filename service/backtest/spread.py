"""Several configurations over one history, each core taking some of them.

Every process reads and folds the history on its own and judges its share of the configurations: no record goes from
one to another, so what comes out does not depend on how many there are.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from service.backtest.alike import Alike
from service.backtest.course import Judged
from service.backtest.history import History
from service.backtest.side import Side
from service.rules.config import ConfigBook
from service.runtime.garbage import collect_rarely


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration as it can be handed to another process: key, value and offset of each record."""

    name: str
    records: tuple[tuple[str, bytes, int], ...]

    @classmethod
    def of(cls, name: str, book: ConfigBook) -> Candidate:
        return cls(
            name, tuple((key, record.to_json(), book.offsets[key]) for key, record in book.records.items())
        )

    def book(self) -> ConfigBook:
        """With all dates. The same version as that which it was made of."""
        book = ConfigBook.empty()
        for record in self.records:
            book = book.apply(*record)
        return book


def judged(
    history: History,
    candidates: Sequence[Candidate],
    *,
    only: str | None = None,
    spend: bool = False,
    processes: int | None = None,
) -> Judged:
    """The verdict of each configuration, in their order.

    Parameters
    ----------
    only : str or None
        Judge this workflow alone.
    spend : bool
        Also sum spend by minute, for pictures.
    processes : int or None
        None: one for each core and at most one for each configuration.

    Raises
    ------
    TidegateError
    """
    # What is judged alike is judged once where one process has both: a second core would only repeat it.
    wanted = processes or (1 if only is None and _mostly_alike(candidates) else _cores())
    count = max(1, min(wanted, len(candidates)))
    if count == 1:
        return _judge(history, candidates, only, spend)
    shares = [candidates[i::count] for i in range(count)]
    # Not forked: a fork of a process that has threads, as a broker's client has, can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        begun = [
            pool.submit(_judge, history, share, only, spend and i == 0) for i, share in enumerate(shares)
        ]
        parts = [future.result() for future in begun]
    verdicts = [parts[i % count].verdicts[i // count] for i in range(len(candidates))]
    return Judged(parts[0].seen, verdicts)


def _cores() -> int:
    # macOS has no affinity to ask for.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _mostly_alike(candidates: Sequence[Candidate]) -> bool:
    first, *others = (candidate.book() for candidate in candidates)
    return all(Alike(first, other).mostly for other in others)


def _judge(history: History, candidates: Sequence[Candidate], only: str | None, spend: bool) -> Judged:
    collect_rarely()
    return history.through([Side(c.name, c.book(), only=only) for c in candidates], spend=spend)
