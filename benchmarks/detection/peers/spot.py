"""SPOT: a generalized Pareto tail over a high quantile of spend, kept up to date point by point.

A. Siffer, P.-A. Fouque, A. Termier, C. Largouët: Anomaly Detection in Streams with Extreme Value Theory, KDD 2017,
https://doi.org/10.1145/3097983.3098144.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from benchmarks.detection.peers.seasonal import STEP
from benchmarks.detection.peers.series import DAY, Minutes, Scores, scored, stepped

_LEVEL: Final = 0.98
_CALIBRATION: Final = 2 * DAY // STEP
_ALARM: Final = 1e-4
_LEAST_SCALE: Final = 0.1
"""Dollars per ten minutes: after two silent days the first cent is no alarm."""


def tail(excesses: list[float]) -> tuple[float, float]:
    """Shape and scale of a generalized Pareto law by the method of moments, the shape between 0 and 0.45.

    The paper maximizes the likelihood (Grimshaw). Moments differ little at tens of excesses and never fail. A
    negative shape ends the tail: all that lies beyond would be equally impossible, and no threshold could rank it.
    """
    mean = math.fsum(excesses) / len(excesses)
    variance = math.fsum((x - mean) ** 2 for x in excesses) / max(len(excesses) - 1, 1)
    if variance <= 0:
        return 0.0, max(mean, _LEAST_SCALE)
    ratio = mean * mean / variance
    shape = min(max(0.5 * (1 - ratio), 0.0), 0.45)
    return shape, max(mean * (1 - shape), _LEAST_SCALE)


def surprise(x: float, threshold: float, shape: float, scale: float, share: float) -> float:
    """Minus log10 of the chance of a value over `x`; 0 below the threshold."""
    if x <= threshold:
        return 0.0
    z = (x - threshold) / scale
    log_tail = -z if shape < 1e-6 else -math.log1p(shape * z) / shape
    return -(math.log(share) + log_tail) / math.log(10)


def spend(minutes: Minutes) -> Scores:
    """Surprise of each ten minutes' dollars. Calibrated on two days; alarms (below 1e-4) are not learned from,
    as in the paper.
    """
    values = stepped(minutes.spend, STEP)
    score = np.full(len(values), np.nan)
    if len(values) <= _CALIBRATION:
        return scored(minutes, STEP, score)
    threshold = float(np.quantile(values[:_CALIBRATION], _LEVEL))
    excesses = [float(x - threshold) for x in values[:_CALIBRATION] if x > threshold] or [
        max(threshold, 0.01)
    ]
    shape, scale = tail(excesses)
    n = _CALIBRATION
    for i in range(_CALIBRATION, len(values)):
        x = float(values[i])
        score[i] = surprise(x, threshold, shape, scale, len(excesses) / n)
        if score[i] < -math.log10(_ALARM):
            n += 1
            if x > threshold:
                excesses.append(x - threshold)
                shape, scale = tail(excesses)
    return scored(minutes, STEP, score)
