"""What every rival does with the bytes of an event, the same way for all."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import datetime
from typing import Any, NamedTuple

import orjson


class PlainEvent(NamedTuple):
    """Who spent how much (dollars), and when (epoch seconds)."""

    workflow: str
    at: float
    cost: float


def from_bytes(value: bytes) -> PlainEvent | None:
    """None: it cannot be read."""
    try:
        event = orjson.loads(value)
        return PlainEvent(event["workflow"], seconds(event["occurred_at"]), cost(event))
    except (ValueError, KeyError, TypeError):
        return None


def seconds(at: str | float) -> float:
    """Epoch seconds of either form. Raises ValueError."""
    return datetime.fromisoformat(at).timestamp() if isinstance(at, str) else at


def cost(event: dict[str, Any]) -> float:
    """Dollars; 0 where the event has no cost."""
    return float(event.get("cost_usd") or 0)


class Task:
    """What the benchmark asks for, and the times it wants to know."""

    def __init__(self) -> None:
        self.bootstrap = os.environ["TIDEGATE_KAFKA__BOOTSTRAP_SERVERS"]
        self.topic = os.environ["BENCH_TOPIC"]
        self.name = os.environ["BENCH_NAME"]  # of the group, the application and the output topic
        self.records = int(os.environ["BENCH_RECORDS"])
        self._began = self._cpu = 0.0

    def begins(self) -> None:
        """Call it with the first record."""
        self._began, self._cpu = time.monotonic(), time.process_time()

    def ended(self) -> None:
        """Call it when everything is flushed and committed."""
        report = {
            "began": self._began,
            "ended": time.monotonic(),
            "cpu_s": time.process_time() - self._cpu,
            "records": self.records,
        }
        assert sys.__stdout__ is not None  # Faust sends sys.stdout to its log
        sys.__stdout__.write(json.dumps(report) + "\n")
        sys.__stdout__.flush()
