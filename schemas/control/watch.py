"""What is judged besides workflows."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.base import Usd
from schemas.control.record import Control
from schemas.rollups import WatchKind

MANY_VALUED: Final = ("customer", "api_key")
"""Scopes of which there may be more than anybody wants to watch."""


class Watch(Control):
    """Judge all calls that share a label as one, besides their workflows: a team, a customer, a key.

    Gateways are counted without one, as far as telling a silent one takes.
    """

    kind: Literal["watch"] = "watch"
    scope: WatchKind
    min_usd_per_hour: Usd | None = Field(
        None,
        description="a value is watched once it has spent so much within an hour, until it spends less than half;"
        " absent = 1 for customer and api_key, of which there may be many, else 0",
    )
    max_values: Annotated[int, Field(ge=1, le=10_000)] = Field(
        256, description="at most so many values at a time in each partition of cost-events"
    )

    @model_validator(mode="after")
    def _has_a_floor(self) -> Self:
        if self.scope in MANY_VALUED and self.min_usd_per_hour is not None and not self.min_usd_per_hour:
            raise PydanticCustomError(
                "out_of_range", "this scope has many values: min_usd_per_hour must not be 0"
            )
        return self

    @property
    def floor_usd(self) -> Decimal:
        """What a value must spend in an hour to be watched."""
        if self.min_usd_per_hour is not None:
            return self.min_usd_per_hour
        return Decimal(self.scope in MANY_VALUED)
