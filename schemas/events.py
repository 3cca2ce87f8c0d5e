"""What gateways publish: one event per call (or metered charge), and one per business outcome."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.base import Label, Part, Positive, Record, Timestamp, Tokens, Usd

UNATTRIBUTED = "unattributed"
"""Where spend goes that names no workflow: money is never refused for want of a label."""


class Charge(Part):
    """Spend that is not a call. Its `cost_usd` must be given: no price list knows it."""

    kind: Literal["gpu_hours", "seats", "credits", "storage", "fine_tune", "embeddings", "other"]
    quantity: Positive = Field(description="how many units `cost_usd` pays for")
    unit: Label = Field(description="hour, seat, GB-month, …")


class CostEvent(Record):
    """One AI API call, or one metered charge, as a gateway reports it after it happened."""

    event_id: Label = Field(description="unique per call; a second event with the same id is dropped")
    occurred_at: Timestamp = Field(description="when the call ended")
    provider: Label = Field(description="gen_ai.provider.name: openai, anthropic, aws.bedrock, …")
    model: Label = Field(description="gen_ai.response.model, else gen_ai.request.model")
    workflow: Label | None = Field(
        None, description=f"gen_ai.workflow.name; missing becomes `{UNATTRIBUTED}`"
    )

    team: Label | None = Field(None, description="who pays")
    feature: Label | None = Field(None, description="part of the product that made the call")
    customer: Label | None = Field(None, description="on whose behalf: tenant or end customer")
    user: Label | None = Field(None, description="a pseudonym, never a name or an address")
    api_key: Label | None = Field(None, description="a name or hash of the key, never the key")
    environment: Label | None = Field(None, description="production, staging, …")
    gateway: Label | None = Field(None, description="name of the gateway process that reports")
    trace_id: Label | None = Field(None, description="one agent run or request chain; shared by its retries")
    session_id: Label | None = Field(None, description="one conversation of many traces")
    request_tags: Annotated[list[Label], Field(max_length=32)] | None = Field(
        None, description="free labels; not summed by"
    )

    input_tokens: Tokens = Field(0, description="ALL input, cache reads and writes included")
    cached_input_tokens: Tokens = Field(0, description="read from the provider's cache; inside input_tokens")
    cache_write_tokens: Tokens = Field(0, description="written to the provider's cache; inside input_tokens")
    cache_write_1h_tokens: Tokens = Field(
        0,
        description="written to live an hour, which some providers charge more for; inside cache_write_tokens",
    )
    output_tokens: Tokens = Field(0, description="ALL output, reasoning included")
    reasoning_tokens: Tokens = Field(0, description="thought, not shown; inside output_tokens")

    cost_usd: Usd | None = Field(
        None, description="what the gateway computed; null or absent = unknown, never 0 for unknown"
    )
    status: Literal["success", "error", "cancelled"] = Field(
        "success", description="an error or a cancelled stream may have cost something all the same"
    )
    attempt: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="1 for the first try of a request, 2 for its first retry, …"
    )
    latency_ms: Annotated[float, Field(ge=0, le=604_800_000, allow_inf_nan=False)] | None = Field(
        None, description="from sent to the last byte"
    )
    operation: Label | None = Field(None, description="gen_ai.operation.name: chat, embeddings, …")
    service_tier: Label | None = Field(
        None,
        description="class of service the provider billed: batch, flex, priority, …; absent = the standard one",
    )
    usage_source: Literal["reported", "estimated"] = Field(
        "reported", description="estimated: counted by the gateway, as after a stream that was cancelled"
    )
    charge: Charge | None = Field(None, description="spend that is not a call, with `cost_usd`")

    @model_validator(mode="after")
    def _parts_fit_their_wholes(self) -> Self:
        if self.cached_input_tokens + self.cache_write_tokens > self.input_tokens:
            raise PydanticCustomError(
                "cached_exceeds_input", "cached_input_tokens + cache_write_tokens exceed input_tokens"
            )
        if self.cache_write_1h_tokens > self.cache_write_tokens:
            raise PydanticCustomError(
                "cached_exceeds_input", "cache_write_1h_tokens exceed cache_write_tokens"
            )
        if self.reasoning_tokens > self.output_tokens:
            raise PydanticCustomError("reasoning_exceeds_output", "reasoning_tokens exceed output_tokens")
        if self.charge is not None and self.cost_usd is None:
            raise PydanticCustomError("charge_without_cost", "a charge needs cost_usd")
        return self


class Outcome(Record):
    """Something of business value that a trace brought about: a ticket resolved, a document processed."""

    outcome_id: Label = Field(description="unique per outcome; a second one with the same id is dropped")
    occurred_at: Timestamp
    trace_id: Label = Field(description="the `trace_id` of the calls that brought it about")
    workflow: Label | None = Field(
        None, description="whose outcome it is; absent = the one in which the trace has spent most"
    )
    customer: Label | None = None
    kind: Label = Field(description="ticket_resolved, document_processed, …")
    quantity: Positive = Field(1.0, description="how many")
