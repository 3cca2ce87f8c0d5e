"""What every record of the config topic says of itself, and which alerts one is about."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from schemas.alerts import Kind, Severity
from schemas.base import Label, Record, Text

Pattern = Annotated[str, Field(min_length=1, max_length=200, description="glob: `*`, `support-*`")]
Seconds = Annotated[float, Field(ge=0, le=2_678_400, allow_inf_nan=False)]


class Spec(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Control(Record):
    """What every record of the config topic says of itself."""

    model_config = ConfigDict(extra="forbid")

    name: Label
    author: Label | None = None
    reason: Text | None = None


class Match(Spec):
    """Which alerts a rule, silence or route is about: all of what is given must match."""

    workflow: Pattern = "*"
    team: Pattern | None = None
    kinds: Annotated[list[Kind], Field(min_length=1, max_length=20)] | None = None
    severities: Annotated[list[Severity], Field(min_length=1, max_length=3)] | None = None
