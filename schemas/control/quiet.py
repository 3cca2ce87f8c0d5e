"""When nobody is told: silences, maintenance windows, and alerts that are only another one's shadow."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from schemas.alerts import Kind, Severity
from schemas.base import Label, Text, Timestamp
from schemas.budgets import TimeZone
from schemas.control.record import Control, Match, Pattern, Spec
from schemas.control.route import GroupLabel

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Hour = Annotated[str, Field(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", max_length=5)]
"""`HH:MM`, up to `24:00`."""
About = Literal["workflow", "trace", "scope", "budget"]
"""What an alert is about: all calls of a workflow, single traces of it, a watched scope, a budget."""


class Silence(Control):
    """Say nothing about matching alerts until a time. Throttles go on."""

    kind: Literal["silence"] = "silence"
    match: Match
    starts_at: Timestamp
    ends_at: Timestamp
    author: Label
    reason: Text

    @model_validator(mode="after")
    def _ends_after_start(self) -> Self:
        if self.ends_at <= self.starts_at:
            raise PydanticCustomError("out_of_range", "ends_at must be later than starts_at")
        return self


class Interval(Spec):
    """A recurring time: all that is given must hold."""

    weekdays: Annotated[list[Weekday], Field(min_length=1, max_length=7)] | None = None
    days_of_month: (
        Annotated[list[Annotated[int, Field(ge=-31, le=31)]], Field(min_length=1, max_length=31)] | None
    ) = Field(None, description="1 = the first, -1 = the last")
    months: Annotated[list[Annotated[int, Field(ge=1, le=12)]], Field(min_length=1, max_length=12)] | None = (
        None
    )
    start: Hour = "00:00"
    end: Hour = Field("24:00", description="excluded; not later than `start` = on the day after")

    @field_validator("days_of_month")
    @classmethod
    def _no_day_zero(cls, days: list[int] | None) -> list[int] | None:
        if days is not None and 0 in days:
            raise PydanticCustomError("out_of_range", "a month has no day 0")
        return days


class Maintenance(Control):
    """Recurring times at which matching alerts are told to nobody; what still goes on afterwards is told then."""

    kind: Literal["maintenance"] = "maintenance"
    match: Match = Match()
    timezone: TimeZone = Field("UTC", description="IANA name: where the times are meant")
    intervals: Annotated[list[Interval], Field(min_length=1, max_length=20)]


class Side(Spec):
    """One side of an inhibition: all that is given must match."""

    workflow: Pattern = "*"
    team: Pattern | None = None
    kinds: Annotated[list[Kind], Field(min_length=1, max_length=20)] | None = None
    severities: Annotated[list[Severity], Field(min_length=1, max_length=3)] | None = None
    about: Annotated[list[About], Field(min_length=1, max_length=4)] | None = None


class Inhibit(Control):
    """While an alert fires that matches `source`, those that match `target` are told to nobody.

    A source never silences what is more severe than itself, nor itself. The records `budget-exhausted` and
    `workflow-within` are built in; one of the same name takes their place.
    """

    kind: Literal["inhibit"] = "inhibit"
    source: Side
    target: Side
    equal: Annotated[list[GroupLabel], Field(max_length=7)] = Field(
        [], description="labels that both must have in common"
    )
    within: bool = Field(
        False,
        description="the target's calls must be the source workflow's: a trace of it, or a scope that either of"
        " them names in its evidence",
    )
    enabled: bool = True
