"""SPOT: a generalized Pareto tail over a high quantile of spend, kept up to date point by point.

A. Siffer, P.-A. Fouque, A. Termier, C. Largouët: Anomaly Detection in Streams with Extreme Value Theory, KDD 2017,
https://doi.org/10.1145/3097983.3098144.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from benchmarks.detection.peers.series import DAY, Minutes, Scores, scored, stepped

STEP: Final = 10
_LEVEL: Final = 0.98
_CALIBRATION: Final = 2 * DAY // STEP
_ALARM: Final = 1e-4


def tail(excesses: list[float]) -> tuple[float, float]:
    """Shape and scale of a generalized Pareto law by the method of moments, the shape within ±0.5.

    The paper maximizes the likelihood (Grimshaw). Moments differ little at tens of excesses and never fail.
    """
    mean = math.fsum(excesses) / len(excesses)
    variance = math.fsum((x - mean) ** 2 for x in excesses) / max(len(excesses) - 1, 1)
    if variance <= 0:
        return 0.0, max(mean, 1e-9)
    ratio = mean * mean / variance
    shape = min(max(0.5 * (1 - ratio), -0.5), 0.45)
    return shape, max(mean * (1 - shape), 1e-9)


def surprise(x: float, threshold: float, shape: float, scale: float, share: float) -> float:
    """Minus log10 of the chance of a value over `x`; 0 below the threshold, at most 300."""
    if x <= threshold:
        return 0.0
    z = (x - threshold) / scale
    if abs(shape) < 1e-6:
        log_tail = -z
    else:
        inside = 1 + shape * z
        if inside <= 0:
            return 300.0
        log_tail = -math.log(inside) / shape
    return min(-(math.log(share) + log_tail) / math.log(10), 300.0)


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
