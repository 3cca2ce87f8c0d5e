"""What detect tells gateways, and what gateways answer."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.base import Count, Label, Nanos, Part, Positive, Record, Text, Timestamp, Whole

ScopeKind = Literal[
    "workflow",
    "trace",
    "customer",
    "team",
    "api_key",
    "model",
    "feature",
    "environment",
    "organisation",
]


class Scope(Part):
    """What a command is about: calls with this label, or all there are. With `workflow` set, those within it."""

    kind: ScopeKind
    value: Label = Field(
        description="the label's exact value; of the organisation any name, for there is one"
    )
    workflow: Label | None = None

    @property
    def key(self) -> str:
        """The record key of commands about this scope."""
        inside = f"@{self.workflow}" if self.workflow and self.kind != "workflow" else ""
        named = self.kind if self.kind == "organisation" else f"{self.kind}:{self.value}"
        return f"{named}{inside}"


class Slow(Part):
    action: Literal["slow"] = "slow"
    max_rps: Positive


class Downgrade(Part):
    action: Literal["downgrade"] = "downgrade"
    fallback_model: Label


class Cap(Part):
    action: Literal["cap"] = "cap"
    max_output_tokens: Whole | None = None
    max_calls_per_trace: Whole | None = None

    @model_validator(mode="after")
    def _caps_something(self) -> Self:
        if self.max_output_tokens is None and self.max_calls_per_trace is None:
            raise PydanticCustomError("missing_field", "a cap needs max_output_tokens or max_calls_per_trace")
        return self


class Block(Part):
    """Reject with 403 or 422: SDKs retry 408, 409, 429 and 5xx by themselves, which multiplies calls."""

    action: Literal["block"] = "block"
    message: Text


class Release(Part):
    action: Literal["release"] = "release"


Action = Annotated[Slow | Downgrade | Cap | Block | Release, Field(discriminator="action")]


class ThrottleCommand(Record):
    """A limit on one scope. It always expires. Of two commands for a scope the higher `sequence` wins."""

    command_id: Label = Field(description="the same when the same command is sent twice")
    scope: Scope
    action: Action
    reason: Text = Field(description="one sentence for people")
    alert_fingerprint: Label | None = Field(None, description="the incident that caused it")
    mode: Literal["enforce", "dry_run"] = Field(
        "dry_run", description="dry_run: note what would have been done, and do nothing"
    )
    issued_at: Timestamp
    expires_at: Timestamp = Field(description="later than issued_at; from then on it does not hold")
    sequence: Count = Field(description="order among the commands for this scope: the highest wins")
    config_version: Label | None = None

    @model_validator(mode="after")
    def _expires_after_issue(self) -> Self:
        if self.expires_at <= self.issued_at:
            raise PydanticCustomError("out_of_range", "expires_at must be later than issued_at")
        return self


class ThrottleAck(Record):
    """A gateway's answer to one command."""

    command_id: Label
    gateway: Label = Field(description="the name that this gateway puts into its cost events")
    result: Literal["applied", "ignored", "expired", "unsupported", "failed"]
    detail: Text | None = Field(None, description="one sentence for people")
    acked_at: Timestamp


ThrottleChange = Literal[
    "proposed",
    "withdrawn",
    "started",
    "stronger",
    "barred",
    "releasing",
    "faster",
    "back",
    "released",
    "rested",
    "ended",
]


class ThrottleEvent(Record):
    """What became of a scope that a rule would have throttled: the record of what was done, or not done, and why.

    In a dry run it is what would have been done, and what that would have saved.
    """

    change: ThrottleChange = Field(
        description="proposed: waits for a yes; withdrawn: over before the answer; barred: not throttled; stronger:"
        " the next step; releasing, faster: on the way back to the usual rate; back: the incident came back;"
        " released; rested: released at its longest while the incident goes on; ended: at once, from outside"
    )
    scope: Scope
    action: Label = Field(description="in force from now on; release = nothing")
    mode: Literal["enforce", "dry_run"]
    rule: Label = Field(description="name of the rule")
    alert_fingerprint: Label = Field(description="the incident that caused it")
    workflow: Label = Field(description="of the incident")
    team: Label | None = None
    at: Timestamp
    since: Timestamp = Field(description="when it was throttled, or first wanted to be")
    why: Text | None = Field(None, description="barred and rested: one word; ended: one sentence")
    spared_nanos: Nanos = Field(0, description="dry run: dollars that would not have been spent so far")
    proposal: Label = Field(description="what an approval record names: of this scope, incident and rule")
    config_version: Label
