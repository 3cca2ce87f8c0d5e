"""Who is told, of what together, how soon, and who is told next when nobody takes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from schemas.base import Label
from schemas.control.record import Control, Match, Seconds, Spec

GroupLabel = Literal["team", "owner", "kind", "workflow", "severity", "scope", "budget"]
"""Labels of an alert. `scope` is a watched scope's kind and value; `owner` is what an owner record says."""
GroupBy = Annotated[
    list[GroupLabel],
    Field(
        max_length=7,
        description="alerts that have these labels in common are told together; [] = all of a route's",
    ),
]
Receivers = Annotated[list[Label], Field(max_length=20)]


class Escalation(Spec):
    """Whom to tell what nobody has acknowledged."""

    after_s: Annotated[float, Field(ge=1, le=604_800)] = Field(
        900.0, description="since the route's receivers were told, or should have been"
    )
    receivers: Annotated[list[Label], Field(min_length=1, max_length=4)]


class Timing(Spec):
    """What a route says about grouping and timing; what is left out it has from its parent."""

    group_by: GroupBy | None = Field(None, description="absent = team, owner and kind")
    group_wait_s: Seconds | None = Field(
        None, description="a new incident waits so long for what belongs to it; absent = 30"
    )
    page_wait_s: Seconds | None = Field(None, description="… if it is critical; absent = 0: at once")
    group_interval_s: Seconds | None = Field(
        None,
        description="what changes within an incident is told no sooner after the last time; absent = 300",
    )
    page_interval_s: Seconds | None = Field(
        None, description="… if it is critical, or the incident is over; absent = 15"
    )
    repeat_interval_s: Seconds | None = Field(
        None,
        description="what goes on without an acknowledgement is repeated so often; absent = 4 h; 0 = never",
    )
    escalate: Annotated[list[Escalation], Field(max_length=3)] | None = Field(
        None, description="absent = as the parent says; [] = nobody"
    )


class Route(Timing, Control):
    """Which receivers (named in the settings, where their secrets are) get matching alerts.

    Routes form trees: one with a `parent` is asked only about what its parent matches. Of those of one parent, the
    first that matches takes the alert, and the next is asked too if it says `continues`; what none of them takes is
    the parent's own. All routes without a parent that match count.
    """

    kind: Literal["route"] = "route"
    match: Match = Match()
    parent: Label | None = Field(
        None, description="name of the route it is part of; absent = a tree of its own"
    )
    order: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        0, description="the place among those of one parent; equal ones by name"
    )
    continues: bool = Field(False, description="whether the next one of the same parent is asked, too")
    receivers: Receivers = Field([], validate_default=True, description="absent = the parent's")

    @field_validator("group_by")
    @classmethod
    def _each_once(cls, labels: GroupBy | None) -> GroupBy | None:
        if labels is not None and len(set(labels)) != len(labels):
            raise PydanticCustomError("invalid_value", "name each label once")
        return labels

    @field_validator("parent")
    @classmethod
    def _not_its_own(cls, parent: str | None, info: ValidationInfo) -> str | None:
        if parent is not None and parent == info.data.get("name"):
            raise PydanticCustomError("invalid_value", "a route is not part of itself")
        return parent

    @field_validator("receivers")
    @classmethod
    def _somebody(cls, receivers: list[str], info: ValidationInfo) -> list[str]:
        if not receivers and info.data.get("parent") is None and "parent" in info.data:
            raise PydanticCustomError("missing", "a route without a parent names its receivers")
        return receivers
