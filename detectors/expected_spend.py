"""What a workflow usually spends at this time of day, and whether it now spends a multiple of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from mypy_extensions import mypyc_attr

from detectors.decay import DecayedSums, FadingMoments, number
from detectors.protocol import Contribution, Score, Window
from detectors.steps import STEP_S, Steps

_HOURS: Final = 24
_PROFILE_HALF_LIFE: Final = 7 * 86_400.0
_LEVEL_HALF_LIFE: Final = 86_400.0
_RECENT_HALF_LIFE: Final = 120.0
_PROFILE_SHRINK: Final = 2 * 3_600.0
"""Seconds of evidence that one hour of the day needs to count as much as the whole day's level."""
_NOISE_MEMORY: Final = 4_000.0
_SIGMAS: Final = 3.0
_LEAST_RATE: Final = 1.0
"""Nano-dollars per second: after months of silence what is expected fades to numbers no ratio can hold."""


@mypyc_attr(native_class=False)
@dataclass(frozen=True, slots=True)
class ExpectedSpendParams:
    """Tunables. Money in nano-dollars."""

    multiple: float = 4.0
    min_excess_nanos: int = 500_000_000
    min_excess_seconds: float = 60.0
    warm_seconds: float = 6 * 3_600.0


class ExpectedSpend:
    """A level that fades over a day times an hour-of-day profile that fades over a week.

    Each hour's share of the day is shrunk towards 1 by how little is known of it: on real clients an hour-of-week
    profile predicts worse than yesterday, and yesterday worse than the last value, so the profile is context for
    people, for notices and for budgets, and never pages.

    A launch is either of two. (1) The recent rate (half-life 2 minutes) is `multiple` times the expected one, clear
    of the noise usually seen between them, and so much was not spent in any ten minutes of the days before: seen
    within a minute where traffic is even. (2) `multiple` times the expected was kept up for 20, 40 or 80 minutes,
    in each ten of them, as never in the days before: all that is left to see on clients whose bursts are a hundred
    times their mean. The value is spend over expected.

    Does not work well when a workflow runs as rare batches (expected is then an average that never occurs), in
    its first hours, and for a launch that stays below what the workflow's own bursts kept up.

    Cost: about 11 us to score and learn a window, 0.8 kB of state.
    """

    name: ClassVar[str] = "expected_spend"
    format: ClassVar[int] = 2

    def __init__(self, params: ExpectedSpendParams | None = None) -> None:
        self.params = params or ExpectedSpendParams()
        self._level = DecayedSums(_LEVEL_HALF_LIFE, 1)
        self._recent = DecayedSums(_RECENT_HALF_LIFE, 1)
        self._hours = [[0.0, 0.0] for _ in range(_HOURS)]
        self._total = [0.0, 0.0]
        self._profile_until: float | None = None
        self._faded_until: float | None = None
        self._noise = FadingMoments()
        self._steps = Steps()

    def learn(self, window: Window, *, frozen: bool = False) -> None:
        cost = (float(window.cost_nanos),)
        expected = self.rate(window.start)
        self._recent.add(window.end, cost, window.seconds)
        self._steps.add(window.start, cost[0], frozen=frozen)
        if frozen:
            self._level.skip(window.end)
            self._profile_until = max(self._profile_until or window.end, window.end)
            return
        if expected > 0 and self._warm():
            now = self._recent.sums[0] / max(self._recent.seconds, 1e-9)
            self._noise.add(
                math.log(max(now, _LEAST_RATE) / max(expected, _LEAST_RATE)),
                _NOISE_MEMORY,
                clip=3.0,
                floor=0.3,
            )
        self._level.add(window.end, cost, window.seconds)
        self._learn_profile(window)

    def rescale(self, times: float) -> None:
        """All spend that was learnt counts as `times` as much: what usually is done costs so much more now."""
        self._level.sums[0] *= times
        self._hours = [[cost * times, seconds] for cost, seconds in self._hours]
        self._steps.rescale(times)
        self._add_up()

    def rate(self, at: float) -> float:
        """Usual spend at an instant (epoch seconds), nano-dollars per second; 0 while nothing is known."""
        if self._level.seconds <= 0:
            return 0.0
        level = self._level.sums[0] / self._level.seconds
        cost, seconds = self._total
        if level <= 0 or cost <= 0 or seconds <= 0:
            return level
        hour_cost, hour_seconds = self._hours[_hour(at)]
        shrunk = (hour_cost * seconds / cost + _PROFILE_SHRINK) / (hour_seconds + _PROFILE_SHRINK)
        return level * shrunk

    def recent_rate(self) -> float:
        """Spend of the last minutes, nano-dollars per second."""
        return self._recent.sums[0] / self._recent.seconds if self._recent.seconds > 0 else 0.0

    def busy_rate(self) -> float:
        """The most that was kept up for twenty minutes on the days before, nano-dollars per second."""
        return self._steps.busy() / STEP_S

    def score(self, window: Window) -> Score:
        expected = self.rate(window.start)
        cost = float(window.cost_nanos)
        sums, seconds = self._recent.peek(window.end, (cost,), window.seconds)
        # The first seconds after silence say little: judge as if at least half a minute had passed.
        span = max(seconds, 30.0)
        gate = max(self.params.min_excess_nanos, round(expected * self.params.min_excess_seconds), 1)
        multiple = sums[0] / span / max(expected, _LEAST_RATE) if expected > 0 else 0.0
        value, excess = min(multiple, 1.0), sums[0] - expected * span
        if expected > 0 and self._warm():
            if self._clear(multiple) and self._steps.latest(window.start, cost) >= self._steps.highest():
                value = multiple
            kept, over = self._kept_up(window, expected)
            if kept >= self.params.multiple and over >= gate:
                value, excess = max(value, kept), max(excess, over)
        return Score(
            value=value,
            threshold=self.params.multiple,
            usual_nanos=round(expected * span),
            excess_nanos=max(0, round(excess)),
            gate_nanos=gate,
            factor="cost",
            ready=self._warm(),
        )

    def _clear(self, multiple: float) -> bool:
        """Of the noise usually seen between the recent rate and the expected one."""
        noise = max(0.3, math.sqrt(self._noise.variance))
        return multiple > 0 and math.log(multiple) - self._noise.mean >= _SIGMAS * noise

    def _kept_up(self, window: Window, expected: float) -> tuple[float, float]:
        """Spend over expected that was kept up as never before, and nano-dollars over the expected."""
        usual = max(expected, _LEAST_RATE) * STEP_S
        rate, over = self._steps.kept_up(window.start, usual)
        return rate / usual, over

    def explain(self, window: Window) -> Sequence[Contribution]:
        """Spend against the expected spend of as many seconds: one factor, the volume itself."""
        before = self.rate(window.start) * window.seconds
        if before <= 0:
            return []
        return [
            Contribution("cost", window.cost_nanos - round(before), before / 1e9, window.cost_nanos / 1e9)
        ]

    def dump(self) -> list[Any]:
        return [
            self._level.dump(),
            self._recent.dump(),
            [list(h) for h in self._hours],
            self._profile_until,
            self._faded_until,
            self._noise.dump(),
            self._steps.dump(),
        ]

    @classmethod
    def load(cls, plain: Any, params: Any = None) -> Self:
        try:
            level, recent, hours, until, faded, noise, steps = plain
            loaded = cls(params)
            loaded._level = DecayedSums.load(level, _LEVEL_HALF_LIFE, 1)
            loaded._recent = DecayedSums.load(recent, _RECENT_HALF_LIFE, 1)
            loaded._hours = [[number(c), number(s, least=0.0)] for c, s in hours]
            if len(loaded._hours) != _HOURS:
                raise ValueError("expected 24 hours")
            loaded._add_up()
            loaded._profile_until = None if until is None else number(until)
            loaded._faded_until = None if faded is None else number(faded)
            loaded._noise = FadingMoments.load(noise)
            loaded._steps = Steps.load(steps)
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a dump of {cls.name}: {error}") from None
        return loaded

    def _warm(self) -> bool:
        return self._total[1] >= self.params.warm_seconds

    def _add_up(self) -> None:
        # Kept beside the hours, because it is wanted with every score. Always by this sum and never by adding
        # on, so that a detector that was loaded is the same to the last bit.
        self._total = [math.fsum(h[0] for h in self._hours), math.fsum(h[1] for h in self._hours)]

    def _learn_profile(self, window: Window) -> None:
        # Silence since the last window is time too: it belongs to the hours it passed through.
        # … and a late one brings its cost, but no time that was not counted before.
        start = window.start if self._profile_until is None else self._profile_until
        self._fade(window.end)
        at = max(start, window.end - 86_400.0)
        while at < window.end:
            until = min(window.end, (math.floor(at / 3_600.0) + 1.0) * 3_600.0)
            self._hours[_hour(at)][1] += until - at
            at = until
        self._hours[_hour(window.start)][0] += window.cost_nanos
        self._profile_until = max(start, window.end)
        self._add_up()

    def _fade(self, until: float) -> None:
        # Ten minutes at a time: fading 24 pairs for every ten-second window would cost more than it says.
        elapsed = until - self._faded_until if self._faded_until is not None else 0.0
        if self._faded_until is None:
            self._faded_until = until
        elif elapsed >= 600.0:
            keep = math.exp(-math.log(2.0) * elapsed / _PROFILE_HALF_LIFE)
            self._hours = [[c * keep, s * keep] for c, s in self._hours]
            self._faded_until = until


def _hour(at: float) -> int:
    return int(at // 3_600.0) % _HOURS
