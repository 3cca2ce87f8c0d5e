"""What a peer sees of a stream: sums per minute, and windows over them that never look ahead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.detection.stream import Floats, Stream

NANOS: Final = 1e9
HOUR: Final = 60
DAY: Final = 1440
WEEK: Final = 7 * DAY


@dataclass(frozen=True)
class Minutes:
    """Sums per minute from a stream's first minute to its last, all arrays of one length.

    Attributes
    ----------
    start : float
        Epoch seconds of the first minute's begin.
    warm_until : float
        Epoch seconds; thresholds are fitted on what comes after.
    spend : float64
        Dollars. A peer is a statistic: money that is accounted for stays in integers elsewhere.
    calls, traces : float64
        Calls; traces first seen in the minute (a call without a trace is one of its own).
    """

    start: float
    warm_until: float
    spend: Floats
    calls: Floats
    traces: Floats

    def __len__(self) -> int:
        return len(self.spend)

    def ends(self, step: int = 1) -> Floats:
        """Epoch seconds at which each step of so many minutes is over: when its score is known."""
        return self.start + 60.0 * step * np.arange(1, len(self) // step + 1, dtype=np.float64)


@dataclass(frozen=True)
class Scores:
    """A peer's opinion at the end of each step.

    Attributes
    ----------
    at : float64
        Epoch seconds, rising.
    score : float64
        Higher is stranger. Minus infinity where the peer has no opinion yet.
    hold_s : float
        Exceedances no further apart than this are one page.
    """

    at: Floats
    score: Floats
    hold_s: float


@dataclass(frozen=True)
class Peer:
    """A published detector, or a rule that people use.

    Attributes
    ----------
    shipped : float or None
        The threshold its vendor or documentation names, in units of its score.
    """

    name: str
    score: Callable[[Minutes], Scores]
    shipped: float | None = None


def minutes_of(stream: Stream) -> Minutes:
    """Sums of a stream's calls per minute."""
    start = float(np.floor(stream.start / 60.0) * 60.0)
    n = int(np.ceil((stream.end - start) / 60.0))
    calls = stream.calls
    inside = (calls.t >= start) & (calls.t < start + 60.0 * n)
    minute = ((calls.t[inside] - start) // 60.0).astype(np.int64)
    trace = calls.trace[inside]
    named = trace >= 0
    _, first = np.unique(trace[named], return_index=True)
    begun = np.concatenate([minute[named][first], minute[~named]])
    return Minutes(
        start=start,
        warm_until=stream.warm_until,
        spend=np.asarray(np.bincount(minute, weights=calls.cost[inside] / NANOS, minlength=n), np.float64),
        calls=np.bincount(minute, minlength=n).astype(np.float64),
        traces=np.bincount(begun, minlength=n).astype(np.float64),
    )


def stepped(values: Floats, step: int) -> Floats:
    """Sums of so many neighbours; an unfinished last step is dropped."""
    n = len(values) // step
    return np.asarray(values[: n * step].reshape(n, step).sum(axis=1), dtype=np.float64)


def trailing_sum(values: Floats, width: int) -> Floats:
    """Sums of the last `width` values up to and with each; of fewer at the begin."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(1, len(values) + 1)
    return np.asarray(np.maximum(total[index] - total[np.maximum(index - width, 0)], 0.0), dtype=np.float64)


def trailing_quantile(values: Floats, width: int, q: float = 0.5) -> Floats:
    """Quantile (lower of two) of the last `width` values up to and with each, NaN left out; NaN of none.

    Cost: a sort of `width` values for each step, so use it on steps of minutes, not on minutes.
    """
    padded = np.concatenate([np.full(width - 1, np.nan), values])
    ordered = np.sort(sliding_window_view(padded, width), axis=1)
    known = np.count_nonzero(~np.isnan(ordered), axis=1)
    pick = np.maximum(np.floor((known - 1) * q), 0).astype(np.int64)
    found: Floats = ordered[np.arange(len(values)), pick]
    return found


def delayed(values: Floats, by: int, fill: float = np.nan) -> Floats:
    """The same, so many steps later."""
    late = np.full(len(values), fill)
    if by < len(values):
        late[by:] = values[: len(values) - by]
    return late


def scored(minutes: Minutes, step: int, score: Floats) -> Scores:
    """Scores at the ends of steps; where there is none (NaN), no opinion.

    A run is over after 30 minutes, or after one and a half steps where steps are longer.
    """
    known = np.where(np.isnan(score), -np.inf, score)
    return Scores(minutes.ends(step), known, max(1800.0, 90.0 * step))
