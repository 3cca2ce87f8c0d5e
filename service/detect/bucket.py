"""What the calls of ten seconds add up to, and how many customers such a bucket usually has."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.rollups import BUCKET_SECONDS, Breakdown, Rollup
from service.detect.sketches import merge_sketches

_UNPRICED_SHARE: Final = 0.1
_CROWD_MEMORY: Final = 12_000.0
"""Buckets with calls after which older ones fade: a day and a half of unbroken traffic."""
MAX_NAMES: Final = 16
"""Customers, and api keys, that an open bucket knows by name."""

Named = dict[str, list[int]]
"""Name to [calls, nano-dollars]."""


class Bucket(msgspec.Struct, array_like=True):
    """Sums over the calls of one 10 s bucket. Money in nano-dollars, `start` in epoch seconds.

    Charges that are no calls are not in it: a month of seats says nothing of how dear a call is.

    State: 0.1 kB once closed. While open, up to 1.1 kB of sketches and the 16 dearest customers and keys: 1 kB
    with names of 20 characters, 27 kB with 32 names as long as the contract lets them be (200 characters of up to
    4 bytes), which the state sheds when it grows too large.
    """

    start: int
    calls: int = 0
    errors: int = 0
    cost: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reference: int = 0
    reference_output: int = 0
    untraced: int = 0
    sketch: bytes = b""
    traced: float = 0.0
    closed: bool = False
    customer_sketch: bytes = b""
    customers: float = 0.0
    """Distinct ones, an estimate."""
    unpriced: int = 0
    begun: float = 0.0
    """Traces that began in it, calls without a trace included: an estimate, late deltas left out once closed."""
    by_customer: Named = {}
    by_api_key: Named = {}

    @property
    def end(self) -> int:
        return self.start + BUCKET_SECONDS

    @property
    def traces(self) -> float:
        """Distinct traces plus calls without one."""
        return self.traced + self.untraced

    @property
    def costed(self) -> bool:
        """Whether enough of its cost is known to learn from: a price that comes later must not look like a rise."""
        return self.unpriced <= _UNPRICED_SHARE * self.calls

    def customers_named(self) -> tuple[tuple[str, int, int], ...]:
        """The dearest customers: name, calls, nano-dollars, in no order. Nothing once it is closed."""
        return _listed(self.by_customer)

    def api_keys_named(self) -> tuple[tuple[str, int, int], ...]:
        """The dearest api keys: name, calls, nano-dollars, in no order. Nothing once it is closed."""
        return _listed(self.by_api_key)

    def keep_names(self, most: int) -> None:
        """Keep the names of the dearest `most` customers and api keys."""
        self.by_customer = _dearest(self.by_customer, most)
        self.by_api_key = _dearest(self.by_api_key, most)

    def forget_names(self) -> None:
        """Drop the sketches. The traces counted so far stay counted; those that come again count twice."""
        self.untraced += round(self.traced)
        self.sketch, self.traced, self.customer_sketch = b"", 0.0, b""
        self.by_customer, self.by_api_key = {}, {}

    def add(self, rollup: Rollup, begun: float = 0.0) -> None:
        """Add a delta, in which `begun` traces began."""
        self.calls += rollup.calls
        self.errors += rollup.errors
        self.cost += rollup.cost_nanos - rollup.charge_nanos
        self.input_tokens += rollup.input_tokens
        self.cached_tokens += rollup.cached_input_tokens
        self.output_tokens += rollup.output_tokens
        self.reference += rollup.reference_cost_nanos
        self.reference_output += rollup.reference_output_nanos
        self.untraced += rollup.untraced_calls
        self.unpriced += rollup.unpriced_calls
        if rollup.traces:
            self.sketch, self.traced = merge_sketches(self.sketch, rollup.traces)
        if rollup.customers:
            self.customer_sketch, customers = merge_sketches(self.customer_sketch, rollup.customers)
            self.customers = max(self.customers, customers)
        if self.closed:
            self.forget_names()
            return
        self.begun += begun
        for breakdown in rollup.by_dimension:
            if breakdown.dimension == "customer":
                self.by_customer = _sum(self.by_customer, breakdown)
            elif breakdown.dimension == "api_key":
                self.by_api_key = _sum(self.by_api_key, breakdown)


def _sum(named: Named, breakdown: Breakdown) -> Named:
    for item in breakdown.top:
        if not item.calls:
            continue  # a charge
        held = named.get(item.value)
        if held is None:
            named[item.value] = [item.calls, item.cost_nanos]
        else:
            held[0] += item.calls
            held[1] += item.cost_nanos
    return _dearest(named, MAX_NAMES)


def _dearest(named: Named, most: int) -> Named:
    if len(named) <= most:
        return named
    return dict(sorted(named.items(), key=lambda item: (-item[1][1], item[0]))[:most])


def _listed(named: Named) -> tuple[tuple[str, int, int], ...]:
    return tuple([(name, calls, cost) for name, (calls, cost) in named.items()])


class Crowd(msgspec.Struct, array_like=True):
    """How many distinct customers a bucket usually has: the mean over days of buckets with calls."""

    windows: float = 0.0
    mean: float = 0.0

    def learn(self, customers: float) -> None:
        self.windows = min(self.windows + 1.0, _CROWD_MEMORY)
        self.mean += (customers - self.mean) / self.windows
