"""An announced launch as one workflow lives through it: what was announced, what came of it, what does not hold."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from schemas.control import Launch
from schemas.money import nanos

_LN2: Final = math.log(2.0)
HALF_LIFE_S: Final = 1_800.0
_DEARER: Final = 2.0
"""Times the announced cost per trace. A guess of somebody who announces is worth no more than a factor."""
_SCATTER: Final = 3.0
"""Costs of traces scatter by about their mean: so many standard errors, in shares of it, come on top."""
_FEWEST: Final = 4.0
RUNAWAY: Final = 30.0
"""Times the announced cost per trace that one trace must cost, where nothing better is known of traces."""
_SOON_S: Final = 600.0
"""A rate of less than this says little of a multiple."""


class Running(msgspec.Struct, array_like=True):
    """What is remembered of a launch while it runs. Times in epoch seconds, money in nano-dollars.

    Attributes
    ----------
    began : float
        The first bucket with a record in it; nothing begins without calls.
    cost_before : int
        The workflow's total spend on calls when it began: what it has cost since is an exact difference.
    cap : int
        Of all the workflow spends on calls while it runs.
    multiple : float
        Of usual spend.
    unit : int
        Expected cost of a trace; 0 where none was announced.
    known : bool
        Something was known of the workflow before, which must stay as it is.
    cost, traces, seconds : float
        Of the last hour or so, fading; a call without a trace is one.
    """

    name: str
    owner: str
    began: float
    ends: float
    cost_before: int
    cap: int
    multiple: float
    unit: int
    known: bool
    until: float = 0.0
    cost: float = 0.0
    traces: float = 0.0
    seconds: float = 0.0

    @classmethod
    def of(cls, launch: Launch, began: float, cost_before: int, *, known: bool) -> Running:
        running = cls(launch.name, launch.owner, began, began, cost_before, 0, 1.0, 0, known, until=began)
        running.read(launch)
        return running

    def read(self, launch: Launch) -> None:
        """Take over what the record says now."""
        self.owner, self.ends = launch.owner, launch.ends_at.timestamp()
        self.cap, self.multiple = max(nanos(launch.cap_usd), 1), launch.volume_multiple
        self.unit = 0 if launch.unit_cost_usd is None else nanos(launch.unit_cost_usd)

    def learn(self, end: float, cost: float, traces: float) -> None:
        """Add a bucket that ended."""
        self.cost, self.traces, self.seconds = self.lately(end, cost, traces)
        self.until = max(float(end), self.until)

    def lately(self, end: float, cost: float, traces: float) -> tuple[float, float, float]:
        """Cost, traces and seconds of the last hour or so with a bucket that is not learnt yet."""
        passed = max(end - self.until, 0.0)
        rate = _LN2 / HALF_LIFE_S
        keep = math.exp(-rate * passed)
        return (
            self.cost * keep + cost,
            self.traces * keep + traces,
            self.seconds * keep - math.expm1(-rate * passed) / rate,
        )

    def within(self, spent: int) -> bool:
        """Whether volume and new customers are nobody's concern yet."""
        return spent < self.cap

    def volume_over(
        self, cost: float, seconds: float, usual: float, busy: float, floor: int
    ) -> tuple[float, int]:
        """How many times the usual it spends if that is more than announced, and nano-dollars over the announced.

        Parameters
        ----------
        cost, seconds
            Of the last hour or so.
        usual, busy : float
            Nano-dollars per second that are usual now, 0 if that is not known; and that it kept up at its busiest.
            Who announces a multiple thinks of busy hours, not of a mean over silence: it is of the larger one.
        floor : int
            Fewer nano-dollars are not told.

        Returns
        -------
        (float, int)
            Zeros if it is not more.
        """
        if not self.known or usual < 1.0 or seconds < _SOON_S:
            return 0.0, 0
        over = round(cost - self.multiple * max(usual, busy) * seconds)
        return (cost / (usual * seconds), over) if over >= floor else (0.0, 0)

    def unit_over(self, cost: float, traces: float, floor: int) -> tuple[float, float, int]:
        """Cost per trace over the announced one, from where on that is told, and nano-dollars over the announced.

        Few traces say little: with 9 of them three times the announced is an accident, with 400 it is not.
        """
        if not self.unit or traces < _FEWEST:
            return 0.0, _DEARER, 0
        threshold = _DEARER * (1.0 + _SCATTER / math.sqrt(traces))
        over = round(cost - self.unit * traces)
        return (cost / (self.unit * traces), threshold, over) if over >= floor else (0.0, threshold, over)

    def runs_away(self, cost: int) -> bool:
        """Whether one trace costs what no number of announced ones would, where traces are not known better."""
        return self.unit > 0 and cost >= RUNAWAY * self.unit
