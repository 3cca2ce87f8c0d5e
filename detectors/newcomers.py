"""Who came within the last day, what they spent, and what newcomers and the old usually spend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from detectors.decay import LN2, FadingMoments, number
from detectors.names import KnownNames, fingerprint
from detectors.tail import Tail

NEW_S: Final = 86_400.0
_HOUR_S: Final = 3_600.0
_KEPT: Final = 16
_OLD_KEPT: Final = 6
_SETTLING_S: Final = 600.0
_SPARED: Final = 4
_REST_HALF_LIFE: Final = 43_200.0
_HOURS_MEMORY: Final = 300.0
_PEAKS: Final = 16
_NEWCOMERS_MEMORY: Final = 300.0

Named = Sequence[tuple[str, int, int]]
"""Names with calls and nano-dollars."""


@dataclass(frozen=True, slots=True)
class Largest:
    """The dearest newcomer of a window. Money in nano-dollars, `since` in epoch seconds.

    `cost` and `calls` count since it came; `all_newcomers` is what every newcomer of the last day spent.
    """

    name: str
    since: float
    seconds: float
    cost: float
    calls: float
    all_newcomers: float

    def rate(self, at_least: float) -> float:
        """Nano-dollars per second since it came, as if that were `at_least` seconds ago."""
        return self.cost / max(self.seconds, at_least)


class Newcomers:
    """The dearest newcomers of a day by fingerprint, at most 16, and the dollars of the others.

    A name is new for a day from its first sight. Whoever must make room (the one with the fewest dollars for the
    time it was here; the four that came last are spared for ten minutes, for all begin small) leaves its dollars
    in a rest that fades over a day, and is old from then on. Of those who stayed the day their dollars are kept as
    a tail, unless they came while learning stood still; of the old, how dear the dearest one is in an hour.

    Cost: see `concentration`, which holds two of these.
    """

    __slots__ = ("_hour", "_hour_costs", "_kept", "_known", "_rest", "_rest_at", "busiest", "past")

    def __init__(self, words: int) -> None:
        self._known = KnownNames(words)
        # First seen, nano-dollars, 1 if any of them while learning stood still, calls.
        self._kept: dict[int, list[float]] = {}
        self._rest = 0.0
        self._rest_at: float | None = None
        self._hour: int | None = None
        self._hour_costs: dict[int, float] = {}
        self.busiest = FadingMoments()
        """Log of the dearest old name's nano-dollars in an hour in which it came."""
        self.past = Tail(_PEAKS, _NEWCOMERS_MEMORY)
        """Log of nano-dollars that a newcomer spent within its day."""

    def learn(self, named: Named, start: float, *, frozen: bool, settling: bool) -> None:
        """Take in a window's names; `start` in epoch seconds. While `settling` nobody is new."""
        self._turn(start, frozen)
        for name, calls, cost in named:
            mark = fingerprint(name)
            kept = self._kept.get(mark)
            if kept is not None:
                kept[1] += cost
                kept[3] += calls
                kept[2] = max(kept[2], float(frozen))
            elif settling or self._known.knows(mark):
                self._known.add(mark, start)
                self._hour_costs[mark] = self._hour_costs.get(mark, 0.0) + cost
            else:
                self._known.add(mark, start)
                self._kept[mark] = [start, float(cost), float(frozen), float(calls)]
        self._make_room(start)

    def largest(self, named: Named, start: float, end: float) -> Largest | None:
        """Of the names of a window that was not learnt yet, the newcomer that spent most."""
        best: tuple[float, str, float, float] | None = None
        total = 0.0
        for name, calls, cost in named:
            mark = fingerprint(name)
            kept = self._kept.get(mark)
            if (kept is None and self._known.knows(mark)) or (kept is not None and kept[0] + NEW_S <= start):
                continue
            total += cost
            since, before, _, called = kept if kept is not None else (start, 0.0, 0.0, 0.0)
            if best is None or (before + cost, name) > (best[0], best[1]):
                best = before + cost, name, since, called + calls
        if best is None:
            return None
        spent, name, since, called = best
        total += self._faded_rest(start) + math.fsum(
            k[1] for k in self._kept.values() if k[0] + NEW_S > start
        )
        return Largest(name, since, max(end - since, 0.0), spent, called, max(total, spent))

    def dump(self) -> list[Any]:
        return [
            self._known.dump(),
            [[mark, *map(_short, kept)] for mark, kept in self._kept.items()],
            self._rest,
            self._rest_at,
            self._hour,
            [[mark, _short(cost)] for mark, cost in self._hour_costs.items()],
            self.busiest.dump(),
            self.past.dump(),
        ]

    @classmethod
    def load(cls, plain: Any, words: int) -> Self:
        """The newcomers that were dumped. Raises ValueError if `plain` is not of their shape."""
        if not isinstance(plain, list) or len(plain) != 8:
            raise ValueError("expected 8 parts of newcomers")
        known, kept, rest, rest_at, hour, hour_costs, busiest, past = plain
        loaded = cls(words)
        loaded._known = KnownNames.load(known, words)
        if len(kept) > _KEPT or len(hour_costs) > 2 * _OLD_KEPT:
            raise ValueError("more names than are kept")
        loaded._kept = {
            _mark(mark): [
                number(since),
                number(cost, least=0.0),
                number(tainted, least=0.0),
                number(calls, least=0.0),
            ]
            for mark, since, cost, tainted, calls in kept
        }
        loaded._rest = number(rest, least=0.0)
        loaded._rest_at = None if rest_at is None else number(rest_at)
        loaded._hour = None if hour is None else int(number(hour))
        loaded._hour_costs = {_mark(mark): number(cost, least=0.0) for mark, cost in hour_costs}
        loaded.busiest = FadingMoments.load(busiest)
        loaded.past = Tail.load(past, _PEAKS, _NEWCOMERS_MEMORY)
        return loaded

    def _turn(self, start: float, frozen: bool) -> None:
        hour = int(start // _HOUR_S)
        if self._hour is not None and hour <= self._hour:
            return
        dearest = max(self._hour_costs.values(), default=0.0)
        if dearest >= 1.0 and not frozen:
            self.busiest.add(math.log(dearest), _HOURS_MEMORY, clip=3.0, floor=0.5)
        self._hour, self._hour_costs = hour, {}
        for mark in [m for m, kept in self._kept.items() if kept[0] + NEW_S <= start]:
            self._let_go(mark)

    def _make_room(self, now: float) -> None:
        while len(self._kept) > _KEPT:
            marks = list(self._kept)  # in the order they came
            spared = {m for m in marks[-_SPARED:] if self._kept[m][0] + _SETTLING_S > now}
            least = min(
                [m for m in marks if m not in spared],
                key=lambda m: (self._kept[m][1] / (max(now - self._kept[m][0], 0.0) + _SETTLING_S), m),
            )
            cost = self._kept[least][1]
            self._let_go(least)
            self._rest = self._faded_rest(now) + cost
            self._rest_at = now if self._rest_at is None else max(now, self._rest_at)
        if len(self._hour_costs) > 2 * _OLD_KEPT:
            dearest = sorted(self._hour_costs.items(), key=lambda item: (-item[1], item[0]))
            self._hour_costs = dict(dearest[:_OLD_KEPT])

    def _let_go(self, mark: int) -> None:
        _, cost, tainted, _ = self._kept.pop(mark)
        if not tainted:
            self.past.add(math.log(max(cost, 1.0)))

    def _faded_rest(self, now: float) -> float:
        if self._rest_at is None:
            return 0.0
        return self._rest * math.exp(-LN2 * max(now - self._rest_at, 0.0) / _REST_HALF_LIFE)


def _short(value: float) -> float:
    """The same number in fewer bytes, where it is whole."""
    return int(value) if value.is_integer() and value < 1 << 53 else value


def _mark(plain: Any) -> int:
    if type(plain) is not int or not 0 <= plain < 1 << 63:
        raise ValueError("expected a fingerprint of 63 bits")
    return plain
