"""What real gateways also send: the same event twice, and records that are no events. Pure and seeded."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple

import orjson

DUPLICATES: Final = 0.003
"""Share of events that are published again a little later, as a producer does that lost the answer."""
MALFORMED: Final = 0.0008
_LATER: Final = 40
"""A duplicate follows within this many events of its workflow."""

_Document = dict[str, Any]
_BREAKS: Final[tuple[Callable[[_Document], bytes], ...]] = (
    lambda event: orjson.dumps(event)[:-20],
    lambda event: orjson.dumps(event | {"input_tokens": -event["input_tokens"] - 1}),
    lambda event: orjson.dumps(event | {"cached_input_tokens": event["input_tokens"] + 1}),
    lambda event: orjson.dumps({k: v for k, v in event.items() if k != "model"}),
    lambda event: orjson.dumps(event | {"occurred_at": 1_769_868_451_250}),  # milliseconds
    lambda event: orjson.dumps(event | {"cost_usd": "NaN"}),
)


class Extra(NamedTuple):
    """One more record for the same key."""

    what: Literal["duplicate", "malformed"]
    value: bytes


class Faults:
    """Decides for each published event what else goes out after it."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"{seed}:faults")
        self._waiting: dict[str, list[tuple[int, bytes]]] = {}

    def after(self, key: str, value: bytes) -> Iterator[Extra]:
        """Extra records due now, after the event `value` was published under `key`."""
        rng = self._rng
        waiting = self._waiting.get(key)
        if waiting:
            left = [(n - 1, old) for n, old in waiting]
            for n, old in left:
                if n <= 0:
                    yield Extra("duplicate", old)
            self._waiting[key] = [(n, old) for n, old in left if n > 0]
        if rng.random() < DUPLICATES:
            self._waiting.setdefault(key, []).append((rng.randint(1, _LATER), value))
        if rng.random() < MALFORMED:
            yield Extra("malformed", rng.choice(_BREAKS)(orjson.loads(value)))
