"""What one workflow, or watched scope, did in one 10 s bucket: sums as they grow, a rollup when drained."""

from __future__ import annotations

from typing import Any, Final

import orjson

from schemas.rollups import (
    BUCKET_SECONDS,
    DIMENSIONS,
    MAX_LIVE_TRACES,
    MAX_PRICE_FAULTS,
    PriceFaultKind,
    Rollup,
    scope_key,
    scope_name,
)
from service.ingest.call import Call
from service.ingest.instant import instant
from service.ingest.price import Priced
from service.ingest.share import Share, Trace, as_text, breakdown, left_out, live, ranked, sketch, sums_by

_CUSTOMER: Final = DIMENSIONS.index("customer")
_TEAM: Final = DIMENSIONS.index("team")
_UNLABELLED: Final[list[dict[str, Share]]] = [{} for _ in DIMENSIONS]
_validated: Final = Rollup.__pydantic_validator__.validate_python

_SUMS: Final = (
    "errors",
    "charges",
    "charge_nanos",
    "unpriced_calls",
    "unpriced_tokens",
    "estimated_cost_nanos",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "reference_cost_nanos",
    "reference_output_nanos",
    "untraced_calls",
    "late",
    "duplicates",
)


_Label = tuple[str, str, str | None, str | None, str | None, str | None, str | None]


