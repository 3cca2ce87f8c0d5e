"""What every record of the config topic says of itself, and which alerts one is about."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from schemas.alerts import Kind, Severity
from schemas.base import Label, Record, Text, Timestamp

Pattern = Annotated[str, Field(min_length=1, max_length=200, description="glob: `*`, `support-*`")]
Seconds = Annotated[float, Field(ge=0, le=2_678_400, allow_inf_nan=False)]


class Spec(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Control(Record):
    """What every record of the config topic says of itself."""

    model_config = ConfigDict(extra="forbid")

    name: Label
    author: Label | None = Field(None, description="who changed it last")
    reason: Text | None = Field(None, description="why")
    managed_by: Label | None = Field(
        None,
        description="the set of files it is kept in (`config apply --set`): only that set's prune deletes it",
    )
    effective_at: Timestamp | None = Field(
        None, description="holds from then on; absent = at once. What it replaces ends at once all the same"
    )
    expires_at: Timestamp | None = Field(None, description="does not hold any more from then on")

    @field_validator("expires_at")
    @classmethod
    def _holds_for_a_while(cls, end: datetime | None, info: ValidationInfo) -> datetime | None:
        start = info.data.get("effective_at")
        if end is not None and start is not None and end <= start:
            raise PydanticCustomError("out_of_range", "expires_at must be later than effective_at")
        return end

    def holds(self, at: datetime) -> bool:
        """Whether it is in force at an instant."""
        return (self.effective_at is None or self.effective_at <= at) and (
            self.expires_at is None or at < self.expires_at
        )


class Match(Spec):
    """Which alerts a rule, silence or route is about: all of what is given must match."""

    workflow: Pattern = "*"
    team: Pattern | None = None
    kinds: Annotated[list[Kind], Field(min_length=1, max_length=20)] | None = None
    severities: Annotated[list[Severity], Field(min_length=1, max_length=3)] | None = None
