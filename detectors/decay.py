"""Averages that forget, by elapsed time or by sample.

river's statistics assume evenly spaced samples; spend is anything but, so time-decay is written here.
"""

from __future__ import annotations

import math
from typing import Any, Final, Self

LN2: Final = math.log(2.0)


def number(plain: Any, *, least: float = -math.inf) -> float:
    """A finite number out of a dump. Raises ValueError."""
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        raise ValueError(f"expected a number, not {type(plain).__name__}")  # noqa: TRY004 (callers tell of dumps)
    try:
        value = float(plain)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value) or value < least:
        raise ValueError("a number out of range")
    return value


class DecayedSums:
    """Sums in which everything halves in weight per `half_life` seconds; the last one counts the seconds.

    Cost: one `exp` per update. Source: Cormode et al., "Forward Decay", ICDE 2009 (the backward form).
    """

    __slots__ = ("half_life", "seconds", "sums", "until")

    def __init__(self, half_life: float, size: int) -> None:
        self.half_life = half_life
        self.sums = [0.0] * size
        self.seconds = 0.0
        self.until: float | None = None

    def peek(self, end: float, values: tuple[float, ...], span: float) -> tuple[list[float], float]:
        """Sums and seconds as they would be after `add`, which they stay without."""
        if self.until is None:
            return list(values), span
        elapsed = max(0.0, end - self.until)
        rate = LN2 / self.half_life
        keep = math.exp(-rate * elapsed)
        seconds = self.seconds * keep + min(elapsed, span)
        if elapsed > span:
            # The silence before the span fades like all else: after an hour of it a rate is not one of an hour.
            seconds += -math.expm1(-rate * (elapsed - span)) / rate * math.exp(-rate * span)
        return [s * keep + v for s, v in zip(self.sums, values, strict=True)], seconds

    def add(self, end: float, values: tuple[float, ...], span: float) -> None:
        """Add what happened in the `span` seconds up to `end`; silence since the last call counts as time."""
        self.sums, self.seconds = self.peek(end, values, span)
        self.until = end if self.until is None or end > self.until else self.until

    def skip(self, end: float) -> None:
        """Let time pass up to `end` as if it had not: nothing fades, and the silence does not count."""
        self.until = end if self.until is None else max(self.until, end)

    def dump(self) -> list[float | None]:
        return [self.until, self.seconds, *self.sums]

    @classmethod
    def load(cls, plain: Any, half_life: float, size: int) -> Self:
        if not isinstance(plain, list) or len(plain) != size + 2:
            raise ValueError(f"expected {size + 2} numbers")
        loaded = cls(half_life, size)
        loaded.until = None if plain[0] is None else number(plain[0])
        loaded.seconds = number(plain[1], least=0.0)
        loaded.sums = [number(v) for v in plain[2:]]
        return loaded


class FadingMoments:
    """Mean and variance of samples, older ones fading by half every `half_life` samples.

    Until then it is the plain average of what came, so that the first samples are not overrated. A sample
    further than `clip` scales from the mean counts as that far: one wild value moves the mean, not the ruin.
    Source: West (1979), weighted incremental form; Huber (1964) for the clipping.
    """

    __slots__ = ("count", "mean", "variance")

    def __init__(self) -> None:
        self.count = 0.0
        self.mean = 0.0
        self.variance = 0.0

    def add(
        self, x: float, half_life: float, *, clip: float = 0.0, floor: float = 0.0, warm: float = 30.0
    ) -> None:
        if clip and self.count >= warm:
            reach = clip * max(math.sqrt(self.variance), floor)
            x = min(max(x, self.mean - reach), self.mean + reach)
        limit = half_life / LN2
        self.count = min(self.count + 1.0, limit)
        weight = 1.0 / self.count
        delta = x - self.mean
        self.mean += weight * delta
        self.variance = (1.0 - weight) * (self.variance + weight * delta * delta)

    def dump(self) -> list[float]:
        return [self.count, self.mean, self.variance]

    @classmethod
    def load(cls, plain: Any) -> Self:
        if not isinstance(plain, list) or len(plain) != 3:
            raise ValueError("expected 3 numbers")
        loaded = cls()
        loaded.count = number(plain[0], least=0.0)
        loaded.mean = number(plain[1])
        loaded.variance = number(plain[2], least=0.0)
        return loaded
