"""What others do: published detectors and common rules, on the same streams, each looking only backwards.

Nothing of this is in the wheel. A peer turns sums per minute into a score at the end of each step; how high a score
must be to page is fitted by `benchmarks.detection.paging`, on the clean streams of the clients of the train split.
"""

from __future__ import annotations

from typing import Final

from benchmarks.detection.peers import bands, budget, forest, online, seasonal, spot
from benchmarks.detection.peers.series import Minutes, Peer, Scores, minutes_of

PEERS: Final = (
    Peer("budget: hour / mean hour", budget.hour_over_mean, 5.0),
    Peer("budget: hour / median hour", budget.hour_over_median, 5.0),
    Peer("budget: day / mean day", budget.day_over_mean, 2.0),
    Peer("3 × seven-day average", budget.three_times_week, 3.0),
    Peer("AWS-style daily check", budget.aws_daily, 100.0),
    Peer("Grafana adaptive bands", bands.adaptive, 2.0),
    Peer("Grafana robust bands", bands.robust, 2.0),
    Peer("river GaussianScorer", online.gaussian, 3.0),
    Peer("river GaussianScorer, log", online.gaussian_log, 3.0),
    Peer("river PAD + HoltWinters", online.predictive, 1.0),
    Peer("river HalfSpaceTrees", online.half_space_trees, None),
    Peer("hour-of-week robust z", seasonal.hour_of_week, 3.5),
    Peer("S-H-ESD", seasonal.s_h_esd, 4.0),
    Peer("random cut forest", forest.random_cut, None),
    Peer("SPOT", spot.spend, 4.0),
    Peer("cost per trace, robust z", seasonal.cost_per_trace, 3.5),
)

__all__ = ["PEERS", "Minutes", "Peer", "Scores", "minutes_of"]
