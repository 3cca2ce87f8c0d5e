"""Robust scores against the same time of earlier days and weeks, in steps of ten minutes.

Both work in log dollars (plus a floor of a tenth of the normal ten minutes): spend spans orders of magnitude and
a MAD of raw dollars is 0 for whoever is silent most of the time.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.detection.peers.series import (
    DAY,
    WEEK,
    Minutes,
    Scores,
    scored,
    stepped,
    trailing_quantile,
)
from benchmarks.detection.stream import Floats

STEP: Final = 10
_DAY: Final = DAY // STEP
_WEEK: Final = WEEK // STEP
_FLOOR: Final = 0.15
_MAD_TO_SIGMA: Final = 1.4826
_LEAST_MAD: Final = 0.1


def log_spend(minutes: Minutes) -> Floats:
    """Log of dollars per ten minutes plus the floor."""
    return np.log(stepped(minutes.spend, STEP) + _FLOOR)


def _earlier(values: Floats, steps_back: list[int]) -> Floats:
    """Shape (steps, len(steps_back)): what was so many steps earlier; NaN before the begin."""
    index = np.arange(len(values))[:, None] - np.asarray(steps_back)[None, :]
    return np.where(index >= 0, values[np.maximum(index, 0)], np.nan)


def _median(rows: Floats) -> Floats:
    """Median of each row without NaN; NaN for a row of none."""
    ordered = np.sort(rows, axis=1)
    known = np.count_nonzero(~np.isnan(ordered), axis=1)
    each = np.arange(len(rows))
    low = ordered[each, np.maximum(known - 1, 0) // 2]
    high = ordered[each, np.minimum(known // 2, rows.shape[1] - 1)]
    return np.where(known > 0, (low + high) / 2, np.nan)


def _mads(distance: Floats, mad: Floats) -> Floats:
    """A distance from a median in MADs that are never too small, each worth a deviation of a Gaussian."""
    return distance / (_MAD_TO_SIGMA * np.maximum(mad, _LEAST_MAD))


def _over_week(values: Floats) -> Floats:
    """Distance from the median of the trailing week, in MADs of the same."""
    residual = values - trailing_quantile(values, _WEEK)
    return _mads(residual, trailing_quantile(np.abs(residual), _WEEK))


def hour_of_week(minutes: Minutes) -> Scores:
    """Distance from the median of the same hour of the week, in MADs (Iglewicz and Hoaglin's modified z).

    The same half hours around it of one and two weeks ago; of the last seven days while there is no week.
    Needs two days. B. Iglewicz, D. Hoaglin: How to Detect and Handle Outliers, 1993.
    """
    values = log_spend(minutes)
    around = range(-6, 7)
    weeks = _earlier(values, [_WEEK * w + k for w in (1, 2) for k in around])
    days = _earlier(values, [_DAY * d + k for d in range(1, 8) for k in around])
    score = np.full(len(values), np.nan)
    for rows, begin, end in ((days, 2 * _DAY, _WEEK + 6), (weeks, _WEEK + 6, len(values))):
        part = rows[begin:end]
        middle = _median(part)
        score[begin:end] = _mads(values[begin:end] - middle, _median(np.abs(part - middle[:, None])))
    return scored(minutes, STEP, score)


def s_h_esd(minutes: Minutes) -> Scores:
    """Seasonal hybrid ESD on the last point of a trailing week: (residual − median) / MAD.

    The season is the median of the same ten minutes of the days before, the trend is the trailing median, as in
    Twitter's S-H-ESD, where loess is replaced by the median. Only the newest point is up for a test, so the
    generalized ESD is one step of itself. Needs three days.
    O. Vallis, J. Hochenbaum, A. Kejariwal: A Novel Technique for Long-Term Anomaly Detection in the Cloud,
    HotCloud 2014; https://arxiv.org/abs/1704.07706.
    """
    values = log_spend(minutes)
    season = _median(_earlier(values, [_DAY * d for d in range(1, 8)]))
    score = _over_week(values - season)
    score[: 3 * _DAY] = np.nan
    return scored(minutes, STEP, score)


def cost_per_trace(minutes: Minutes) -> Scores:
    """Log of dollars per trace over the last hour against its trailing week, in MADs. Not published anywhere:
    the simplest thing that does not look at volume, here as the bar that a unit-cost detector must clear.

    Only over five traces and a day of history.
    """
    spend, traces = stepped(minutes.spend, STEP), stepped(minutes.traces, STEP)
    hour = 60 // STEP
    paid = np.convolve(spend, np.ones(hour))[: len(spend)]
    begun = np.convolve(traces, np.ones(hour))[: len(traces)]
    enough = (begun >= 5) & (paid > 0)
    unit = np.full(len(spend), np.nan)
    unit[enough] = np.log(paid[enough] / begun[enough])
    score = _over_week(unit)
    score[:_DAY] = np.nan
    return scored(minutes, STEP, score)
