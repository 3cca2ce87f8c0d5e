"""One new customer or api key that spends more than newcomers do: a leaked key, not a launch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from detectors.decay import DecayedSums, FadingMoments, number
from detectors.newcomers import NEW_S, Largest, Newcomers
from detectors.protocol import Contribution, Score, Window

_HOUR_S: Final = 3_600.0
_SOON_S: Final = 600.0
"""A customer and a key that came within this time of each other may be one stranger."""
_CUSTOMER_WORDS: Final = 120
_KEY_WORDS: Final = 24
_SPEND_HALF_LIFE: Final = 5 * 86_400.0
_PER_TRACE_MEMORY: Final = 5_000.0
_LEAST_RATE: Final = 1.0


@dataclass(frozen=True, slots=True)
class ConcentrationParams:
    """Tunables. Money in nano-dollars."""

    share: float = 0.4
    multiple: float = 0.2
    sigmas: float = 2.0
    traces: float = 6.0
    stranger_traces: float = 3.0
    stranger_s: float = 120.0
    quantile: float = 0.02
    min_excess_nanos: int = 300_000_000
    min_excess_seconds: float = 60.0
    warm_hours: float = 6.0


class Concentration:
    """The dollars of the dearest name first seen within a day, against everything an honest newcomer stays below.

    A launch brings many newcomers, a leaked key brings one; an honest large customer starts smaller than those
    who were there before it. So a newcomer speaks only if, since it came, it (1) spent more than 40 % of what all
    newcomers of the day did, (2) spends per hour more than `multiple` times what the whole workflow usually does,
    (3) and more than the dearest old name in a dear hour (two sigmas above its mean), (4) did as many calls as
    `traces` usual traces, (5) has spent more than all but `quantile` of past newcomers in their whole first day (of
    fewer than 49, more than about the largest), and (6) enough dollars. The value is the least of these ratios; 1
    is where it speaks.

    A new key and a new customer that came together and spent the same are a stranger with its own key. It is
    judged over two minutes instead of an hour, and (3) is not asked: against newcomers who all bring their own
    key stands (5). A key that replaces another spends what that did, and stays below (3).

    Does not work well in the first day, where an old customer has one key to each run (all names are then new),
    where calls carry neither label, and for a stolen key that was used before: to this detector it is old. Above
    some hundred names a week the old are forgotten and count as new, which makes it quieter, not louder. Nor for a
    second leak within a day of a larger one, or of less than a fifth of the usual spend.

    Cost: 10 us to score and learn a window with 2 names, 20 us with up to 16. State: at most 4 kB; measured on 144
    streams of two weeks, median 1.3 kB, largest 3.4 kB. There it found 38 of 43 material leaks, half of them
    within 138 s (173 s at twice the workflow's usual spend, 77 s at eight times), and spoke in none of 187
    launches, nor anywhere else.

    References
    ----------
    The tail of past newcomers: Siffer et al., KDD 2017. Known names: Almeida et al., 2007.
    """

    name: ClassVar[str] = "concentration"
    format: ClassVar[int] = 1

    def __init__(self, params: ConcentrationParams | None = None) -> None:
        self.params = params or ConcentrationParams()
        self._customers = Newcomers(_CUSTOMER_WORDS)
        self._keys = Newcomers(_KEY_WORDS)
        self._began: float | None = None
        self._spend = DecayedSums(_SPEND_HALF_LIFE, 1)
        self._per_trace = FadingMoments()

    def learn(self, window: Window, *, frozen: bool = False) -> None:
        if self._began is None or window.start < self._began:
            self._began = window.start
        if frozen:
            self._spend.skip(window.end)
        else:
            self._spend.add(window.end, (float(window.cost_nanos),), window.seconds)
            if window.traces > 0:
                self._per_trace.add(
                    window.calls / max(window.traces, 1.0), _PER_TRACE_MEMORY, clip=3.0, floor=0.1
                )
        for side, named in ((self._keys, window.api_keys), (self._customers, window.customers)):
            if named:
                settling = window.start < self._began + NEW_S or not self._warm(side)
                side.learn(named, window.start, frozen=frozen, settling=settling)

    def score(self, window: Window) -> Score:
        gate = self._gate()
        warm = [s for s in (self._keys, self._customers) if self._warm(s)]
        if self._began is None or window.start < self._began + NEW_S or not warm:
            return Score(0.0, 1.0, gate_nanos=gate, ready=False)
        key = self._largest(self._keys, window.api_keys, window)
        customer = self._largest(self._customers, window.customers, window)
        found = []
        if key is not None:
            together = customer is not None and _same(key, customer)
            found.append((self._value(key, self._keys, together), "new_api_key", key))
        if customer is not None:
            found.append((self._value(customer, self._customers, together=False), "new_customer", customer))
        if not found:
            return Score(0.0, 1.0, gate_nanos=gate)
        value, factor, largest = max(found, key=lambda f: f[0])
        return Score(
            value=value,
            threshold=1.0,
            excess_nanos=round(largest.cost),
            gate_nanos=gate,
            factor=factor,
            culprits=(largest.name,),
            since=largest.since,
        )

    def explain(self, window: Window) -> Sequence[Contribution]:
        """Nothing: who is to blame stands in the score, and what its calls cost is for the factors to tell."""
        return []

    def dump(self) -> list[Any]:
        return [
            self._began,
            self._spend.dump(),
            self._per_trace.dump(),
            self._customers.dump(),
            self._keys.dump(),
        ]

    @classmethod
    def load(cls, plain: Any, params: Any = None) -> Self:
        try:
            began, spend, per_trace, customers, keys = plain
            loaded = cls(params)
            loaded._began = None if began is None else number(began)
            loaded._spend = DecayedSums.load(spend, _SPEND_HALF_LIFE, 1)
            loaded._per_trace = FadingMoments.load(per_trace)
            loaded._customers = Newcomers.load(customers, _CUSTOMER_WORDS)
            loaded._keys = Newcomers.load(keys, _KEY_WORDS)
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a dump of {cls.name}: {error}") from None
        return loaded

    def _warm(self, side: Newcomers) -> bool:
        return side.busiest.count >= self.params.warm_hours

    def _usual(self) -> float:
        """Nano-dollars per second over days: bursts come and go, and a newcomer may come within one."""
        return self._spend.sums[0] / self._spend.seconds if self._spend.seconds > 0 else 0.0

    def _gate(self) -> int:
        return max(self.params.min_excess_nanos, round(self._usual() * self.params.min_excess_seconds), 1)

    def _largest(
        self, side: Newcomers, named: Sequence[tuple[str, int, int]], window: Window
    ) -> Largest | None:
        if not named or not self._warm(side):
            return None
        largest = side.largest(named, window.start, window.end)
        return largest if largest is not None and largest.cost > 0.0 else None

    def _value(self, largest: Largest, side: Newcomers, together: bool) -> float:
        """The least of what the newcomer did over what it may do."""
        params = self.params
        per_trace = max(self._per_trace.mean, 1.0)
        share = largest.cost / max(params.share * largest.all_newcomers, 1.0)
        needed = params.stranger_traces if together else params.traces
        traces = largest.calls / max(needed * per_trace, 1e-9)
        rate = largest.rate(params.stranger_s if together else _HOUR_S)
        ratios = [share, traces, rate / max(params.multiple * self._usual(), _LEAST_RATE)]
        if not together:
            dear = _exp(side.busiest.mean + params.sigmas * math.sqrt(side.busiest.variance))
            ratios.append(rate * _HOUR_S / dear)
        if side.past.count >= 1.0:
            rare = max(
                params.quantile, 1.0 / (1.0 + side.past.count)
            )  # of few, the largest is all there is to ask
            ratios.append(largest.cost / _exp(side.past.quantile(rare)))
        return min(ratios)


def _same(key: Largest, customer: Largest) -> bool:
    """Whether a new key and a new customer came together and spent the same: a stranger's own key."""
    return abs(key.since - customer.since) <= _SOON_S and 0.5 <= key.cost / customer.cost <= 2.0


def _exp(log: float) -> float:
    return math.exp(min(max(log, 0.0), 700.0))
