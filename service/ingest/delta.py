"""What one workflow did in one 10 s bucket: sums as they grow, a rollup when they are drained."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from datasketches import hll_sketch

from schemas.events import CostEvent
from schemas.rollups import BUCKET_SECONDS, DIMENSIONS, MAX_LIVE_TRACES, MAX_SLICES, Rollup
from service.ingest.price import Priced

LG_K: Final = 10
"""HyperLogLog with 1,024 registers: relative standard error 3.2 %, at most about 600 bytes."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CUSTOMER: Final = DIMENSIONS.index("customer")
_TEAM: Final = DIMENSIONS.index("team")
_validated: Final = Rollup.__pydantic_validator__.validate_python

# One trace within a delta, and one combination of labels: plain lists, they are touched once per event.
_CALLS, _COST, _CONTEXT, _WHOSE, _MODEL = range(5)
_TOKENS = 2


class Delta:
    """Sums over the events of one workflow and bucket since the last drain. Money is integer nano-dollars."""

    __slots__ = (
        "bucket",
        "cached_input_tokens",
        "calls",
        "cost_nanos",
        "errors",
        "estimated_cost_nanos",
        "first_offset",
        "input_tokens",
        "labels",
        "last_event_at",
        "last_offset",
        "late",
        "output_tokens",
        "reasoning_tokens",
        "reference_cost_nanos",
        "reference_output_nanos",
        "traces",
        "unpriced_calls",
        "unpriced_tokens",
        "untraced_calls",
        "workflow",
    )

    def __init__(self, workflow: str, bucket: int, event: CostEvent, offset: int) -> None:
        self.workflow = workflow
        self.bucket = bucket
        self.first_offset = offset
        self.last_offset = offset
        self.last_event_at = event.occurred_at
        self.calls = 0
        self.errors = 0
        self.cost_nanos = 0
        self.unpriced_calls = 0
        self.unpriced_tokens = 0
        self.estimated_cost_nanos = 0
        self.input_tokens = 0
        self.cached_input_tokens = 0
        self.output_tokens = 0
        self.reasoning_tokens = 0
        self.reference_cost_nanos = 0
        self.reference_output_nanos = 0
        self.untraced_calls = 0
        self.late = 0
        self.traces: dict[str, list[Any]] = {}
        self.labels: dict[tuple[str | None, ...], list[int]] = {}

    def add(self, event: CostEvent, priced: Priced, offset: int) -> None:
        """Count one event; offsets come in order, event times need not."""
        tokens_in, tokens_out = event.input_tokens, event.output_tokens
        cost = priced.cost_nanos
        self.calls += 1
        self.last_offset = offset
        if event.occurred_at > self.last_event_at:
            self.last_event_at = event.occurred_at
        if cost is None:
            cost = 0
            self.unpriced_calls += 1
            self.unpriced_tokens += tokens_in + tokens_out
        else:
            self.cost_nanos += cost
            if event.usage_source == "estimated":
                self.estimated_cost_nanos += cost
        if event.status == "error":
            self.errors += 1
        self.input_tokens += tokens_in
        self.output_tokens += tokens_out
        self.cached_input_tokens += event.cached_input_tokens
        self.reasoning_tokens += event.reasoning_tokens
        self.reference_cost_nanos += priced.reference_cost_nanos
        self.reference_output_nanos += priced.reference_output_nanos

        trace_id = event.trace_id
        customer, model = event.customer, event.model
        if trace_id is None:
            self.untraced_calls += 1
        else:
            trace = self.traces.get(trace_id)
            if trace is None:
                self.traces[trace_id] = [1, cost, tokens_in, customer, model]
            else:
                trace[_CALLS] += 1
                trace[_COST] += cost
                if tokens_in > trace[_CONTEXT]:
                    trace[_CONTEXT] = tokens_in
                if customer is not None:
                    trace[_WHOSE] = customer
                trace[_MODEL] = model

        # All six labels at once here, and apart only when drained: most events share their combination.
        combination = (model, event.provider, event.team, event.feature, customer, event.api_key)
        sums = self.labels.get(combination)
        if sums is None:
            self.labels[combination] = [1, cost, tokens_in + tokens_out]
        else:
            sums[_CALLS] += 1
            sums[_COST] += cost
            sums[_TOKENS] += tokens_in + tokens_out

    def rollup(self, partition: int, duplicates: int) -> Rollup:
        """The record of the rollups topic, validated."""
        by_label = self._by_label()
        rollup: Rollup = _validated(
            {
                "workflow": self.workflow,
                "team": next((team for team, _ in _ranked(by_label[_TEAM])), None),
                "bucket_start": EPOCH + timedelta(seconds=self.bucket * BUCKET_SECONDS),
                "last_event_at": self.last_event_at,
                "source": {
                    "partition": partition,
                    "first_offset": self.first_offset,
                    "last_offset": self.last_offset,
                },
                "calls": self.calls,
                "errors": self.errors,
                "cost_nanos": self.cost_nanos,
                "unpriced_calls": self.unpriced_calls,
                "unpriced_tokens": self.unpriced_tokens,
                "estimated_cost_nanos": self.estimated_cost_nanos,
                "input_tokens": self.input_tokens,
                "cached_input_tokens": self.cached_input_tokens,
                "output_tokens": self.output_tokens,
                "reasoning_tokens": self.reasoning_tokens,
                "reference_cost_nanos": self.reference_cost_nanos,
                "reference_output_nanos": self.reference_output_nanos,
                "untraced_calls": self.untraced_calls,
                "traces": sketch(self.traces),
                "customers": sketch(by_label[_CUSTOMER]),
                "by_dimension": [
                    _breakdown(dimension, sums)
                    for dimension, sums in zip(DIMENSIONS, by_label, strict=True)
                    if sums
                ],
                "live_traces": self._live_traces(),
                "late": self.late,
                "duplicates": duplicates,
            }
        )
        return rollup

    def _by_label(self) -> list[dict[str, list[int]]]:
        """Sums per value, for each dimension."""
        found: list[dict[str, list[int]]] = []
        for column in zip(*self.labels, strict=True):
            if column.count(column[0]) == len(column):
                # One value, as provider and team mostly have: the delta's own sums.
                tokens = self.input_tokens + self.output_tokens
                found.append({} if column[0] is None else {column[0]: [self.calls, self.cost_nanos, tokens]})
            else:
                found.append(_sums(column, self.labels.values()))
        return found

    def _live_traces(self) -> list[dict[str, Any]]:
        """The dearest, of equally dear ones those with the most calls: where nothing has a price, calls tell."""
        return [
            {
                "trace_id": trace_id,
                "calls": trace[_CALLS],
                "cost_nanos": trace[_COST],
                "max_input_tokens": trace[_CONTEXT],
                "customer": trace[_WHOSE],
                "model": trace[_MODEL],
            }
            for trace_id, trace in _ranked(self.traces)[:MAX_LIVE_TRACES]
        ]


