"""Who is told: routes to receivers, and silences."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.base import Label, Text, Timestamp
from schemas.control.record import Control, Match


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


class Route(Control):
    """Which receivers (named in the settings, where their secrets are) get matching alerts."""

    kind: Literal["route"] = "route"
    match: Match = Match()
    receivers: Annotated[list[Label], Field(min_length=1, max_length=20)]
