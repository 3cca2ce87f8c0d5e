"""A launch: volume that somebody announces."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.base import Label, Timestamp, Usd
from schemas.control.record import Control, Pattern


class Launch(Control):
    """Volume that is meant: quiet about volume up to the cap; never quiet about unit cost."""

    kind: Literal["launch"] = "launch"
    workflow: Pattern
    starts_at: Timestamp
    ends_at: Timestamp
    volume_multiple: Annotated[float, Field(gt=1, le=100_000)]
    unit_cost_usd: Usd | None = Field(None, description="expected dollars per trace")
    cap_usd: Usd
    owner: Label
    review_at: Timestamp | None = None

    @model_validator(mode="after")
    def _ends_after_start(self) -> Self:
        if self.ends_at <= self.starts_at:
            raise PydanticCustomError("out_of_range", "ends_at must be later than starts_at")
        return self
