"""Cost that rises too slowly for the minutes to see: half a day against two weeks, hour by hour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from river.drift import ADWIN

from detectors.decay import DecayedSums, FadingMoments, number
from detectors.protocol import Contribution, Score, Window

_HOUR_S: Final = 3_600.0
_FACTORS: Final = ("cost_per_trace", "cost_per_call", "price")
_TAU: Final = (0.05, 0.05, 0.02)
_SCALES_S: Final = (10_800.0, 43_200.0)
_MEMORY: Final = 336.0
"""Active hours after which the reference fades by half: two weeks of unbroken traffic."""
_THIN: Final = 10.0
"""Traces with which an hour weighs half as much as one of very many."""
_REACH: Final = 3.0
_LEAST_REACH: Final = 0.7
"""An hour may count as twice as dear however steady the hours were: else a step would never be seen in full."""
_EXCESS_HALF_LIFE: Final = 86_400.0
_RING: Final = 72
_STEPS: Final = 100.0
_HELD_HOURS: Final = 36
_USUAL_HALF_LIFE: Final = 5 * 86_400.0


@dataclass(frozen=True, slots=True)
class CreepParams:
    """Tunables. Money in nano-dollars."""

    z: float = 3.0
    least_rise: float = 1.15
    min_excess_nanos: int = 500_000_000
    min_excess_seconds: float = 1_800.0
    warm_hours: float = 24.0


class Creep:
    """Log cost per trace, cost per call and price of the last hours against a reference of two weeks.

    Every hour with traffic gives one residual per factor: the log of the hour's ratio less the reference, held
    within three of the hours' own sigmas or a factor of two, so that no single hour rules. They are averaged with
    half-lives of 3 and 12 hours of event time, an hour of few traces counting less. z is that average over the
    larger of its usual size, of what so few hours can say, and 5 % (price 2 %). It speaks when z and the
    rise itself (`least_rise`) are large and the excess of the hours, sum of C (1 - e^-rise) (half-life a day),
    is worth the gate.

    The reference fades by half every 336 active hours and follows a creep of days hardly. A change that stays is
    accepted: when river's ADWIN over the last 72 active hours' residuals of cost per trace leaves a window of at
    least 36 that is all one level, the references move there. Frozen hours teach nothing.

    Does not work well with fewer than 24 active hours behind it, for workflows whose mix changes with the day
    (their average is usually large, so z is small), and for a creep slower than the reference, 5 % a week.

    Cost: 27 us to score and learn a window, 0.6 to 0.75 kB of state.

    References
    ----------
    Bifet, Gavalda, "Learning from Time-Changing Data with Adaptive Windowing", SDM 2007 (river.drift.ADWIN, run
    anew over the kept residuals each time: its own state is not plain data).
    """

    name: ClassVar[str] = "creep"

    def __init__(self, params: CreepParams | None = None) -> None:
        self.params = params or CreepParams()
        self._hour: int | None = None
        self._sums = [0.0] * 5  # cost, traces, calls, reference, 1 if any of it is not to be learnt from
        self._reference = [FadingMoments() for _ in _FACTORS]
        self._recent = [DecayedSums(s, 2 * len(_FACTORS)) for s in _SCALES_S]
        self._usual_size = [FadingMoments() for _ in range(len(_FACTORS) * len(_SCALES_S))]
        self._excess = DecayedSums(_EXCESS_HALF_LIFE, len(_FACTORS))
        self._spend = DecayedSums(_USUAL_HALF_LIFE, 1)
        self._ring: list[int] = []
        self._since: float | None = None

    def learn(self, window: Window, *, frozen: bool = False) -> None:
        if frozen:
            self._spend.skip(window.end)
        else:
            self._spend.add(window.end, (float(window.cost_nanos),), window.seconds)
        if window.calls <= 0 or window.traces <= 0 or window.cost_nanos <= 0:
            return
        hour = int(window.start // _HOUR_S)
        if self._hour is None or hour > self._hour:
            if self._hour is not None:
                self._close(self._hour)
            self._hour, self._sums = hour, [0.0] * 5
        self._sums = [s + v for s, v in zip(self._sums, _values(window), strict=False)] + [
            max(self._sums[4], float(frozen))
        ]

    def score(self, window: Window) -> Score:
        gate = self._gate()
        if not self._warm():
            return Score(0.0, self.params.z, gate_nanos=gate, ready=False)
        sums = [s + v for s, v in zip(self._sums, _values(window), strict=False)]
        best, factor, excess = 0.0, "", 0.0
        residuals, weight = self._residuals(sums)
        over = self._excess_of(sums[0], residuals)
        end = window.end
        spent = self._excess.peek(end, tuple(over), 0.0)[0]
        for s, recent in enumerate(self._recent):
            values = _weighed(self._held(residuals), weight)
            held, _ = recent.peek(end, values, _HOUR_S)
            for f in range(len(_FACTORS)):
                z = self._z(s, f, held)
                if z > best:
                    best, factor, excess = z, _FACTORS[f], max(spent[f], 0.0)
        return Score(
            value=best,
            threshold=self.params.z,
            usual_nanos=0,
            excess_nanos=round(excess),
            gate_nanos=gate,
            factor=factor,
            since=self._since,
        )

    def rise(self) -> float:
        """How many times its reference cost per trace is, over the last half day; 1 while nothing is known."""
        held = self._recent[-1].sums
        return math.exp(min(held[0] / held[len(_FACTORS)], 50.0)) if held[len(_FACTORS)] > 0.0 else 1.0

    def explain(self, window: Window) -> Sequence[Contribution]:
        """Nothing: the factors of minutes explain it better, and the rise is in the score."""
        return []

    def dump(self) -> list[Any]:
        return [
            self._hour,
            list(self._sums),
            [r.dump() for r in self._reference],
            [r.dump() for r in self._recent],
            [u.dump() for u in self._usual_size],
            self._excess.dump(),
            self._spend.dump(),
            list(self._ring),
            self._since,
        ]

    @classmethod
    def load(cls, plain: Any, params: Any = None) -> Self:
        try:
            hour, sums, reference, recent, usual, excess, spend, ring, since = plain
            loaded = cls(params)
            loaded._hour = None if hour is None else int(number(hour))
            loaded._sums = [number(s, least=0.0) for s in sums]
            loaded._reference = [FadingMoments.load(r) for r in reference]
            loaded._recent = [
                DecayedSums.load(r, s, 2 * len(_FACTORS)) for r, s in zip(recent, _SCALES_S, strict=True)
            ]
            loaded._usual_size = [FadingMoments.load(u) for u in usual]
            sizes = len(loaded._sums), len(loaded._reference), len(loaded._usual_size), len(ring) <= _RING
            if sizes != (5, len(_FACTORS), len(_FACTORS) * len(_SCALES_S), True):
                raise ValueError("parts of another size")
            loaded._excess = DecayedSums.load(excess, _EXCESS_HALF_LIFE, len(_FACTORS))
            loaded._spend = DecayedSums.load(spend, _USUAL_HALF_LIFE, 1)
            loaded._ring = [int(number(r)) for r in ring]
            loaded._since = None if since is None else number(since)
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a dump of {cls.name}: {error}") from None
        return loaded

    def _warm(self) -> bool:
        return self._reference[0].count >= self.params.warm_hours

    def _gate(self) -> int:
        usual = self._spend.sums[0] / self._spend.seconds if self._spend.seconds > 0 else 0.0
        return max(self.params.min_excess_nanos, round(usual * self.params.min_excess_seconds), 1)

    def _residuals(self, sums: Sequence[float]) -> tuple[list[float], float]:
        """Each factor's log less its reference (0 where there is none), and how much such an hour says."""
        logs = _logs(sums)
        if logs is None:
            return [0.0] * len(_FACTORS), 0.0
        known = [r.mean if r.count else x for r, x in zip(self._reference, logs, strict=True)]
        priced = sums[3] > 0
        residuals = [x - k for x, k in zip(logs, known, strict=True)]
        if not priced:
            residuals[2] = 0.0
        return residuals, sums[1] / (sums[1] + _THIN)

    def _held(self, residuals: Sequence[float]) -> list[float]:
        held = []
        for r, moments in zip(residuals, self._reference, strict=True):
            reach = max(_REACH * math.sqrt(moments.variance), _LEAST_REACH)
            held.append(min(max(r, -reach), reach))
        return held

    def _z(self, s: int, f: int, held: Sequence[float]) -> float:
        weight = held[len(_FACTORS) + f]
        if weight <= 0.0:
            return 0.0
        rise = held[f] / weight
        if rise < math.log(self.params.least_rise):
            return 0.0
        usual = self._usual_size[s * len(_FACTORS) + f]
        variance = max(
            usual.variance + usual.mean * usual.mean,
            self._reference[f].variance / max(weight, 0.1),
            _TAU[f] * _TAU[f],
        )
        return rise / math.sqrt(variance)

    def _excess_of(self, cost: float, residuals: Sequence[float]) -> list[float]:
        return [cost * -math.expm1(-min(max(r, -5.0), 50.0)) for r in residuals]

    def _close(self, hour: int) -> None:
        """Learn from an hour that is over: its average first, then what is usual."""
        end, frozen = (hour + 1) * _HOUR_S, self._sums[4] > 0.0
        residuals, weight = self._residuals(self._sums)
        logs = _logs(self._sums)
        if logs is None:
            return
        if frozen:
            for sums in (*self._recent, self._excess):
                sums.skip(end)
            return
        if self._warm():
            held = self._held(residuals)
            self._excess.add(end, tuple(self._excess_of(self._sums[0], residuals)), _HOUR_S)
            self._excess.sums = [max(s, 0.0) for s in self._excess.sums]
            for s, recent in enumerate(self._recent):
                recent.add(end, _weighed(held, weight), _HOUR_S)
                for f in range(len(_FACTORS)):
                    level = recent.sums[len(_FACTORS) + f]
                    if level > 0.0:
                        at = self._usual_size[s * len(_FACTORS) + f]
                        at.add(recent.sums[f] / level, _MEMORY, clip=_REACH, floor=_TAU[f])
            self._ring = [*self._ring, round(held[0] * _STEPS)][-_RING:]
        for f, moments in enumerate(self._reference):
            if f != 2 or self._sums[3] > 0:
                moments.add(logs[f], _MEMORY, clip=_REACH, floor=_TAU[f], warm=self.params.warm_hours)
        rising = self.rise() >= self.params.least_rise
        self._since = (hour * _HOUR_S if self._since is None else self._since) if rising else None
        if self._warm():
            self._accept()

    def _accept(self) -> None:
        """Take a level that has held for long as the reference."""
        if self._since is None or len(self._ring) < _HELD_HOURS:
            return
        adwin = ADWIN(delta=0.01, clock=1, grace_period=5)
        for step in self._ring:
            adwin.update(step / _STEPS)
        if adwin.n_detections == 0 or not _HELD_HOURS <= adwin.width < len(self._ring):
            return
        for f, moments in enumerate(self._reference):
            held = self._recent[-1].sums
            moments.mean += held[f] / held[len(_FACTORS) + f] if held[len(_FACTORS) + f] > 0.0 else 0.0
        self._recent = [DecayedSums(s, 2 * len(_FACTORS)) for s in _SCALES_S]
        self._excess = DecayedSums(_EXCESS_HALF_LIFE, len(_FACTORS))
        self._ring, self._since = [], None


def _values(window: Window) -> tuple[float, ...]:
    return (
        float(window.cost_nanos),
        float(window.traces),
        float(window.calls),
        float(window.reference_nanos),
    )


def _logs(sums: Sequence[float]) -> tuple[float, float, float] | None:
    """Logs of cost per trace, per call and per reference dollar; the last is 0 where there is none."""
    cost, traces, calls, reference = sums[:4]
    if cost <= 0 or traces <= 0 or calls <= 0:
        return None
    log = math.log(cost)
    return (
        log - math.log(max(traces, 1e-9)),
        log - math.log(calls),
        log - math.log(reference) if reference > 0 else 0.0,
    )


def _weighed(residuals: Sequence[float], weight: float) -> tuple[float, ...]:
    return (*(r * weight for r in residuals), *(weight for _ in residuals))
