"""What a workflow's spend is the product of: seven ratios, each against its usual, shrunk while little is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Self

from detectors.decay import number
from detectors.protocol import Window

FACTORS: Final[tuple[str, ...]] = (
    "calls_per_trace",
    "input_per_call",
    "output_per_call",
    "model_mix",
    "price",
    "cost_per_trace",
    "cache",
)
CALLS, INPUT, OUTPUT, MIX, PRICE, COST, CACHE = range(len(FACTORS))
SUMS: Final = 7
BEGUN, N_CALLS, SPENT, TOKENS_IN, TOKENS_OUT, LIST, EXPECTED = range(SUMS)
_CACHE_DISCOUNT: Final = 0.75
"""What a cached input token is usually cheaper by: 50 % to 90 % at the vendors. Only changes are judged."""
_SHRINK: Final = 1.0
"""Usual traces that are added to both sides of every ratio, so that next to no traffic says next to nothing."""
_PRICE_SHRINK: Final = 0.2
_TINY: Final = 1e-9
_FAR: Final = 300.0
"""Logs are held within this: beyond it no number is money."""


def sums_of(window: Window, usual_in: float, usual_out: float) -> tuple[float, ...]:
    """A window's part of the sums: traces begun, calls, nano-dollars, tokens in and out, list price, expected.

    Tokens of a model without a list price count at what the workflow's tokens usually cost (`usual_in`,
    `usual_out`, nano-dollars each). Expected is the list price less what the window's own cache hits save.
    """
    listed, listed_in = (
        float(window.reference_nanos),
        float(window.reference_nanos - window.reference_output_nanos),
    )
    if listed <= 0:
        listed_in = window.input_tokens * usual_in
        listed = listed_in + window.output_tokens * usual_out
    hits = min(window.cached_input_tokens / max(window.input_tokens, 1), 1.0)
    return (
        window.begun_traces,
        float(window.calls),
        float(window.cost_nanos),
        float(window.input_tokens),
        float(window.output_tokens),
        listed,
        listed - _CACHE_DISCOUNT * listed_in * hits,
    )


class Usual:
    """The usual level of each ratio, as logs, and what a token of each kind usually costs at list price.

    Attributes
    ----------
    logs : list of float
        Of calls per trace, tokens in per call, tokens out per call, the mix (list price over that of usual
        tokens), paid over expected, cost per trace (nano-dollars), expected over list.
    per_input, per_output : float
        Nano-dollars per token at list price, cache hits not counted.
    """

    __slots__ = ("_levels", "_unit", "logs", "per_input", "per_output")

    def __init__(self, logs: Sequence[float], per_input: float, per_output: float) -> None:
        self.logs = list(logs)
        self.per_input = per_input
        self.per_output = per_output
        self._levels = [0.0] * len(FACTORS)
        self._unit = 1.0
        self._refresh()

    @classmethod
    def first(cls, sums: Sequence[float], per_input: float, per_output: float) -> Self:
        """From the first traffic's own sums."""
        begun, calls, spent, tokens_in, tokens_out, listed, expected = (max(s, _TINY) for s in sums)
        ratios = (
            calls / begun,
            tokens_in / calls,
            tokens_out / calls,
            1.0,
            max(spent, 1.0) / max(expected, 1.0),
            max(spent, 1.0) / begun,
            max(expected, 1.0) / max(listed, 1.0),
        )
        return cls([math.log(r) for r in ratios], per_input, per_output)

    def move(self, by: Sequence[float]) -> None:
        """Shift the levels (logs)."""
        for f, step in enumerate(by):
            self.logs[f] = min(max(self.logs[f] + step, -_FAR), _FAR)
        self._refresh()

    def _refresh(self) -> None:
        self._levels = [math.exp(log) for log in self.logs]
        # A usual trace at list price.
        self._unit = max(self._levels[COST] / self._levels[PRICE] / self._levels[CACHE], _TINY)

    def traces_worth(self, sums: Sequence[float]) -> float:
        """How many usual traces the calls would be."""
        return sums[N_CALLS] / self._levels[CALLS]

    def logs_over(self, sums: Sequence[float]) -> tuple[float, ...]:
        """Log of each ratio over its usual; 0 where there is nothing to go by."""
        levels, unit, log = self._levels, self._unit, math.log
        worth = sums[N_CALLS] / levels[CALLS]
        cost = levels[COST]
        mixed = (sums[TOKENS_IN] * self.per_input + sums[TOKENS_OUT] * self.per_output) * levels[MIX] / unit
        expected = sums[EXPECTED] * levels[PRICE] / cost
        cached = sums[LIST] * levels[CACHE] * levels[PRICE] / cost
        paid = sums[SPENT] / cost
        tokens = levels[CALLS] * levels[INPUT]
        return (
            log((worth + _SHRINK) / (sums[BEGUN] + _SHRINK)),
            log((sums[TOKENS_IN] / tokens + _SHRINK) / (worth + _SHRINK)),
            log((sums[TOKENS_OUT] / (levels[CALLS] * levels[OUTPUT]) + _SHRINK) / (worth + _SHRINK)),
            log((sums[LIST] / unit + _SHRINK) / (mixed + _SHRINK)),
            log((paid + _PRICE_SHRINK) / (expected + _PRICE_SHRINK)),
            log((paid + _SHRINK) / (sums[BEGUN] + _SHRINK)),
            log((expected + _PRICE_SHRINK) / (cached + _PRICE_SHRINK)),
        )

    def dump(self) -> list[Any]:
        return [*self.logs, self.per_input, self.per_output]

    @classmethod
    def load(cls, plain: Any) -> Self:
        if not isinstance(plain, list) or len(plain) != len(FACTORS) + 2:
            raise ValueError(f"expected {len(FACTORS) + 2} numbers")
        *logs, per_input, per_output = (number(v) for v in plain)
        if any(abs(log) > _FAR for log in logs):
            raise ValueError("a level out of range")
        return cls(logs, per_input, per_output)
