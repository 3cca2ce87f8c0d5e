"""Rollups of one workflow, as ingest writes them, from what its traces did; and days full of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import datasketches

from schemas.rollups import MAX_LIVE_TRACES, MAX_SLICES, Rollup, Tick
from service.detect.state import WorkflowState
from service.detect.step import Effects, Moment, step
from service.rules.config import ConfigBook

T0 = 1_767_225_600  # 2026-01-01, a midnight
BUCKET = 10
BOOK = ConfigBook.empty()
NAMES = {"model": "model", "customer": "customer", "api_key": "key"}


@dataclass(frozen=True)
class Doing:
    """What one trace did within one delta. Money in nano-dollars."""

    trace: str | None
    calls: int = 1
    cost: int = 10_000_000
    context: int = 2_000
    customer: str | None = None
    model: str | None = "gpt-5"
    key: str | None = None


def sketch(ids: Iterable[str]) -> bytes:
    found = datasketches.hll_sketch(10, datasketches.tgt_hll_type.HLL_4)
    empty = True
    for name in ids:
        found.update(name)
        empty = False
    return b"" if empty else bytes(found.serialize_compact())


def at(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


def rollup(
    start: int,
    doings: Iterable[Doing],
    *,
    workflow: str = "support-agent",
    last: float | None = None,
    **more: Any,
) -> Rollup:
    """One delta of the bucket at `start` (epoch seconds)."""
    doings = list(doings)
    traced = sorted((d for d in doings if d.trace is not None), key=lambda d: (-d.cost, d.trace or ""))
    others = traced[MAX_LIVE_TRACES:]
    calls = sum(d.calls for d in doings)
    fields: dict[str, Any] = {
        "workflow": workflow,
        "bucket_start": at(start),
        "last_event_at": at(start + 9.0 if last is None else last),
        "source": {"partition": 0, "first_offset": 0, "last_offset": max(calls - 1, 0)},
        "calls": calls,
        "cost_nanos": sum(d.cost for d in doings),
        "input_tokens": sum(d.context * d.calls for d in doings),
        "output_tokens": 300 * calls,
        "reference_cost_nanos": sum(d.cost for d in doings),
        "reference_output_nanos": sum(d.cost for d in doings) // 3,
        "untraced_calls": sum(d.calls for d in doings if d.trace is None),
        "traces": sketch(d.trace for d in traced if d.trace is not None),
        "customers": sketch(d.customer for d in doings if d.customer is not None),
        "by_dimension": [b for name, of in NAMES.items() if (b := _breakdown(name, of, doings))],
        "live_traces": [
            {
                "trace_id": d.trace,
                "calls": d.calls,
                "cost_nanos": d.cost,
                "max_input_tokens": d.context,
                "customer": d.customer,
                "model": d.model,
            }
            for d in traced[:MAX_LIVE_TRACES]
        ],
        "other_traces": {
            "traces": len(others),
            "calls": sum(d.calls for d in others),
            "cost_nanos": sum(d.cost for d in others),
            "max_cost_nanos": max((d.cost for d in others), default=0),
        },
    }
    return Rollup.model_validate(fields | more)


def _breakdown(dimension: str, of: str, doings: list[Doing]) -> dict[str, Any] | None:
    calls: Counter[str] = Counter()
    cost: Counter[str] = Counter()
    for doing in doings:
        value = getattr(doing, of)
        if value is not None:
            calls[value] += doing.calls
            cost[value] += doing.cost
    if not calls:
        return None
    ranked = sorted(calls, key=lambda value: (-cost[value], value))
    rest = ranked[MAX_SLICES:]
    return {
        "dimension": dimension,
        "top": [{"value": v, "calls": calls[v], "cost_nanos": cost[v]} for v in ranked[:MAX_SLICES]],
        "rest": {
            "values": len(rest),
            "calls": sum(calls[v] for v in rest),
            "cost_nanos": sum(cost[v] for v in rest),
        },
    }


def charged(rollup_: Rollup, nanos: int, **labels: str) -> Rollup:
    """The same delta with a charge in it that is no call, as ingest counts one."""
    fields = rollup_.model_dump()
    fields["charges"] += 1
    fields["charge_nanos"] += nanos
    fields["cost_nanos"] += nanos
    for dimension, value in labels.items():
        breakdown = next((b for b in fields["by_dimension"] if b["dimension"] == dimension), None)
        if breakdown is None:
            breakdown = {"dimension": dimension, "top": []}
            fields["by_dimension"].append(breakdown)
        slice_ = next((s for s in breakdown["top"] if s["value"] == value), None)
        if slice_ is None:
            slice_ = {"value": value, "calls": 0, "cost_nanos": 0}
            breakdown["top"].append(slice_)
        slice_["cost_nanos"] += nanos
        breakdown["top"].sort(key=lambda s: (-s["cost_nanos"], -s["calls"], s["value"]))
    return Rollup.model_validate(fields)


def tick(watermark: float, *, partition: int = 0, partitions: int = 1, idle: bool = False) -> Tick:
    return Tick(partition=partition, partitions=partitions, watermark=at(watermark), idle=idle)


@dataclass
class Traffic:
    """A workflow whose traces live some buckets and make some calls in each.

    Attributes
    ----------
    starts : float
        Traces that start per bucket, on average.
    cost : int
        Nano-dollars of a call, on average; log-normal with `sigma`.
    """

    starts: float = 2.0
    lives: int = 3
    calls: int = 2
    cost: int = 5_000_000
    sigma: float = 0.6
    customers: int = 20
    seed: int = 1
    deltas: int = 2
    lag: float = 5.0
    workflow: str = "support-agent"
    _open: list[tuple[str, int, str, float]] = field(default_factory=list)
    _named: int = 0

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def bucket(self, volume: float = 1.0) -> list[Doing]:
        """What the traces do in the next bucket."""
        dice = self._dice
        mean = self.starts * volume
        count = int(mean) + (dice.random() < mean % 1.0)
        count = max(0, round(dice.gauss(count, count**0.5)))
        for _ in range(count):
            self._named += 1
            whose = f"customer-{min(int(dice.paretovariate(1.2)), self.customers)}"
            name = f"tr-{self.seed}-{self._named:06d}"
            self._open.append(
                (name, dice.randint(1, self.lives), whose, dice.lognormvariate(0.0, self.sigma))
            )
        doings = []
        for name, left, whose, dear in self._open:
            calls = dice.randint(1, self.calls)
            cost = round(self.cost * dear * calls * dice.uniform(0.8, 1.2))
            doings.append(Doing(name, calls, cost, dice.randint(500, 4_000), whose, key=f"key-{whose[-1]}"))
            del left
        self._open = [(n, left - 1, w, d) for n, left, w, d in self._open if left > 1]
        return doings

    def records(
        self, start: int, buckets: int, *, volume: float = 1.0, extra: Iterable[list[Doing]] = ()
    ) -> Iterator[Rollup | Moment]:
        """Rollups of each bucket, then the moment `lag` seconds behind its end.

        `extra` adds to each bucket's first delta, for as long as there is some.
        """
        more = iter(extra)
        for i in range(buckets):
            begins = start + i * BUCKET
            doings = [*next(more, []), *self.bucket(volume)]
            for part in range(self.deltas):
                mine = doings[part :: self.deltas]
                if mine:
                    last = begins + BUCKET * (part + 1) / self.deltas - 0.25
                    yield rollup(begins, mine, workflow=self.workflow, last=last)
            yield Moment(begins + BUCKET - self.lag)


def played(
    state: WorkflowState, records: Iterable[Rollup | Moment], book: ConfigBook = BOOK
) -> list[tuple[float, Effects]]:
    """Apply records; effects with the state's time at which each came."""
    found = []
    for record in records:
        effects = step(state, record, book)
        if effects:
            found.append((state.now, effects))
    return found


def alone(name: str, **fields: Any) -> Doing:
    return replace(Doing(name), **fields)
