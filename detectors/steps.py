"""Spend by ten minutes: the last 80 of them, and the most that was ever kept up so long within about a week."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self

from detectors.decay import number

STEP_S: Final = 600.0
_HELD: Final = 9
"""Steps held: eight whole ones, and the one that is going on."""
_STRETCHES: Final[tuple[tuple[int, int], ...]] = ((2, 0), (4, 0), (8, 2))
"""Of so many steps, what is exceeded by all but so many: a burst fills one or two of them, a launch every one."""
_DAY_S: Final = 86_400.0
_HALF_LIFE_DAYS: Final = 5.0


class Steps:
    """What a workflow kept up for twenty minutes, forty, and eighty (two of the eight may be idle).

    The lowest of several steps tells a launch from a burst, which the sum of them does not: recorded clients spend
    ten and a hundred times their mean within single steps, and hardly ever in each of four.

    Highs are those of whole days before today, halved every five days, so that what rises slowly is not compared
    with itself. No stretch enters them in which learning stood still at any time.

    State: 0.2 kB.
    """

    __slots__ = ("_day", "_held", "_high", "_spent", "_step", "_today")

    def __init__(self) -> None:
        self._step: float | None = None
        self._spent = [0.0] * _HELD
        self._held: float | None = None
        self._day: float | None = None
        # One number per stretch, and at the end that of a single step.
        self._today = [0.0] * (len(_STRETCHES) + 1)
        self._high = [0.0] * (len(_STRETCHES) + 1)

    def add(self, start: float, cost: float, *, frozen: bool) -> None:
        """Add a window that begins at `start` (epoch seconds). What comes late counts for the present step."""
        step = start // STEP_S
        if self._step is not None and step <= self._step and not frozen:
            self._spent[-1] += cost  # most windows: no step has ended
            return
        if frozen:
            self._held = step if self._held is None else max(step, self._held)
        elif self._step is not None and step > self._step:
            lows = (*self._lows(self._passed(start, 0.0)), self._spent[-1])
            lengths = (*[steps for steps, _ in _STRETCHES], 1)
            for i, (low, length) in enumerate(zip(lows, lengths, strict=True)):
                if self._held is None or self._step - self._held >= length:
                    self._today[i] = max(self._today[i], low)
        self._spent = self._passed(start, cost)
        self._step = step if self._step is None else max(step, self._step)
        self._turn(start // _DAY_S)

    def rescale(self, times: float) -> None:
        """What was kept up before counts as `times` as much; the steps that are held are of now."""
        self._today = [high * times for high in self._today]
        self._high = [high * times for high in self._high]

    def kept_up(self, start: float, usual: float) -> tuple[float, float]:
        """The largest spend per step that is more than `usual` and than any day before kept up as long.

        Returns
        -------
        (float, float)
            Nano-dollars per step, and those above the usual of all steps of its stretch; zeros if none is.
        """
        rate, over = 0.0, 0.0
        if max(self._spent) < usual:
            return rate, over
        lows = self._lows(self._passed(start, 0.0))
        for (steps, _), low, high in zip(_STRETCHES, lows, self._high, strict=False):
            if low >= max(high, usual):
                rate, over = max(rate, low), max(over, (low - usual) * steps)
        return rate, over

    def highest(self) -> float:
        """The most that was spent in one step of the days before."""
        return self._high[-1]

    def busy(self) -> float:
        """The most per step that was kept up for twenty minutes on the days before."""
        return self._high[0]

    def latest(self, start: float, cost: float) -> float:
        """Spend of the present step, or of the one before it if that is more."""
        return max(self._passed(start, cost)[-2:])

    def dump(self) -> list[Any]:
        return [
            self._step,
            list(self._spent),
            self._held,
            self._day,
            list(self._today),
            list(self._high),
        ]

    @classmethod
    def load(cls, plain: Any) -> Self:
        """The steps that were dumped. Raises ValueError if `plain` is not of their shape."""
        if not isinstance(plain, list) or len(plain) != 6:
            raise ValueError("expected 6 parts of steps")
        step, spent, held, day, today, high = plain
        loaded = cls()
        loaded._step = None if step is None else number(step)
        loaded._spent = _numbers(spent, _HELD)
        loaded._held = None if held is None else number(held)
        loaded._day = None if day is None else number(day)
        loaded._today = _numbers(today, len(_STRETCHES) + 1)
        loaded._high = _numbers(high, len(_STRETCHES) + 1)
        return loaded

    def _lows(self, spent: Sequence[float]) -> list[float]:
        """Per stretch, what all but a few of its whole steps reach; the last of `spent` is not over yet."""
        return [sorted(spent[-1 - steps : -1])[idle] for steps, idle in _STRETCHES]

    def _passed(self, start: float, cost: float) -> list[float]:
        """The steps as they are when a window that begins at `start` has spent `cost`."""
        gone = 0.0 if self._step is None else max(start // STEP_S - self._step, 0.0)
        moved = int(min(gone, float(_HELD)))
        spent = [*self._spent[moved:], *[0.0] * moved]
        spent[-1] += cost
        return spent

    def _turn(self, day: float) -> None:
        if self._day is None:
            self._day = day
        elif day > self._day:
            one = 0.5 ** (1.0 / _HALF_LIFE_DAYS)
            keep = 0.5 ** min((day - self._day) / _HALF_LIFE_DAYS, 1_000.0)
            # The day before counts in full.
            self._high = [max(h, t / one) * keep for h, t in zip(self._high, self._today, strict=True)]
            self._today = [0.0] * len(self._today)
            self._day = day


def _numbers(plain: Any, size: int) -> list[float]:
    if not isinstance(plain, list) or len(plain) != size:
        raise ValueError(f"expected {size} numbers")
    return [number(v) for v in plain]
