"""What a budget's window will have spent at its end: usual shape of the week × present level, launches included.

The usual spend of each hour of the week is a mean over past weeks, drawn towards the mean of that hour of any day
and further towards the mean of all hours while little is known. The level is what the last hours spent over what
is usual for them, and goes back to 1 by and by. What is left of the window is the sum of both over its hours.
The interval is as wide as days of this budget are unlike each other and unlike their neighbours: 80 of 100 ends
lie in it, as `make bench-forecast` counts on recorded traffic.

Does not work well for spend that comes in a few bursts: what has no usual has no forecast: the interval is wide.
Shares of a forecast are floats, for it is an opinion; what was spent is an integer, and only added to.

How it is meant to be called: `note(usual, at, spent, launches)` beside each `count` of the ledger, and
`outlook(usual, window, now, spent, launches)` before `look`: once a minute will do, it costs less than a
millisecond for a month. `launches` are those that concern the budget, made by `planned`. Keep `dump(usual)`, under
5 kB, beside the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import msgspec

from schemas.control import Launch
from schemas.money import nanos
from service.rules.budget import Outlook
from service.rules.calendar import Span

VERSION: Final = 1
HOUR_S: Final = 3_600
_WEEK: Final = 168
_KEEP: Final = 0.8
"""Of what an hour of the week was, when it comes again: months ago is not the usual any more."""
_HOURS_PRIOR: Final = 1.0
"""Weeks after which an hour of the week counts as much as that hour of any day."""
_DAYS_PRIOR: Final = 3.0
"""Days after which an hour of the day counts as much as any hour."""
_LEVEL_HALF_H: Final = 8.0
_RECENT: Final = 48
"""Hours of which the level is taken: six half-lives."""
_BACK: Final = 0.995
"""Of a level's distance from the usual, an hour later: half of it is left after six days."""
_DAYS: Final = 28
_UNLIKE: Final = 0.5
"""Standard deviation of the logarithm of a day's spend where nothing is known; counts as two days."""
_WIDTH: Final = 1.35
"""Standard deviations on either side that hold 80 of 100 ends, counted on recorded traffic."""
_FLOOR: Final = 0.05
"""Of a mean day: a day without spend must not be infinitely unlike others."""


@dataclass(frozen=True, slots=True)
class Planned:
    """An announced launch, as far as it is this budget's.

    Attributes
    ----------
    start, end : float
        Epoch seconds.
    multiple : float
        Of usual volume, for the share of the budget's spend that the launched workflow has.
    share : float
        Of the budget's usual spend that is the workflow's: 1 where the budget is the workflow's own.
    cap : int or None
        More than this is not expected of it, in the budget's unit.
    """

    start: float
    end: float
    multiple: float
    share: float = 1.0
    cap: int | None = None


class Usual(msgspec.Struct, array_like=True):
    """What a budget usually spends, by hour of the week (of UTC, from its Thursday midnight as the epoch has it).

    Attributes
    ----------
    sums, weights : list of 168 float
        Spend seen in each hour of the week, and how often it was seen; both fade.
    hour : int
        The hour that is not over yet, in hours since the epoch; -1 before the first spend.
    current : float
        Spend of that hour so far.
    recent : list of (float, float)
        Spend of the hours before it, oldest first, and by what launches multiplied what was expected of them.
    days : list of float
        Spend of the last days, launches left out.
    day_sum, day_hours : float, int
        Of the day that is not over yet.
    """

    sums: list[float] = msgspec.field(default_factory=lambda: [0.0] * _WEEK)
    weights: list[float] = msgspec.field(default_factory=lambda: [0.0] * _WEEK)
    hour: int = -1
    current: float = 0.0
    recent: list[tuple[float, float]] = []
    days: list[float] = []
    day_sum: float = 0.0
    day_hours: int = 0


class UnreadableUsual(ValueError):
    """Bytes that no version of the codec wrote. What is usual can be learnt anew."""


def dump(usual: Usual) -> bytes:
    """One version byte, then MessagePack."""
    return bytes((VERSION,)) + msgspec.msgpack.encode(usual)


def load(data: bytes) -> Usual:
    """Bytes to what is usual. Raises UnreadableUsual."""
    if not data or data[0] != VERSION:
        raise UnreadableUsual(f"version {data[0] if data else 'none'}, this release reads {VERSION}")
    try:
        usual = msgspec.msgpack.decode(memoryview(data)[1:], type=Usual)
    except msgspec.MsgspecError as error:
        raise UnreadableUsual(str(error)) from None
    if len(usual.sums) != _WEEK or len(usual.weights) != _WEEK:
        raise UnreadableUsual("a week has 168 hours")
    return usual


def planned(launch: Launch, share: float = 1.0) -> Planned:
    """A launch of the config topic, as far as it is a budget's in dollars; `share` as in `Planned`."""
    return Planned(
        start=launch.starts_at.timestamp(),
        end=launch.ends_at.timestamp(),
        multiple=launch.volume_multiple,
        share=share,
        cap=nanos(launch.cap_usd),
    )


