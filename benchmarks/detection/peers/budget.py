"""Rules on sums: multiples of a budget, three times a week's average, a daily check.

What most teams have. All see volume only: a launch and a loop look alike.
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

FLOOR: Final = 1.0
"""Dollars per hour below which no multiple is taken: a tenth of normal."""


def _trailing_mean(spend: Floats, window: int, step: int = 1) -> Floats:
    """Mean spend of one window over up to seven days that ended before the window began; NaN under a day."""
    seen = delayed(trailing_sum(spend, WEEK // step), window)
    known = np.clip(np.arange(1, len(spend) + 1) - window, 0, WEEK // step)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = seen * window / known
    return np.where(known >= DAY // step, mean, np.nan)


def hour_over_mean(minutes: Minutes) -> Scores:
    """Spend of the last hour as a multiple of the mean hour of the seven days before, every minute.

    Burn-rate alerts of budgets work like this: https://sre.google/workbook/alerting-on-slos/ (there for errors).
    """
    now = trailing_sum(minutes.spend, HOUR)
    return scored(minutes, 1, now / np.maximum(_trailing_mean(minutes.spend, HOUR), FLOOR))


def hour_over_median(minutes: Minutes) -> Scores:
    """Spend of the last hour as a multiple of the median hour of the seven days before, every 10 minutes."""
    step = 10
    spend = stepped(minutes.spend, step)
    now = trailing_sum(spend, HOUR // step)
    usual = delayed(trailing_quantile(now, WEEK // step), HOUR // step)
    usual[: DAY // step] = np.nan
    return scored(minutes, step, now / np.maximum(usual, FLOOR))


def day_over_mean(minutes: Minutes) -> Scores:
    """Spend of the last 24 hours as a multiple of the mean day of the seven days before, every 10 minutes.

    Needs two days of history.
    """
    step = 10
    spend = stepped(minutes.spend, step)
    now = trailing_sum(spend, DAY // step)
    usual = _trailing_mean(spend, DAY // step, step)
    return scored(minutes, step, now / np.maximum(usual, 24 * FLOOR))


def three_times_week(minutes: Minutes) -> Scores:
    """A calendar day's spend as a multiple of the average of the seven days before, while the day runs.

    The rule of thumb "three times the seven-day average" that is set up on LiteLLM's daily spend
    (https://docs.litellm.ai/docs/proxy/alerting). Looked at every hour against whole days, in its favour: a job
    that looks once a day is up to a day later. Needs two whole days.
    """
    spend = stepped(minutes.spend, HOUR)
    stamp = minutes.start + 3600.0 * np.arange(len(spend))
    day = ((stamp - stamp[0] + stamp[0] % 86400.0) // 86400.0).astype(np.int64)
    whole = np.bincount(day, weights=spend)
    so_far = np.cumsum(spend) - np.concatenate([[0.0], np.cumsum(whole)])[day]
    average = np.full(len(whole), np.nan)
    for d in range(2, len(whole)):
        average[d] = whole[max(d - 7, 0) : d].mean()
    return scored(minutes, HOUR, so_far / np.maximum(average[day], 24 * FLOOR))


def aws_daily(minutes: Minutes) -> Scores:
    """Dollars over what was expected of a day, if also 40 % over it; looked at three times a day.

    After AWS Cost Anomaly Detection: it runs about three times a day on billed spend, subtracts what its model
    expects from what was spent, and tells whoever subscribed when the impact passes a sum and a share (the
    default subscription: $100 and 40 %). Its model is not published; expected is here the median day of the
    trailing week, and the data are on time, where AWS's may be a day late. Needs three days.
    https://docs.aws.amazon.com/cost-management/latest/userguide/manage-ad.html
    """
    step = 8 * HOUR
    spend = stepped(minutes.spend, step)
    now = trailing_sum(spend, 3)
    usual = delayed(trailing_quantile(now, 21), 3)
    usual[:9] = np.nan
    impact = now - usual
    return scored(
        minutes, step, np.where(impact > 0.4 * usual, impact, np.where(np.isnan(usual), np.nan, 0.0))
    )
