"""Which values of one label spend enough to be watched: a bounded count of who spent what within the hour."""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import mypyc_attr

_HOUR: Final = 3_600_000_000


@final
@mypyc_attr(acyclic=True)
class _Spend:
    """Nano-dollars of one value in this hour and the one before."""

    __slots__ = ("missed", "older", "recent", "watched")

    def __init__(self, missed: int) -> None:
        self.recent = 0
        self.older = 0
        self.missed = missed
        self.watched = False


@final
class Spenders:
    """Watches a value from the moment it has spent `floor` within an hour, until it spends less than half of it.

    The last hour is taken as this one so far and as much of the one before as is left of sixty minutes. Whether a
    value still spends enough is looked at once an hour, so that one near the floor does not come and go.

    At most `2 * most` values are held. When there are more, the watched ones and the dearest others stay, `most`
    in all. One that comes back is ranked as if it had spent all the while as much as the dearest that was dropped
    (space-saving; Metwally, Agrawal and El Abbadi, 2005), but only what was seen of it counts towards the floor:
    nobody is watched for another's spend. As long as all together spend less than `most * floor` in an hour,
    whoever passes the floor is among the dearest and so is seen; above that the first `most` are watched.

    A function of the calls alone. Does not work well for a value whose spend comes in many places: each counts
    its own.

    Parameters
    ----------
    floor : int
        Nano-dollars. 0: whoever calls is watched at once.
    most : int
        Values that are watched at a time.
    """

    __slots__ = ("_dropped", "_hour", "_latest", "_values", "_watched", "floor", "most")

    def __init__(self, floor: int, most: int) -> None:
        self.floor = floor
        self.most = most
        self._values: dict[str, _Spend] = {}
        self._watched = 0
        self._latest = 0
        self._hour = 0
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._values)

    @property
    def watched(self) -> list[str]:
        """Who is watched now, by name."""
        return sorted([value for value, spend in self._values.items() if spend.watched])

    def spent(self, value: str, nanos: int, at: int) -> bool:
        """Count spend at a time (epoch microseconds). Returns whether the value is watched from here on."""
        if at > self._latest:
            self._latest = at
            if at // _HOUR > self._hour:
                self._turn(at // _HOUR)
        spend = self._values.get(value)
        if spend is None:
            if len(self._values) >= 2 * self.most:
                self._drop()
            spend = self._values[value] = _Spend(self._dropped)
        spend.recent += nanos
        if spend.watched:
            return True
        if self._watched >= self.most:
            return False
        # In minutes, so that the product stays small.
        left = 60 - self._latest % _HOUR // 60_000_000
        if spend.recent + spend.older * left // 60 < self.floor:
            return False
        spend.watched = True
        self._watched += 1
        return True

    def _turn(self, hour: int) -> None:
        """A new hour: what was this one is the one before, and who spent nothing in it is forgotten."""
        next_one = hour == self._hour + 1
        self._hour, self._dropped, self._watched = hour, 0, 0
        kept: dict[str, _Spend] = {}
        for value, spend in self._values.items():
            spend.older = spend.recent if next_one else 0
            spend.recent = spend.missed = 0
            if spend.older or (next_one and not self.floor):
                spend.watched = spend.watched and 2 * spend.older >= self.floor
                self._watched += spend.watched
                kept[value] = spend
        self._values = kept

    def _drop(self) -> None:
        ranked = sorted(
            [(not s.watched, -(s.recent + s.older + s.missed), value) for value, s in self._values.items()]
        )
        for _, upper, _value in ranked[self.most : self.most + 1]:
            self._dropped = max(self._dropped, -upper)
        kept = {value: self._values[value] for _, _, value in ranked[: self.most]}
        self._values = kept
