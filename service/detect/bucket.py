"""What the calls of ten seconds add up to, and how many customers such a bucket usually has."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.rollups import BUCKET_SECONDS, Rollup
from service.detect.sketches import merge_sketches

_UNPRICED_SHARE: Final = 0.1
_CROWD_MEMORY: Final = 12_000.0
"""Buckets with calls after which older ones fade: a day and a half of unbroken traffic."""


class Bucket(msgspec.Struct, array_like=True):
    """Sums over the calls of one 10 s bucket. Money in nano-dollars, `start` in epoch seconds.

    Charges that are no calls are not in it: a month of seats says nothing of how dear a call is.
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

    def forget_names(self) -> None:
        """Drop the sketches. The traces counted so far stay counted; those that come again count twice."""
        self.untraced += round(self.traced)
        self.sketch, self.traced, self.customer_sketch = b"", 0.0, b""

    def add(self, rollup: Rollup) -> None:
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


class Crowd(msgspec.Struct, array_like=True):
    """How many distinct customers a bucket usually has: the mean over days of buckets with calls."""

    windows: float = 0.0
    mean: float = 0.0

    def learn(self, customers: float) -> None:
        self.windows = min(self.windows + 1.0, _CROWD_MEMORY)
        self.mean += (customers - self.mean) / self.windows
