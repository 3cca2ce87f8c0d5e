"""From a peer's scores to pages, and the threshold that keeps to a budget of false pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from benchmarks.detection.peers.series import Scores
from benchmarks.detection.scoring import MONTH_S
from benchmarks.detection.stream import Flags, Floats, Page

_CANDIDATES: Final = 400


def pages_of(scores: Scores, threshold: float) -> list[Page]:
    """A page where the score first passes the threshold; it fires on while exceedances are no further apart than
    the hold. A peer names no cause, so the kind is empty.
    """
    over = np.flatnonzero(scores.score > threshold)
    begins = over[_begins(scores.at[over], scores.hold_s)]
    return [
        Page(float(scores.at[i]), float(scores.at[i]), "", "critical", 0, float(scores.score[i]))
        for i in begins
    ]


def _begins(at: Floats, hold_s: float) -> Flags:
    """Which exceedances begin a run."""
    gap: Floats = np.diff(at, prepend=-np.inf)
    return gap > hold_s


def threshold_for(clean: Sequence[tuple[Scores, float]], budget: float) -> float:
    """The lowest threshold at and above which clean streams are paged at most `budget` times a month.

    Parameters
    ----------
    clean : pairs of a clean stream's scores and its `warm_until`
    budget : float
        Pages per workflow and month of 30 days, over all these streams together.

    Returns
    -------
    float
        Infinity if even passing the highest score is over budget.

    Notes
    -----
    Walks down from the highest score and stops at the first excess: far lower, runs melt into one another and their
    number falls again, which is no use to anybody.
    """
    parts = [(s.at[s.at >= warm], s.score[s.at >= warm], s.hold_s) for s, warm in clean]
    months = sum(float(s.at[-1] - warm) for s, warm in clean if len(s.at) and s.at[-1] > warm) / MONTH_S
    allowed = budget * months
    best = np.inf
    for candidate in _candidates(part[1] for part in parts):
        pages = 0
        for at, score, hold_s in parts:
            over = score > candidate
            if over.any():
                pages += int(np.count_nonzero(_begins(at[over], hold_s)))
        if pages > allowed:
            break
        best = candidate
    return float(best)


def _candidates(scores: Iterable[Floats]) -> list[float]:
    """Thresholds to try, falling: densely at the top, where the budget is decided."""
    pooled = np.concatenate([s[np.isfinite(s)] for s in scores])
    if not len(pooled):
        return []
    falling = np.unique(pooled)[::-1]
    ranks = np.unique(np.geomspace(1, len(falling), _CANDIDATES).astype(np.int64)) - 1
    return [float(x) for x in falling[ranks]]
