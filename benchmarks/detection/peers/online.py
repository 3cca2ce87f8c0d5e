"""river's detectors on spend, in steps of ten minutes, each kept clear of the traps its source has.

The scores that river saturates (1.0 from eight sigma on) are taken before they saturate, from the same fitted
parameters: otherwise no threshold could tell a loop from a busy hour, and every peer would look worse than it is.
All are one-sided: less spend is no incident. https://riverml.xyz, version 0.26.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from river import anomaly, proba, time_series, utils

from benchmarks.detection.peers.seasonal import STEP, log_spend
from benchmarks.detection.peers.series import DAY, WEEK, Minutes, Scores, scored, stepped, trailing_quantile
from benchmarks.detection.stream import Floats

_SEASON: Final = DAY // STEP
_LEAST_SIGMA: Final = 0.1
"""Of dollars per ten minutes, or of their log: nobody is paged for cents."""


def _gaussian(values: Floats) -> Floats:
    scorer = anomaly.GaussianScorer(window_size=WEEK // STEP, grace_period=_SEASON)
    if not isinstance(scorer.gaussian, utils.Rolling) or not isinstance(scorer.gaussian.obj, proba.Gaussian):
        raise TypeError("river's GaussianScorer no longer keeps a rolling Gaussian")
    score = np.full(len(values), np.nan)
    for i, y in enumerate(values.tolist()):
        if i >= _SEASON:
            law = scorer.gaussian.obj
            sigma = law.sigma if isinstance(law.sigma, float) else 0.0
            score[i] = (y - law.mu) / max(sigma, _LEAST_SIGMA)
        scorer.learn_one(None, y)
    return score


def gaussian(minutes: Minutes) -> Scores:
    """GaussianScorer over a trailing week of dollars, as sigmas above its mean.

    Sigma is kept from 0: on a constant stream the scorer says 1.0 to everything, and on one that fell silent the
    window's variance is rounded below 0, so that river's sigma is a complex number.
    """
    return scored(minutes, STEP, _gaussian(stepped(minutes.spend, STEP)))


def gaussian_log(minutes: Minutes) -> Scores:
    """The same over log dollars, where spend is nearer to a Gaussian."""
    return scored(minutes, STEP, _gaussian(log_spend(minutes)))


def predictive(minutes: Minutes) -> Scores:
    """PredictiveAnomalyDetection over HoltWinters with a daily season, on log dollars: squared error over limit.

    Begins with the first spend (HoltWinters divides by the level of its first season, so the log is shifted above
    0), is not scored for three days (additive seasons begin as ratios), and a forecast that has run away is held
    within what was ever seen. Its error statistics never forget a spike; nothing is done about that.
    """
    values = log_spend(minutes) + 3.0
    spent = np.flatnonzero(minutes.spend)
    begin = int(spent[0]) // STEP if len(spent) else len(values)
    model = time_series.HoltWinters(alpha=0.1, beta=0.001, gamma=0.1, seasonality=_SEASON)
    detector = anomaly.PredictiveAnomalyDetection(model, horizon=1, n_std=3.0, warmup_period=2 * _SEASON)
    score = np.full(len(values), np.nan)
    for i, y in enumerate(values[begin:].tolist()):
        if i >= 2 * _SEASON:
            limit = detector.dynamic_mae.get() + detector.n_std * math.sqrt(
                detector.dynamic_se_variance.get()
            )
            error = y - model.forecast(1)[0]
            if i >= 3 * _SEASON:
                score[begin + i] = math.copysign(error * error / max(limit, 1e-6), error)
            detector.score_one(None, y)
        detector.learn_one(None, y)
    return scored(minutes, STEP, score)


def half_space_trees(minutes: Minutes) -> Scores:
    """HalfSpaceTrees over spend, calls, cost per call and calls per trace of the steps that are not silent.

    All in logs between fixed limits: with a running MinMaxScaler one spike spoils the scale for good. Windows of
    a day of active steps; scored only where spend is above its week's median, since rare lulls are strange too.
    S. C. Tan, K. M. Ting, T. F. Liu: Fast Anomaly Detection for Streaming Data, IJCAI 2011.
    """
    spend, calls, traces = (stepped(x, STEP) for x in (minutes.spend, minutes.calls, minutes.traces))
    with np.errstate(invalid="ignore", divide="ignore"):
        features = np.stack(
            [
                (np.log10(spend) + 4) / 8,
                np.log10(calls) / 5,
                (np.log10(spend / calls) + 6) / 8,
                np.log10(calls / np.maximum(traces, 1)) / 4,
            ],
            axis=1,
        )
    features = np.clip(features, 0.0, 1.0)
    names = ("spend", "calls", "cost_per_call", "calls_per_trace")
    forest = anomaly.HalfSpaceTrees(
        n_trees=25, height=8, window_size=_SEASON, limits=dict.fromkeys(names, (0.0, 1.0)), seed=1
    )
    usual = trailing_quantile(spend, WEEK // STEP)
    score = np.full(len(spend), np.nan)
    for learned, i in enumerate(np.flatnonzero((spend > 0) & (calls > 0)).tolist()):
        x = dict(zip(names, features[i].tolist(), strict=True))
        if learned >= 2 * _SEASON and spend[i] > usual[i]:
            score[i] = forest.score_one(x)
        forest.learn_one(x)
    return scored(minutes, STEP, score)