def note(usual: Usual, at: float, spent: int, launches: Sequence[Planned] = ()) -> None:
    """Learn from spend of an instant; 0 lets time pass.

    What is up to two days late is put right; what is later than that teaches nothing. Hours within a launch
    teach nothing but the level of the launch.
    """
    hour = int(at // HOUR_S)
    if usual.hour < 0 or hour > usual.hour + _DAYS * 24:
        if usual.hour >= 0:  # nothing was heard for so long that nothing is usual any more
            usual.recent, usual.days, usual.day_sum, usual.day_hours = [], [], 0.0, 0
        usual.hour, usual.current = hour, 0.0
    while usual.hour < hour:
        _close(usual, launches)
    ago = usual.hour - hour
    if ago == 0:
        usual.current += spent
    elif ago <= len(usual.recent):
        was, multiple = usual.recent[-ago]
        usual.recent[-ago] = (was + spent, multiple)
        if multiple == 1.0:
            usual.sums[hour % _WEEK] += spent
            if ago <= usual.day_hours:
                usual.day_sum += spent
            elif usual.days:
                usual.days[-1] += spent


def outlook(usual: Usual, window: Span, now: float, spent: int, launches: Sequence[Planned] = ()) -> Outlook:
    """What a window is thought to have spent at its end.

    Parameters
    ----------
    now : float
        Within the window, no earlier than the last `note`.
    spent : int
        Of the window so far, as the ledger says.
    """
    if any(usual.weights):
        shape = _shape(usual)
        level, launched = _levels(usual, shape, now)
    else:  # nothing is usual yet: as it went so far
        shape = [max(spent, 0) * HOUR_S / max(now - window.start, 1.0)] * _WEEK
        level = launched = 1.0
    past = sum(
        part * shape[hour % _WEEK] * _multiple(launches, hour) for hour, part in _hours(window.start, now)
    )
    rest = left = 0.0
    extra = [0.0] * len(launches)
    distance = level - 1.0
    for hour, part in _hours(now, window.end):
        expected = part * shape[hour % _WEEK]
        rest += expected * _multiple(launches, hour)
        left += expected * (1.0 + distance)
        distance *= _BACK
        for index, launch in enumerate(launches):
            extra[index] += expected * (_multiple((launch,), hour) - 1.0) * launched
    for launch, more in zip(launches, extra, strict=True):
        left += more if launch.cap is None else min(more, launch.cap)
    width = math.exp(_WIDTH * _unlike(usual))
    low, middle, high = (spent + round(left * factor) for factor in (1.0 / width, 1.0, width))
    known = past + rest > 0
    share = past / (past + rest) if known else (now - window.start) / window.seconds
    return Outlook(min(max(share, 0.0), 1.0), low, middle, high)


def _close(usual: Usual, launches: Sequence[Planned]) -> None:
    """The present hour is over."""
    multiple = _multiple(launches, usual.hour)
    index = usual.hour % _WEEK
    if multiple == 1.0:
        usual.sums[index] = usual.sums[index] * _KEEP + usual.current
        usual.weights[index] = usual.weights[index] * _KEEP + 1.0
        usual.day_sum += usual.current
        usual.day_hours += 1
        if usual.day_hours == 24:
            usual.days = [*usual.days, usual.day_sum][-_DAYS:]
            usual.day_sum, usual.day_hours = 0.0, 0
    usual.recent = [*usual.recent, (usual.current, multiple)][-_RECENT:]
    usual.hour, usual.current = usual.hour + 1, 0.0


def _shape(usual: Usual) -> list[float]:
    """Usual spend of each hour of the week."""
    mean = max(sum(usual.sums) / sum(usual.weights), 0.0)
    of_day = []
    for hour in range(24):
        sums, weights = sum(usual.sums[hour::24]), sum(usual.weights[hour::24])
        of_day.append((max(sums, 0.0) + _DAYS_PRIOR * mean) / (weights + _DAYS_PRIOR))
    return [
        (max(usual.sums[hour], 0.0) + _HOURS_PRIOR * of_day[hour % 24]) / (usual.weights[hour] + _HOURS_PRIOR)
        for hour in range(_WEEK)
    ]


def _levels(usual: Usual, shape: list[float], now: float) -> tuple[float, float]:
    """Spend of the last hours over the usual: outside of launches, and within them over what they announced."""
    spent, expected = [0.0, 0.0], [0.0, 0.0]
    if int(now // HOUR_S) == usual.hour:
        spent[0] += usual.current
        expected[0] += (now / HOUR_S - usual.hour) * shape[usual.hour % _WEEK]
    weight, fade = 1.0, 0.5 ** (1.0 / _LEVEL_HALF_H)
    for ago, (amount, multiple) in enumerate(reversed(usual.recent), start=1):
        weight *= fade
        which = 0 if multiple == 1.0 else 1
        spent[which] += weight * amount
        expected[which] += weight * multiple * shape[(usual.hour - ago) % _WEEK]
    levels = [max(s, 0.0) / e if e > 0 else 1.0 for s, e in zip(spent, expected, strict=True)]
    return levels[0], levels[1]


def _unlike(usual: Usual) -> float:
    """How far days are from each other or from their neighbours, as a standard deviation of logarithms."""
    days = usual.days
    if not days or (mean := sum(days) / len(days)) <= 0:
        return _UNLIKE
    logs = [math.log(max(day, 0.0) / mean + _FLOOR) for day in days]
    middle = sum(logs) / len(logs)
    steps = [later - earlier for earlier, later in pairwise(logs)]
    prior = 2 * _UNLIKE**2
    apart = (sum((x - middle) ** 2 for x in logs) + prior) / (len(logs) + 1)
    step = (sum(x * x for x in steps) + prior) / (len(steps) + 2)
    return math.sqrt(max(apart, step))


def _multiple(launches: Sequence[Planned], hour: int) -> float:
    """By what launches multiply the spend of an hour: of each that runs in its middle."""
    middle = (hour + 0.5) * HOUR_S
    return 1.0 + sum(p.share * (p.multiple - 1.0) for p in launches if p.start <= middle < p.end)


def _hours(start: float, end: float) -> Iterator[tuple[int, float]]:
    """Hours since the epoch that a stretch is in, with the part of each that is in it."""
    at = start
    while at < end:
        hour = int(at // HOUR_S)
        until = min(end, (hour + 1) * HOUR_S)
        yield hour, (until - at) / HOUR_S
        at = until
