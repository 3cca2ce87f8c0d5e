"""A contract's price."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.base import MAX_TOKENS, Label, Timestamp, Usd
from schemas.control.record import Control, Spec


class PriceStep(Spec):
    """Rates of a contract for calls with long prompts: they hold for *all* tokens of such a call."""

    above_input_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    input_usd_per_mtok: Usd
    cached_input_usd_per_mtok: Usd | None = None
    cache_write_usd_per_mtok: Usd | None = None
    cache_write_1h_usd_per_mtok: Usd | None = None
    output_usd_per_mtok: Usd
    reasoning_usd_per_mtok: Usd | None = None


class Price(Control):
    """A contract price that replaces the list price from a date on. Dollars per million tokens."""

    kind: Literal["price"] = "price"
    provider: Label
    model: Label = Field(
        description="the list's own name of a model stands for its dated names too; any other only for itself"
    )
    service_tier: Label | None = Field(
        None,
        description="the class of service it is for: batch, flex, priority, …; absent = the standard one",
    )
    effective_from: Timestamp
    effective_until: Timestamp | None = Field(
        None, description="not effective any more from then on; absent = until another one is"
    )
    input_usd_per_mtok: Usd
    cached_input_usd_per_mtok: Usd | None = Field(None, description="absent = as input")
    cache_write_usd_per_mtok: Usd | None = Field(None, description="absent = as input")
    cache_write_1h_usd_per_mtok: Usd | None = Field(None, description="absent = as other cache writes")
    output_usd_per_mtok: Usd
    reasoning_usd_per_mtok: Usd | None = Field(None, description="absent = as output")
    per_request_usd: Usd | None = Field(None, description="on top of the tokens")
    steps: Annotated[list[PriceStep], Field(max_length=8)] = Field(
        [],
        description="other rates for long prompts, by rising size; without them the rates hold for any size",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.effective_until is not None and self.effective_until <= self.effective_from:
            raise PydanticCustomError("out_of_range", "effective_until must be later than effective_from")
        starts = [step.above_input_tokens for step in self.steps]
        if any(later <= earlier for earlier, later in pairwise(starts)):
            raise PydanticCustomError("invalid_value", "each step must be above the one before it")
        return self