def _sums(column: Iterable[str | None], rows: Iterable[list[int]]) -> dict[str, list[int]]:
    sums: dict[str, list[int]] = {}
    for value, row in zip(column, rows, strict=True):
        if value is None:
            continue
        known = sums.get(value)
        if known is None:
            sums[value] = row.copy()
        else:
            known[_CALLS] += row[_CALLS]
            known[_COST] += row[_COST]
            known[_TOKENS] += row[_TOKENS]
    return sums


def _breakdown(dimension: str, sums: dict[str, list[int]]) -> dict[str, Any]:
    ranked = _ranked(sums)
    rest = [s for _, s in ranked[MAX_SLICES:]]
    return {
        "dimension": dimension,
        "top": [
            {"value": value, "calls": calls, "cost_nanos": cost, "tokens": tokens}
            for value, (calls, cost, tokens) in ranked[:MAX_SLICES]
        ],
        "rest": {
            "values": len(rest),
            "calls": sum(s[_CALLS] for s in rest),
            "cost_nanos": sum(s[_COST] for s in rest),
            "tokens": sum(s[_TOKENS] for s in rest),
        },
    }


def _ranked(sums: dict[str, list[Any]]) -> list[tuple[str, list[Any]]]:
    """By falling cost, then falling calls, then name: the same order whatever the order of arrival."""
    if len(sums) < 2:
        return list(sums.items())
    order = sorted([(-each[_COST], -each[_CALLS], name) for name, each in sums.items()])
    return [(name, sums[name]) for _, _, name in order]


def sketch(values: Iterable[str]) -> bytes:
    """A HyperLogLog of distinct values as its compact image; empty bytes for none.

    Built when drained from values that are distinct already. Merging does not depend on order; a small
    sketch's bytes do (it is a list), so the values are sorted first.
    """
    distinct = sorted(values)
    if not distinct:
        return b""
    found = hll_sketch(LG_K)
    for value in distinct:
        found.update(value)
    image: bytes = found.serialize_compact()
    return image
