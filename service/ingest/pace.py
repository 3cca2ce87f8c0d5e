"""In step: partitions that catch up are read side by side in event time. Pure.

Detect takes the least watermark of all sources as the time, and keeps a bounded number of buckets open until then.
A partition that is read hours ahead of another would have its buckets given up before anything was learnt of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

STEP_S: Final = 120.0
"""How far in event time one batch may reach, and one partition be ahead of another. Detect sees at most about twice
that: a batch on its way and the next; it judges five minutes back, and keeps open buckets for twenty."""
LIVE_S: Final = 300.0
"""A partition this close to the present is read at once, whatever others have to catch up with: an alert that is
late is worse than a bucket that teaches nothing."""
PATIENCE_S: Final = 10.0
"""Whoever folded nothing for so long, though there is something to read, is stuck, and is not waited for."""


class Standing(NamedTuple):
    """How far one partition has been read.

    Attributes
    ----------
    watermark : float
        Epoch seconds; minus infinity before its first event.
    waited_for : bool
        The others must not go far beyond it.
    """

    watermark: float
    waited_for: bool


def limit(lanes: Iterable[Standing]) -> float:
    """Watermark up to which everybody may fold in this turn, epoch seconds.

    Infinity when nobody is waited for. The one that is furthest behind may always go on.
    """
    return min((lane.watermark for lane in lanes if lane.waited_for), default=float("inf")) + STEP_S


def may_fold(watermark: float, until: float, wall_now: float) -> bool:
    """Whether a partition that has come to `watermark` may go on when the limit is `until`.

    One that has no event yet always may: nobody knows where it is.
    """
    return watermark < until or watermark == float("-inf") or watermark >= wall_now - LIVE_S
