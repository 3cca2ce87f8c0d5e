"""What detect says to people: the present state of one incident, with why."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from schemas.base import Count, Label, Nanos, Part, Record, Text, Timestamp
from schemas.rollups import Dimension, Watched

Kind = Literal[
    "retry_loop",
    "context_growth",
    "output_growth",
    "dearer_calls",
    "cache_collapse",
    "runaway_trace",
    "new_customer",
    "new_api_key",
    "cost_per_trace",
    "creep",
    "unusual_pattern",
    "budget_pace",
    "budget_exhausted",
    "launch",
    "data_quality",
    "throttle",
]
Severity = Literal["info", "warning", "critical"]
"""info = a notice, warning = a ticket, critical = a page."""
Status = Literal["pending", "firing", "resolved"]
Factor = Literal[
    "traces",
    "calls_per_trace",
    "input_per_call",
    "output_per_call",
    "price",
    "cost_per_trace",
    "calls",
    "cost",
]


BUDGET_DETECTORS: Final = "budget."
"""What the detectors of alerts about budget records begin with: `budget.pace`, `budget.hard`."""


class Driver(Part):
    """One factor's share of the change in spend. The shares of an alert's drivers add up to the change."""

    factor: Factor
    share_nanos: Nanos = Field(description="dollars of the change that this factor explains, may be negative")
    before: float = Field(allow_inf_nan=False)
    after: float = Field(allow_inf_nan=False)


class TraceEvidence(Part):
    trace_id: Label
    calls: Count
    cost_nanos: Nanos
    max_input_tokens: Count = 0
    started_at: Timestamp
    customer: Label | None = None
    model: Label | None = None


class DimensionEvidence(Part):
    """One label that holds much of the spend while the incident runs."""

    dimension: Dimension
    value: Label
    calls: Count
    cost_nanos: Nanos
    share: Annotated[float, Field(ge=0, le=1)] = Field(description="of the workflow's spend in the same time")
    usual_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="what `share` usually is; null while that is not known"
    )
    excess_share: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None,
        description="of the excess, where this value is one of the few that explain it; above 1 where others spend"
        " less than usual; null for those that only spend much",
    )


class Evidence(Part):
    traces: Annotated[list[TraceEvidence], Field(max_length=10)] = []
    top: Annotated[list[DimensionEvidence], Field(max_length=20)] = Field(
        [], description="those that explain the excess first, then the dearest of each dimension"
    )


class Verdict(Part):
    """The numbers of the detector that spoke, so that the decision can be checked from the record."""

    detector: Label
    score: float = Field(allow_inf_nan=False)
    threshold: float = Field(allow_inf_nan=False)


class Alert(Record):
    """The present state of one incident. Level-triggered: sent again while it fires, once when resolved."""

    max_bytes: ClassVar[int] = 131_072

    fingerprint: Label = Field(
        description="hash of workflow, kind and the incident's start: one per incident"
    )
    status: Status
    severity: Severity
    kind: Kind
    workflow: Label = Field(description="where `scope` is given: what people call the scope")
    scope: Watched | None = Field(
        None,
        description="what it is about when it is not one workflow; its calls are those of workflows, too",
    )
    team: Label | None = None
    budget: Label | None = Field(None, description="name of the budget record it is about")
    started_at: Timestamp = Field(description="when the behaviour began, event time")
    fired_at: Timestamp | None = Field(None, description="when it was first told, event time")
    updated_at: Timestamp
    resolved_at: Timestamp | None = None
    last_seen_at: Timestamp | None = Field(
        None, description="when money was last spent in this way; null = as of this record it goes on"
    )
    sequence: Count = Field(description="grows by one with each record of this fingerprint")
    summary: Text = Field(description="one sentence that says what, how much, since when and why")
    cost_nanos: Nanos = Field(
        description="spent on calls since started_at, without charges; of a budget: spent in its window, charges"
        " included, and 0 if it is in tokens"
    )
    expected_nanos: Nanos = Field(
        description="what the calls of the same time would usually have cost; of a budget: its limit, or for its"
        " pace what should have been spent by now"
    )
    excess_nanos: Nanos
    projected_nanos: Nanos = Field(
        description="spend of the UTC day, charges included, if this goes on to its end; of a budget: of its window"
    )
    projected_month_nanos: Nanos | None = Field(
        None, description="spend of the UTC month, charges included, if this goes on to its end"
    )
    drivers: Annotated[list[Driver], Field(max_length=10)] = []
    evidence: Evidence = Evidence()
    verdict: Verdict
    config_version: Label
    usual_calls_per_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None,
        description="that the usual spend comes to: a throttle's release goes back to it; null = not known",
    )
    blames_traces: bool = Field(
        False,
        description="it is traces, also where the evidence names none any more: nothing wider pays for it",
    )

    @property
    def of_budget(self) -> bool:
        """Whether it is about a budget record, and not about what somebody's calls are like."""
        return self.verdict.detector.startswith(BUDGET_DETECTORS)

    @property
    def pages(self) -> bool:
        """Whether this wakes somebody."""
        return self.severity == "critical" and self.status == "firing"
