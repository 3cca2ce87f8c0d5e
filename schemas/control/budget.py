"""A budget: a limit on spend over a window."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from schemas.base import Ratio, Whole
from schemas.budgets import (
    BudgetScope,
    BudgetUsd,
    Globs,
    Increase,
    Message,
    Reserve,
    TimeZone,
    Window,
    exactly_one_amount,
)
from schemas.control.record import Control, Seconds


class Budget(Control):
    """A limit on spend over a window, told on the way to it and, if it is hard, enforced."""

    kind: Literal["budget"] = "budget"
    scope: BudgetScope
    window: Window
    rolling: bool = Field(
        False, description="the last hour, 24 hours, 7 or 30 days, instead of those of the calendar"
    )
    timezone: TimeZone = Field("UTC", description="IANA name: where a day begins")
    anchor_day: Annotated[int, Field(ge=1, le=31)] = Field(
        1,
        description="the day a month starts (31 = the last one of a shorter month), or a week (1 = Monday)",
    )
    amount_tokens: Whole | None = Field(None, description="input + output")
    amount_usd: BudgetUsd | None = Field(
        None, validate_default=True, description="either this or amount_tokens"
    )
    pace_at: Annotated[
        list[Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]], Field(max_length=10)
    ] = Field([0.7, 0.8], description="told when spend reaches this share of the expected pace")
    alert_at: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(max_length=10)] = Field(
        [1.0], description="told when spend reaches this share of the limit, at whatever pace"
    )
    alert_on_forecast: bool = Field(True, description="told when the forecast for the end exceeds the limit")
    purpose: Literal["production", "experiment", "test", "unknown_vendor"] | None = Field(
        None, description="what the spend is for; absent = by the scope's environment, else production"
    )
    hard: bool | None = Field(
        None, description="refuse calls at the limit; absent = unless its purpose is production"
    )
    grace_s: Seconds = Field(0.0, description="calls go on for so long after a hard limit is reached")
    grace_share: Ratio = Field(0.1, description="… but for no more than this share of the limit on top")
    rollover: Ratio = Field(
        0.0, description="unused amount of the window before is carried over, up to this share of the amount"
    )
    increases: Annotated[list[Increase], Field(max_length=8)] = []
    protected: Globs = Field([], description="workflows (globs) whose calls count and are never refused")
    reserve: Reserve | None = None
    fail: Literal["open", "closed"] = Field(
        "open", description="whether a gateway that has heard nothing for long lets calls pass"
    )
    message: Message | None = Field(None, description="for whom is refused")

    _one_amount = field_validator("amount_usd")(classmethod(exactly_one_amount))

    @field_validator("anchor_day")
    @classmethod
    def _day_of_the_window(cls, day: int, info: ValidationInfo) -> int:
        window = info.data.get("window", "month")
        if day != 1 and (window not in ("week", "month") or info.data.get("rolling")):
            raise PydanticCustomError(
                "invalid_value", "only a week or month of the calendar has an anchor day"
            )
        if window == "week" and day > 7:
            raise PydanticCustomError("out_of_range", "a week has the days 1 (Monday) to 7")
        return day

    @field_validator("rollover")
    @classmethod
    def _only_what_ends_leaves_something(cls, share: float, info: ValidationInfo) -> float:
        if share and info.data.get("rolling"):
            raise PydanticCustomError(
                "invalid_value", "a rolling window never ends: nothing can be carried over"
            )
        return share

    @field_validator("increases", "reserve")
    @classmethod
    def _same_unit(cls, value: Any, info: ValidationInfo) -> Any:
        in_tokens = info.data.get("amount_tokens") is not None
        parts = value if isinstance(value, list) else [value] if value is not None else []
        if "amount_tokens" in info.data and any((p.amount_tokens is not None) != in_tokens for p in parts):
            raise PydanticCustomError("invalid_value", "must be in dollars or tokens, as the budget is")
        return value
