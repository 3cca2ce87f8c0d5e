"""What ingest writes: the delta of one workflow, or watched scope, in one 10 s bucket, and the passage of time."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from schemas.base import MAX_LABEL, Base64, Count, Label, Nanos, Part, Record, Timestamp, Whole

BUCKET_SECONDS: Final = 10
DIMENSIONS: Final = ("model", "provider", "team", "feature", "customer", "api_key", "workflow")
"""`workflow` only within a scope, which has many."""
SEPARATOR: Final = "\x1f"
"""Between kind and value in the key of a scope. No label may have it, so no workflow is called like a scope."""
MAX_SLICES: Final = 8
"""Values named per dimension and delta; the others are summed in `rest`."""
MAX_LIVE_TRACES: Final = 16
MAX_PRICE_FAULTS: Final = 8

Dimension = Literal["model", "provider", "team", "feature", "customer", "api_key", "workflow"]
WatchKind = Literal["team", "customer", "api_key", "model", "provider", "feature", "gateway"]
FoldedKind = Literal["team", "customer", "api_key", "model", "provider", "feature", "gateway", "environment"]
"""What is folded besides workflows: what can be watched, and what can have a budget."""


def scope_key(kind: str, value: str) -> str:
    """The record key of a scope's rollups, and the key of its state in detect."""
    return f"{kind}{SEPARATOR}{value}"


def scope_name(kind: str, value: str) -> str:
    """A scope as people call it: `team payments`, `api key prod-7`. Cut to the length of a label."""
    return f"{kind.replace('_', ' ')} {value}"[:MAX_LABEL]


class Watched(Part):
    """What a rollup or an alert is about when it is not one workflow: all calls with this label."""

    kind: FoldedKind
    value: Label

    @property
    def key(self) -> str:
        return scope_key(self.kind, self.value)


Sketch = Annotated[
    Base64,
    Field(max_length=8_192),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "maxLength": 10_924}),
]
"""A HyperLogLog sketch (Apache DataSketches, lg_k = 10, compact image). Empty bytes = nothing counted."""


class Source(Part):
    """The slice of the cost-events partition that a delta was folded from, both ends included."""

    partition: Count
    first_offset: Count
    last_offset: Count


class Slice(Part):
    """One value's share of a delta along one dimension."""

    value: Label
    calls: Count
    cost_nanos: Nanos
    tokens: Count = Field(0, description="input + output")


class Rest(Part):
    """What the slices of a dimension leave out."""

    values: Count = Field(0, description="values summed here, counted within this delta")
    calls: Count = 0
    cost_nanos: Nanos = 0
    tokens: Count = 0


class Breakdown(Part):
    """The dearest values of one dimension, and the rest. Calls without the label are in neither."""

    dimension: Dimension
    top: Annotated[list[Slice], Field(max_length=MAX_SLICES)]
    rest: Rest = Rest()


class LiveTrace(Part):
    """What one trace added within a delta."""

    trace_id: Label
    calls: Count
    cost_nanos: Nanos
    max_input_tokens: Count
    customer: Label | None = None
    model: Label | None = None


class RestOfTraces(Part):
    """What `live_traces` leaves out: none of these traces added more than `max_cost_nanos` within the delta."""

    traces: Count = 0
    calls: Count = 0
    cost_nanos: Nanos = 0
    max_cost_nanos: Nanos = 0


PriceFaultKind = Literal["unpriced", "zero_cost", "off_list", "unknown_tier"]
"""unpriced = no price at all; zero_cost = the gateway says 0 for tokens that cost something; off_list = its cost is
far from the list price; unknown_tier = priced as standard service for want of the tier's own price."""


class PriceFault(Part):
    """Calls of one model whose cost is missing or hard to believe."""

    kind: PriceFaultKind
    provider: Label
    model: Label
    calls: Count
    tokens: Count = Field(0, description="input + output")
    cost_nanos: Nanos = Field(0, description="as counted")
    list_nanos: Nanos = Field(0, description="what the list price would have made it; 0 when there is none")


class Rollup(Record):
    """Delta of one workflow in one 10 s bucket. Deltas add up: a bucket is the sum of its rollups.

    One of type `scope` counts calls a second time, across workflows: leave it out of any sum of spend.
    """

    max_bytes: ClassVar[int] = 147_456

    type: Literal["rollup", "scope"] = "rollup"
    workflow: Label = Field(description="of type `scope`: what people call the scope")
    scope: Watched | None = Field(None, description="of type `scope`, and only there")
    team: Label | None = None
    bucket_start: Timestamp
    last_event_at: Timestamp | None = Field(None, description="latest occurred_at among the calls")
    source: Source
    calls: Count = Field(description="charges are not calls")
    errors: Count = 0
    cost_nanos: Nanos = Field(description="of calls and charges")
    charges: Count = Field(0, description="metered charges that are not calls: seats, GPU hours, storage, …")
    charge_nanos: Nanos = Field(0, description="share of cost_nanos that is charges")
    unpriced_calls: Count = 0
    unpriced_tokens: Count = 0
    estimated_cost_nanos: Nanos = Field(0, description="share of cost_nanos whose usage was estimated")
    input_tokens: Count = 0
    cached_input_tokens: Count = 0
    output_tokens: Count = 0
    reasoning_tokens: Count = 0
    reference_cost_nanos: Nanos = Field(
        0, description="list price of all tokens as if nothing was cached: the price factor's denominator"
    )
    reference_output_nanos: Count = Field(0, description="share of reference_cost_nanos that is output")
    untraced_calls: Count = Field(0, description="calls without a trace_id, each a trace of its own")
    traces: Sketch = b""
    customers: Sketch = b""
    by_dimension: Annotated[list[Breakdown], Field(max_length=len(DIMENSIONS))] = []
    live_traces: Annotated[list[LiveTrace], Field(max_length=MAX_LIVE_TRACES)] = []
    other_traces: RestOfTraces = RestOfTraces()
    price_faults: Annotated[list[PriceFault], Field(max_length=MAX_PRICE_FAULTS)] = Field(
        [], description="the ones with the most calls"
    )
    late: Count = Field(0, description="calls behind the watermark when they were folded")
    duplicates: Count = Field(0, description="dropped: their event_id had been seen; not in `calls`")

    @property
    def key(self) -> str:
        """Whose delta it is: the workflow, or a scope's key, which no workflow can be called."""
        return self.workflow if self.scope is None else self.scope.key

    @model_validator(mode="after")
    def _of_one_type(self) -> Self:
        if (self.scope is None) == (self.type == "scope"):
            raise PydanticCustomError(
                "invalid_value", "type is `scope` where there is a scope, and only there"
            )
        return self


class Tick(Record):
    """A source partition's watermark, sent to every rollups partition: time passes where no calls do."""

    type: Literal["tick"] = "tick"
    partition: Count
    partitions: Whole = Field(description="how many source partitions there are")
    watermark: Timestamp
    idle: bool = False