class Delta:
    """Sums over the events of one workflow and bucket since the last drain. Money is integer nano-dollars.

    Charges that are no calls count as money, by label too, and as nothing else: a month of seats must not look
    like one very dear call.

    Parameters
    ----------
    workflow : str
        Also the key of its record. Of a scope its key, which no workflow can be called.
    scope : (kind, value) or None
        Given: the calls are counted here a second time, whatever their workflows.
    """

    __slots__ = (
        "bucket",
        "cached_input_tokens",
        "calls",
        "charge_nanos",
        "charged",
        "charges",
        "cost_nanos",
        "duplicates",
        "errors",
        "estimated_cost_nanos",
        "faults",
        "first_offset",
        "input_tokens",
        "labels",
        "last_at",
        "last_offset",
        "late",
        "output_tokens",
        "partition",
        "reasoning_tokens",
        "reference_cost_nanos",
        "reference_output_nanos",
        "scope",
        "traces",
        "unpriced",
        "unpriced_calls",
        "unpriced_tokens",
        "untraced_calls",
        "workflow",
    )

    def __init__(
        self,
        partition: int,
        workflow: str,
        bucket: int,
        at: int,
        offset: int,
        scope: tuple[str, str] | None = None,
    ) -> None:
        self.partition = partition
        self.workflow = workflow
        self.scope = scope
        self.bucket = bucket
        self.first_offset = offset
        self.last_offset = offset
        self.last_at = at
        self.calls = 0
        self.charges = 0
        self.errors = 0
        self.cost_nanos = 0
        self.charge_nanos = 0
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
        self.duplicates = 0
        self.traces: dict[str, Trace] = {}
        self.labels: dict[tuple[str | None, ...], Share] = {}
        self.faults: dict[tuple[PriceFaultKind, str, str], Share] = {}
        # By trace, for `trace_costs`; both are rare.
        self.charged: dict[str, int] | None = None
        self.unpriced: dict[str, int] | None = None

    @classmethod
    def of_scope(cls, partition: int, kind: str, value: str, bucket: int, at: int, offset: int) -> Delta:
        """An empty delta of a scope."""
        return cls(partition, scope_key(kind, value), bucket, at, offset, (kind, value))

    def notice(self, call: Call, cost_nanos: int, offset: int) -> None:
        """Count that there was a call, and its cost: a tenth of what `add` takes."""
        self.calls += 1
        self.cost_nanos += cost_nanos
        self.last_offset = offset
        if call.at > self.last_at:
            self.last_at = call.at
        if call.status == "error":
            self.errors += 1

    def spend(self, call: Call, cost_nanos: int | None, offset: int) -> None:
        """Count what a call or charge cost, in money and tokens, and nothing of what it was like.

        `cost_nanos`: None where nobody knows its price.
        """
        self.last_offset = offset
        if call.at > self.last_at:
            self.last_at = call.at
        cost = cost_nanos or 0
        self.cost_nanos += cost
        if call.charge is not None:
            self.charges += 1
            self.charge_nanos += cost
            return
        self.calls += 1
        self.input_tokens += call.input_tokens
        self.output_tokens += call.output_tokens
        if call.status == "error":
            self.errors += 1
        if cost_nanos is None:
            self.unpriced_calls += 1
            self.unpriced_tokens += call.input_tokens + call.output_tokens
        elif call.usage_source == "estimated":
            self.estimated_cost_nanos += cost

    def add(self, call: Call, priced: Priced, offset: int, whose: str | None = None) -> None:
        """Count one call; offsets come in order, event times need not.

        `whose`: its workflow, where this is the delta of a scope.
        """
        tokens_in, tokens_out = call.input_tokens, call.output_tokens
        tokens = tokens_in + tokens_out
        said, fault = priced.cost_nanos, priced.fault
        customer, model = call.customer, call.model
        self.calls += 1
        self.last_offset = offset
        if call.at > self.last_at:
            self.last_at = call.at
        if said is None:
            cost = 0
            self.unpriced_calls += 1
            self.unpriced_tokens += tokens
        else:
            cost = said
            self.cost_nanos += cost
            if call.usage_source == "estimated":
                self.estimated_cost_nanos += cost
        if call.status == "error":
            self.errors += 1
        self.input_tokens += tokens_in
        self.output_tokens += tokens_out
        self.cached_input_tokens += call.cached_input_tokens
        self.reasoning_tokens += call.reasoning_tokens
        self.reference_cost_nanos += priced.reference_cost_nanos
        self.reference_output_nanos += priced.reference_output_nanos

        trace_id = call.trace_id
        if trace_id is None:
            self.untraced_calls += 1
        else:
            trace = self.traces.get(trace_id)
            if trace is None:
                self.traces[trace_id] = Trace(cost, tokens_in, customer, model)
            else:
                trace.calls += 1
                trace.cost_nanos += cost
                if tokens_in > trace.max_input_tokens:
                    trace.max_input_tokens = tokens_in
                if customer is not None:
                    trace.customer = customer
                trace.model = model
            if said is None:
                if self.unpriced is None:
                    self.unpriced = {}
                self.unpriced[trace_id] = self.unpriced.get(trace_id, 0) + 1

        # All labels at once here, and apart only when drained: most calls share their combination.
        combination = (model, call.provider, call.team, call.feature, customer, call.api_key, whose)
        sums = self.labels.get(combination)
        if sums is None:
            self.labels[combination] = Share(1, cost, tokens)
        else:
            sums.calls += 1
            sums.cost_nanos += cost
            sums.tokens += tokens

        if fault is not None:
            self._doubt((fault, call.provider, model), tokens, cost, priced.list_nanos)

    def charge(self, charge: Call, offset: int, whose: str | None = None) -> None:
        """Count one charge that is no call. `whose` as in `add`."""
        cost = charge.cost_nanos or 0
        self.charges += 1
        self.charge_nanos += cost
        self.cost_nanos += cost
        self.last_offset = offset
        if charge.at > self.last_at:
            self.last_at = charge.at
        combination = (
            charge.model,
            charge.provider,
            charge.team,
            charge.feature,
            charge.customer,
            charge.api_key,
            whose,
        )
        self.labels.setdefault(combination, Share(0, 0, 0)).cost_nanos += cost
        trace_id = charge.trace_id
        if trace_id is not None:
            if self.charged is None:
                self.charged = {}
            self.charged[trace_id] = self.charged.get(trace_id, 0) + cost

    def _doubt(self, which: tuple[PriceFaultKind, str, str], tokens: int, cost: int, list_nanos: int) -> None:
        sums = self.faults.setdefault(which, Share(0, 0, 0))
        sums.add(1, cost, tokens)
        sums.list_nanos += list_nanos

    def trace_costs(self) -> list[dict[str, Any]]:
        """Every trace by name, as `schemas.outcomes.TraceCost` has it; what is at its default is left out."""
        charged, unpriced = self.charged or {}, self.unpriced or {}
        found: list[dict[str, Any]] = []
        for name in sorted([*self.traces, *(name for name in charged if name not in self.traces)]):
            trace = self.traces.get(name)
            cost = charged.get(name, 0)
            if trace is None:
                found.append({"trace_id": name, "cost_nanos": cost})
                continue
            told = {"trace_id": name, "cost_nanos": trace.cost_nanos + cost, "calls": trace.calls}
            if name in unpriced:
                told["unpriced_calls"] = unpriced[name]
            found.append(told)
        return found

    @property
    def starts_at(self) -> str:
        """Start of the bucket, RFC 3339."""
        return instant(self.bucket * BUCKET_SECONDS * 1_000_000)

    def rollup(self) -> Rollup:
        """The record of the rollups topic, validated."""
        rollup: Rollup = _validated(self._document())
        return rollup

    def to_json(self) -> bytes:
        """The same record's bytes without the detour; what is at its default is left out."""
        return orjson.dumps(self._document())

    def _document(self) -> dict[str, Any]:
        by_label = self._by_label() or _UNLABELLED
        document: dict[str, Any] = {
            "schema_version": 1,
            "type": "rollup",
            "workflow": self.workflow,
            "bucket_start": self.starts_at,
            "last_event_at": instant(self.last_at),
            "source": {
                "partition": self.partition,
                "first_offset": self.first_offset,
                "last_offset": self.last_offset,
            },
            "calls": self.calls,
            "cost_nanos": self.cost_nanos,
        }
        scope = self.scope
        if scope is not None:
            document["type"] = "scope"
            document["workflow"] = scope_name(*scope)
            document["scope"] = {"kind": scope[0], "value": scope[1]}
            if scope[0] == "team":
                document["team"] = scope[1]
        elif teams := by_label[_TEAM]:
            document["team"] = ranked(teams)[0][0]
        for name in _SUMS:
            if value := getattr(self, name):
                document[name] = value
        if self.traces:
            dearest = ranked(self.traces)
            document["traces"] = as_text(sketch(self.traces))
            document["live_traces"] = [live(name, trace) for name, trace in dearest[:MAX_LIVE_TRACES]]
            if len(dearest) > MAX_LIVE_TRACES:
                document["other_traces"] = left_out(dearest[MAX_LIVE_TRACES:])
        if customers := by_label[_CUSTOMER]:
            document["customers"] = as_text(sketch(customers))
        # That all of a team's calls are the team's need not be said.
        its_own = "" if scope is None else scope[0]
        document["by_dimension"] = [
            breakdown(dimension, sums)
            for dimension, sums in zip(DIMENSIONS, by_label, strict=True)
            if sums and dimension != its_own
        ]
        if self.faults:
            document["price_faults"] = self._price_faults()
        return document

    def _price_faults(self) -> list[dict[str, Any]]:
        order = sorted(self.faults.items(), key=lambda item: (-item[1].calls, item[0]))
        return [
            {
                "kind": kind,
                "provider": provider,
                "model": model,
                "calls": sums.calls,
                "tokens": sums.tokens,
                "cost_nanos": sums.cost_nanos,
                "list_nanos": sums.list_nanos,
            }
            for (kind, provider, model), sums in order[:MAX_PRICE_FAULTS]
        ]

    def _by_label(self) -> list[dict[str, Share]]:
        """Sums per value, for each dimension."""
        found: list[dict[str, Share]] = []
        for column in zip(*self.labels, strict=True):
            if column.count(column[0]) == len(column):
                # One value, as provider and team mostly have: the delta's own sums.
                tokens = self.input_tokens + self.output_tokens
                found.append(
                    {} if column[0] is None else {column[0]: Share(self.calls, self.cost_nanos, tokens)}
                )
            else:
                found.append(sums_by(column, self.labels.values()))
        return found
