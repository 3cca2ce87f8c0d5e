"""How long a source that publishes is usually silent, and whether it now has been for longer than it ever is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from mypy_extensions import mypyc_attr

from detectors.decay import LN2, number
from detectors.protocol import Contribution, Score, Window
from detectors.tail import Tail

_HOURS: Final = 24
_HOUR_S: Final = 3_600.0
_DAY_S: Final = 86_400.0
_MONTH_S: Final = 30 * _DAY_S
_HALF_LIFE: Final = 7 * _DAY_S
_SHRINK: Final = 1_800.0
"""Seconds of evidence that one hour of the day needs to count as much as the whole day's level."""
_FADE_EVERY_S: Final = 600.0
_PROFILE_S: Final = 1.5 * _DAY_S
"""Time after which silences are measured: before, a night is not known to be one."""
_PEAKS: Final = 32
_MEMORY: Final = 20_000.0
"""Silences after which older ones weigh half."""
_PRIOR_S: Final = 900.0
_PRIOR_SILENCES: Final = 30.0
"""Seconds with calls that a source which never was silent must miss; how many silences of its own outweigh that."""
_FARTHEST_S: Final = _DAY_S
"""What must be silent for longer before it is unusual does not publish regularly: it is not spoken of."""
_LONGEST_S: Final = 14 * _DAY_S
_SLACK_S: Final = 0.001


@mypyc_attr(native_class=False)
@dataclass(frozen=True, slots=True)
class SilenceParams:
    """Tunables. Money in nano-dollars; `ticket_budget` in false tickets per month and source.

    `warm_seconds` are counted as they fade: four days are known after five. With `min_excess_nanos` of 1, a silence
    is worth a ticket whatever was spent: it may have had no price.
    """

    ticket_budget: float = 0.25
    min_excess_nanos: int = 500_000_000
    min_silence_s: float = 300.0
    warm_seconds: float = 4 * _DAY_S


