"""Grafana's bands over Prometheus series: adaptive (mean, deviation) and robust (median, MAD).

Source: https://github.com/grafana/promql-anomaly-detection, `rules/adaptive.yml` and `rules/robust.yml`: the level
leaves the band for five minutes. The multiplier, 2 as shipped, is what is fitted here, so the score is the
multiplier at which the level would touch the upper band. The series is dollars per minute as a 5-minute rate,
the usual thing to tag. A silent series (no value above 0) has no band and no alert, as there.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.detection.peers.series import (
    DAY,
    HOUR,
    WEEK,
    Minutes,
    Scores,
    delayed,
    scored,
    stepped,
    trailing_quantile,
    trailing_sum,
)
from benchmarks.detection.stream import Floats

_FOR: Final = 5
_MARGIN_OVER_MULTIPLIER: Final = 0.25
"""The margin band is 0.5 of the mid-line where the multiplier is 2: both widen together."""


def _moments(values: Floats, width: int) -> tuple[Floats, Floats]:
    """Mean and population deviation over time of what is there in the last `width` values."""
    there = ~np.isnan(values)
    known = np.where(there, values, 0.0)
    n = trailing_sum(there.astype(np.float64), width)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = trailing_sum(known, width) / n
        variance = trailing_sum(known**2, width) / n - mean**2
    return mean, np.sqrt(np.maximum(variance, 0.0))


def _multiplier(level: Floats, mid: Floats, width: Floats) -> Floats:
    """Multiplier at which `level` touches `mid + k · width`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (level - mid) / width


def _outermost(*multipliers: Floats) -> Floats:
    """The level is over all bands at the least of their multipliers; a band that is not there bounds nothing."""
    return np.asarray(np.fmin.reduce(multipliers), dtype=np.float64)


def adaptive(minutes: Minutes) -> Scores:
    """Mean of one hour, its deviation smoothed over 26 hours, and the bands of a day and a week ago.

    Deviations of quiet hours (below half of the mean) are left out of the smoothing, as in the rules.
    """
    rate = trailing_sum(minutes.spend, 5) / 5
    level = np.where(rate > 0, rate, np.nan)
    mean, deviation = _moments(level, HOUR)
    wild = np.where(deviation > 0.5 * mean, deviation, np.nan)
    smooth, _ = _moments(wild, 26 * HOUR)
    short = np.fmax(smooth, _MARGIN_OVER_MULTIPLIER * mean)
    day = DAY - HOUR // 2
    week = WEEK - HOUR // 2
    score = _outermost(
        _multiplier(level, mean, short),
        _multiplier(level, delayed(mean, day), delayed(deviation, day)),
        _multiplier(level, delayed(mean, week), delayed(deviation, week)),
    )
    score = np.where(np.isnan(level), np.nan, score)
    lasting = np.min([delayed(score, k, -np.inf) for k in range(_FOR + 1)], axis=0)
    lasting[:DAY] = np.nan
    return scored(minutes, 1, lasting)


def robust(minutes: Minutes) -> Scores:
    """Median of one hour against the median and MAD of 24 hours, and of an hour a day and a week ago.

    In steps of five minutes, which is also the time for which the alert waits.
    """
    step = 5
    rate = stepped(minutes.spend, step) / step
    value = np.where(rate > 0, rate, np.nan)
    hour, day = HOUR // step, DAY // step
    level = trailing_quantile(value, hour)
    median = trailing_quantile(value, day)
    mad = trailing_quantile(np.abs(value - median), day)
    then_mad = trailing_quantile(np.abs(value - level), hour)
    before = [day - 3, WEEK // step - 3]
    score = _outermost(
        _multiplier(level, median, np.fmax(mad, _MARGIN_OVER_MULTIPLIER * median)),
        *(_multiplier(level, delayed(level, late), delayed(then_mad, late)) for late in before),
    )
    lasting = np.minimum(score, delayed(score, 1))
    lasting[:day] = np.nan
    return scored(minutes, step, lasting)
