"""The usual traffic of the demo's workflows, in event time: pure, endless, and the same for the same seed."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from itertools import accumulate, count
from typing import Final

from service.demo.call import Call
from service.demo.traces import Row
from service.demo.workflows import Workflow

_DAY_S: Final = 86_400.0
_LEAST_OF_PEAK: Final = 0.4
_ZIPF: Final = 1.1
_ERRORS: Final = 0.008
"""Calls that fail without a token; each is tried again, as a run's next call."""
_CANCELLED: Final = 0.004
"""Calls whose client hung up: usage is estimated."""


def diurnal(at: float, busiest: float) -> float:
    """Traffic at an instant as a share of the busiest hour's, 0.4 to 1. Both in epoch seconds."""
    middle = (1.0 + _LEAST_OF_PEAK) / 2
    return middle + (1.0 - middle) * math.cos(2 * math.pi * (at - busiest) / _DAY_S)


class Customers:
    """Customers of a workflow, a few large and many small (Zipf)."""

    def __init__(self, workflow: Workflow) -> None:
        self._names = [f"{workflow.team}-{n:03d}" for n in range(1, workflow.customers + 1)]
        self._weights = list(accumulate(1.0 / n**_ZIPF for n in range(1, workflow.customers + 1)))

    def pick(self, rng: random.Random) -> str:
        return rng.choices(self._names, cum_weights=self._weights)[0]


class RunMaker:
    """Makes agent runs of one workflow: a handful of consecutive calls of the recorded trace, one trace id."""

    def __init__(self, workflow: Workflow, rng: random.Random, label: str) -> None:
        """`label` goes into the trace ids, so that two makers' runs never share one."""
        self.workflow = workflow
        self.rows = workflow.rows
        self._rng = rng
        self._label = label
        self._numbers = count(1)
        self._lengths = list(accumulate(workflow.runs))
        self._models = [(provider, model) for provider, model, _ in workflow.models]
        self._weights = list(accumulate(weight for _, _, weight in workflow.models))

    def run(self, at: float, row: int, customer: str, injection: str | None = None) -> list[Call]:
        """The calls of a run that starts at `at` with the given row, in order of time."""
        rng, workflow = self._rng, self.workflow
        trace_id = f"{workflow.name}-{self._label}{next(self._numbers):06x}"
        session = f"{customer}-{int(at) // 1_800:x}"
        provider, model = rng.choices(self._models, cum_weights=self._weights)[0]
        feature = rng.choice(workflow.features)
        length = 1 + rng.choices(range(len(workflow.runs)), cum_weights=self._lengths)[0]
        calls: list[Call] = []
        attempt = 1
        while len(calls) < length:
            recorded = self.rows[(row + len(calls)) % len(self.rows)]
            call = Call(
                at=at,
                workflow=workflow.name,
                team=workflow.team,
                feature=feature,
                customer=customer,
                api_key=f"key-{workflow.name}-{feature}",
                gateway=workflow.gateway,
                provider=provider,
                model=model,
                trace_id=trace_id,
                session_id=session,
                tokens_in=recorded.tokens_in,
                tokens_out=recorded.tokens_out,
                cached=recorded.cached,
                attempt=attempt,
                priced=workflow.prices,
                injection=injection,
            )
            _spoil(call, rng)
            attempt = attempt + 1 if call.status == "error" else 1
            calls.append(call)
            at += rng.expovariate(1.0 / workflow.step_s) + 0.2
        return calls


def _spoil(call: Call, rng: random.Random) -> None:
    draw = rng.random()
    if draw < _ERRORS:
        call.status, call.tokens_in, call.tokens_out, call.cached = "error", 0, 0, 0
    elif draw < _ERRORS + _CANCELLED:
        call.status, call.tokens_out = "cancelled", max(1, call.tokens_out // 3)


def usual_calls(workflow: Workflow, seed: int, start: float, busiest: float) -> Iterator[Call]:
    """All calls of one workflow from `start` on, in order of time, without end.

    Runs start when the recorded calls did: the hour that was recorded is played again and again at its own
    speed, bursts and lulls included, and thinned at random to the workflow's volume and the time of day.
    """
    rng = random.Random(f"{seed}:{workflow.name}")
    maker, customers = RunMaker(workflow, rng, ""), Customers(workflow)
    pending: list[tuple[float, int, Call]] = []
    order = count()
    for at, row, keep in _arrivals(workflow, start):
        if rng.random() >= keep * diurnal(at, busiest):
            continue
        while pending and pending[0][0] <= at:
            yield heapq.heappop(pending)[2]
        for call in maker.run(at, row, customers.pick(rng)):
            heapq.heappush(pending, (call.at, next(order), call))


def _arrivals(workflow: Workflow, start: float) -> Iterator[tuple[float, int, float]]:
    """(instant, row, share to keep at the busiest hour) of each recorded call, hour after hour."""
    rows: tuple[Row, ...] = workflow.rows
    # The recording's own silence before its first call is not played: it would be an hourly outage.
    first = rows[0].at
    period = (rows[-1].at - first) * (len(rows) + 1) / len(rows)
    keep = workflow.calls_per_s / workflow.calls_per_run * period / len(rows)
    for hour in count():
        for index, row in enumerate(rows):
            yield start + hour * period + row.at - first, index, keep