class Silence:
    """The tail of the time between calls, in a time that runs as fast as there usually are calls.

    An hour at night is less of a silence than one at noon. So a silence is measured by the seconds with calls that
    were missed in it: the integral of the share of time that usually has calls at that hour of the day. In this
    time silences of all hours follow one law, whose tail (a generalised Pareto law over the longest ones) gives the
    length that `ticket_budget` silences a month exceed. It speaks beyond that, if what is usually spent in such a
    silence is worth a ticket: spend that may go on unseen. It is to be asked as time passes, with a window without
    calls: what is silent sends none. A silence that was spoken of teaches no more than what it took to speak.

    Does not work well when a source is silent for good reasons that no hour of the day explains (weekends, until
    two or three of them are among the longest silences), and where traffic comes in rare bursts: a source that
    would have to be silent for more than a day is not spoken of. After each outage the next one needs to be longer:
    what comes several times a fortnight is usual.

    Cost: 3 us per window with calls, up to 9 us to score after hours of silence; 0.9 kB of state.

    References
    ----------
    Time rescaling: Papangelou (1972); Brown et al., "The Time-Rescaling Theorem and Its Application to Neural Spike
    Train Data Analysis", Neural Computation 2002. The tail: `detectors.tail`.
    """

    name: ClassVar[str] = "silence"
    format: ClassVar[int] = 1

    def __init__(self, params: SilenceParams | None = None) -> None:
        self.params = params or SilenceParams()
        self._hours = [[0.0, 0.0] for _ in range(_HOURS)]
        self._total = [0.0, 0.0]
        self._spent = 0.0
        self._silences = 0.0
        self._until: float | None = None
        self._faded: float | None = None
        self._tail = Tail(_PEAKS, _MEMORY)

    def learn(self, window: Window, *, frozen: bool = False) -> None:
        if window.calls <= 0:
            return
        until = self._until
        self._until = window.end if until is None else max(until, window.end)
        if frozen:
            return
        begin = window.start if until is None else until
        if begin < window.start and self._total[1] >= _PROFILE_S:
            missed = self._missed(begin, window.start)
            # Of a silence that was spoken of, no more is learnt than it took: an outage is not the usual, and
            # yet what comes again and again is.
            self._tail.add(min(missed, self._threshold()) if self._ready() else missed)
            self._silences += 1.0
        self._learn_hours(begin, window)

    def score(self, window: Window) -> Score:
        """Seconds with calls that were missed, if the window has none, from the last call to the window's end."""
        gate = max(self.params.min_excess_nanos, 1)
        if window.calls > 0 or self._until is None or window.end <= self._until:
            return Score(0.0, 1.0, gate_nanos=gate, factor="silence", ready=self._ready())
        missed = self._missed(self._until, window.end)
        unseen = max(round(missed * self._nanos_per_second()), 1)
        long_enough = window.end - self._until >= self.params.min_silence_s
        return Score(
            value=missed,
            threshold=self._threshold(),
            usual_nanos=unseen,
            excess_nanos=unseen if long_enough else 0,
            gate_nanos=gate,
            factor="silence",
            ready=self._ready(),
            since=self._until,
        )

    @property
    def since(self) -> float | None:
        """When the last window with calls ended, epoch seconds."""
        return self._until

    def alarm(self) -> float | None:
        """When it will speak if nothing comes until then, epoch seconds; None if that is more than a day away."""
        if self._until is None or not self._ready():
            return None
        wanted = self._threshold()
        if self.params.min_excess_nanos > 1:
            per_second = self._nanos_per_second()
            if per_second <= 0.0:
                return None
            wanted = max(wanted, self.params.min_excess_nanos / per_second)
        at, farthest = self._until, self._until + _FARTHEST_S
        while at < farthest:
            until = (math.floor(at / _HOUR_S) + 1.0) * _HOUR_S
            share = self._share(_hour(at))
            if share * (until - at) >= wanted:
                at += wanted / share
                return max(at, self._until + self.params.min_silence_s) + _SLACK_S
            wanted -= share * (until - at)
            at = until
        return None

    def explain(self, window: Window) -> Sequence[Contribution]:
        """Nothing: a silence has no factors."""
        return []

    def dump(self) -> list[Any]:
        return [
            [list(h) for h in self._hours],
            list(self._total),
            self._spent,
            self._silences,
            self._until,
            self._faded,
            self._tail.dump(),
        ]

    @classmethod
    def load(cls, plain: Any, params: Any = None) -> Self:
        try:
            hours, (active, seconds), spent, silences, until, faded, tail = plain
            loaded = cls(params)
            loaded._hours = [[number(a, least=0.0), number(s, least=0.0)] for a, s in hours]
            if len(loaded._hours) != _HOURS:
                raise ValueError("expected 24 hours")
            loaded._total = [number(active, least=0.0), number(seconds, least=0.0)]
            loaded._spent, loaded._silences = number(spent), number(silences, least=0.0)
            loaded._until = None if until is None else number(until)
            loaded._faded = None if faded is None else number(faded)
            loaded._tail = Tail.load(tail, _PEAKS, _MEMORY)
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a dump of {cls.name}: {error}") from None
        return loaded

    def _ready(self) -> bool:
        return self._total[1] >= self.params.warm_seconds

    def _threshold(self) -> float:
        """Seconds with calls that a silence must miss."""
        known = self._tail.count
        prior = _PRIOR_S * _PRIOR_SILENCES / (_PRIOR_SILENCES + known)
        if known <= 0.0:
            return prior
        a_month = self._silences * _MONTH_S / max(self._total[1] - _PROFILE_S, _DAY_S)
        share = min(max(self.params.ticket_budget / max(a_month, 1e-9), 1e-12), 0.5)
        return max(self._tail.quantile(share), prior)

    def _nanos_per_second(self) -> float:
        """What a second with calls usually costs."""
        return max(self._spent, 0.0) / self._total[0] if self._total[0] > 0.0 else 0.0

    def _share(self, hour: int) -> float:
        """Share of the time of an hour of the day that usually has calls, shrunk to that of the whole day."""
        active, seconds = self._total
        if seconds <= 0.0:
            return 1.0
        mine, of = self._hours[hour]
        return (mine + _SHRINK * active / seconds) / (of + _SHRINK)

    def _missed(self, begin: float, end: float) -> float:
        if end - begin > _LONGEST_S:
            begin = end - _LONGEST_S
        missed, at = 0.0, begin
        while at < end:
            until = min(end, (math.floor(at / _HOUR_S) + 1.0) * _HOUR_S)
            missed += self._share(_hour(at)) * (until - at)
            at = until
        return missed

    def _learn_hours(self, begin: float, window: Window) -> None:
        self._fade(window.end)
        at = max(begin, window.end - _LONGEST_S)
        while at < window.end:
            until = min(window.end, (math.floor(at / _HOUR_S) + 1.0) * _HOUR_S)
            self._hours[_hour(at)][1] += until - at
            self._total[1] += until - at
            at = until
        if window.end > begin:  # a late window is time that was counted before
            active = min(window.seconds, window.end - begin)
            self._hours[_hour(window.start)][0] += active
            self._total[0] += active
        self._spent += float(window.cost_nanos)

    def _fade(self, until: float) -> None:
        if self._faded is None:
            self._faded = until
        elif until - self._faded >= _FADE_EVERY_S:
            keep = math.exp(-LN2 * (until - self._faded) / _HALF_LIFE)
            self._hours = [[a * keep, s * keep] for a, s in self._hours]
            self._total = [math.fsum(h[0] for h in self._hours), math.fsum(h[1] for h in self._hours)]
            self._spent *= keep
            self._silences *= keep
            self._faded = until


def _hour(at: float) -> int:
    return int(at // _HOUR_S) % _HOURS
