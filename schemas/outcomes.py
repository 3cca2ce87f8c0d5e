"""What outcomes cost: the calls of traces as ingest tells them, and the sums per workflow and kind of outcome."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from schemas.base import MAX_INT, Count, Label, Nanos, Part, Record, Timestamp
from schemas.rollups import Source

MAX_TRACE_COSTS: Final = 200
"""Traces in one record; a delta with more becomes several records."""

Change = Annotated[int, Field(ge=-MAX_INT, le=MAX_INT)]
"""By how much a sum grows; below 0 it is taken back."""


class TraceCost(Part):
    """What one trace added within a delta."""

    trace_id: Label
    cost_nanos: Nanos = Field(description="of calls and charges")
    calls: Count = Field(0, description="charges are not calls")
    unpriced_calls: Count = Field(
        0, description="calls whose price nobody knows; in `calls`, with a cost of 0"
    )


class TraceCosts(Record):
    """Every trace of one delta, with what it cost exactly: the calls of a rollup once more, by trace.

    Written in the transaction that writes the rollup. Internal: what is made of it is an `OutcomeRollup`.
    """

    max_bytes: ClassVar[int] = 262_144

    workflow: Label
    bucket_start: Timestamp
    source: Source
    traces: Annotated[list[TraceCost], Field(min_length=1, max_length=MAX_TRACE_COSTS)]


class OutcomeRollup(Record):
    """By how much the outcomes of one workflow, kind and 10 s bucket, and what they cost, have grown.

    Records add up: whoever sums them all has how many outcomes there are and what their traces cost. Late calls,
    and outcomes of a trace that has been told already, come as corrections, which may be below 0. Its money is in
    the rollups of calls as well: leave this type out of any sum of spend.
    """

    type: Literal["outcome"] = "outcome"
    workflow: Label = Field(
        description="the outcome's; where it names none, the one in which its trace has spent most"
    )
    kind: Label
    bucket_start: Timestamp = Field(description="of the outcome's occurred_at")
    outcomes: Change = 0
    quantity_thousandths: Change = Field(0, description="sum of `quantity`, each rounded to thousandths")
    unmatched: Change = Field(
        0, description="outcomes of whose trace no call has been seen yet; in `outcomes`, with a cost of 0"
    )
    traces: Change = Field(
        0, description="traces that led to outcomes; one with several is counted with its earliest"
    )
    cost_nanos: Change = Field(
        0, description="nano-dollars, 1e-9 USD: a trace's cost in equal parts over its outcomes"
    )
    calls: Change = Field(0, description="shared like the cost, as is `unpriced_calls`")
    unpriced_calls: Change = Field(0, description="calls whose price nobody knows: the cost is without them")
