"""Tuning: how sensitive detection is, for everyone, a team, or workflows by name or pattern."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.alerts import Kind
from schemas.base import Label, Ratio, Timestamp, Usd
from schemas.control.record import Control, Pattern, Seconds, Spec
from schemas.feedback import Loudness, Worth

MAX_ANSWERS: Final = 16
_LAST: Final = datetime.max.replace(tzinfo=UTC) - timedelta(days=31)


class TuningScope(Spec):
    """Who a tuning is for. Order of precedence: global < team < workflow pattern < exact workflow."""

    team: Label | None = None
    workflow: Pattern | None = None

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if self.team is not None and self.workflow is not None:
            raise PydanticCustomError("invalid_value", "give a team or a workflow, not both")
        return self


class Answer(Spec):
    """What somebody said of an alert, and for how long incidents of its kind are judged and learnt by it.

    `tidegate feedback` and buttons write these; `service.rules.answers` says what each `worth` does.
    """

    fingerprint: Label = Field(description="of the alert")
    kind: Kind = Field(description="incidents of this kind, and no others, are concerned")
    worth: Worth
    author: Label
    at: Timestamp = Field(description="event time from which on it holds")
    days: Annotated[int, Field(ge=1, le=31)] = Field(description="… and for how long")
    loudness: Loudness = Field(
        1.0, description="the alert's score over its threshold: `expected` is about what is hardly louder"
    )
    cap_usd: Usd | None = Field(
        None, description="dollars over the usual that were `planned`; absent = none, only nothing is learnt"
    )

    @property
    def until(self) -> datetime:
        """From when on it does not hold any more."""
        return min(self.at, _LAST) + timedelta(days=self.days)


class TuningSettings(Spec):
    """What can be tuned. What is left out is inherited; the defaults are in `service.rules.settings`."""

    enabled: bool | None = Field(None, description="false: watch and learn, but say nothing")
    min_excess_usd: Usd | None = Field(
        None, description="no incident below this many dollars over the expected"
    )
    min_excess_minutes: Annotated[float, Field(ge=0, le=1_440)] | None = Field(
        None, description="… nor below this many minutes of the workflow's normal spend"
    )
    page_budget: Annotated[float, Field(ge=0.01, le=100)] | None = Field(
        None,
        description="false pages that are put up with, per workflow and month: more finds smaller incidents",
    )
    trace_quantile: Annotated[float, Field(ge=1e-9, le=0.1)] | None = Field(
        None,
        description="a live trace speaks only when at most this share of finished traces would be as large",
    )
    trace_min_usd: Usd | None = Field(None, description="… and has cost at least this much")
    launch_multiple: Annotated[float, Field(ge=1.5, le=1_000)] | None = Field(
        None, description="spend over expected that is called a launch when unit cost is as usual"
    )
    data_quality_share: Ratio | None = Field(
        None,
        description="share of a model's calls without a believable price, or of a workflow's records that are"
        " duplicates or late, that is told; 0 = never",
    )
    data_quality_min_calls: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="… and at least this many of them within about ten minutes"
    )
    pending_s: Seconds | None = Field(None, description="how long a condition holds before it fires")
    resolve_s: Seconds | None = Field(None, description="how long it must be gone before it resolves")
    repeat_s: Annotated[float, Field(ge=1, le=86_400)] | None = Field(
        None, description="how often a firing alert is sent again"
    )
    answers: Annotated[list[Answer], Field(max_length=MAX_ANSWERS)] | None = Field(
        None, description="what people said of single alerts, the oldest first"
    )


class Tuning(Control):
    kind: Literal["tuning"] = "tuning"
    scope: TuningScope = TuningScope()
    settings: TuningSettings
