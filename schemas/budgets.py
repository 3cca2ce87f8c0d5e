"""Budgets: the parts of a budget record, and the snapshot that gateways and the console read of each."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from schemas.base import MAX_INT, Count, Label, Nanos, Part, Record, Timestamp, Whole
from schemas.money import MAX_DIGITS, MAX_USD, decimal_usd

MAX_BUDGET_USD: Final = 1_000_000_000
"""A thousand times what one event may cost; in nano-dollars it is still well within 64 bits."""
MAX_PROTECTED: Final = 20
_NO_PLACES: Final = ("localtime", "posixrules", "Factory")
"""Files of the zone database that name no place: what they hold differs from machine to machine."""


def _budget_usd(value: object) -> Decimal | None:
    if value is None:
        return None
    try:
        amount = _beyond_one_event(value) or decimal_usd(value)
    except (TypeError, ValueError) as error:
        raise PydanticCustomError(str(error), "expected a dollar amount, above 0 to 1,000,000,000") from None
    if not amount:
        raise PydanticCustomError("out_of_range", "a budget of nothing: write a rule that blocks instead")
    return amount


def _beyond_one_event(value: object) -> Decimal | None:
    """More than one event may cost, in plain digits; None for what `decimal_usd` must read."""
    text = value if isinstance(value, str) else str(value)
    whole, _, decimals = text.partition(".")
    digits = (whole + decimals).isdecimal() and text.isascii() and not isinstance(value, bool)
    if not digits or not whole or not 7 <= len(whole) <= 10 or len(decimals) > 9:
        return None
    amount = Decimal(text)
    if amount > MAX_BUDGET_USD:
        raise ValueError("out_of_range")
    return amount if amount > MAX_USD else None


def _known_zone(value: str) -> str:
    try:
        if value in _NO_PLACES:
            raise ValueError(value)
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):  # no such key, a folder of zones, a path that leads elsewhere
        raise PydanticCustomError("invalid_value", "expected an IANA time zone, as `Europe/Berlin`") from None
    return value


def exactly_one_amount(cls: type[BaseModel], dollars: Decimal | None, info: ValidationInfo) -> Decimal | None:
    """For `amount_usd`, declared after `amount_tokens`: one of the two and not both, told at the field's path."""
    if "amount_tokens" in info.data:
        given = info.data["amount_tokens"] is not None
        if given and dollars is not None:
            raise PydanticCustomError("invalid_value", "give dollars or tokens, not both")
        if not given and dollars is None:
            raise PydanticCustomError("missing", "give amount_usd or amount_tokens")
    return dollars


BudgetUsd = Annotated[
    Decimal,
    BeforeValidator(_budget_usd),
    PlainSerializer(lambda d: format(d, "f"), return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\d+(\.\d+)?([eE][+-]?\d+)?$", "maxLength": MAX_DIGITS},
                {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_BUDGET_USD},
            ]
        }
    ),
]
"""Dollars of a budget: above 0, and beyond what a single event may cost."""
TimeZone = Annotated[Label, AfterValidator(_known_zone)]
Window = Literal["hour", "day", "week", "month"]
BudgetScopeKind = Literal[
    "organisation", "team", "workflow", "feature", "customer", "api_key", "model", "environment"
]
Message = Annotated[str, Field(max_length=500)]
Globs = Annotated[list[Label], Field(max_length=MAX_PROTECTED)]
Unit = Literal["nano_usd", "tokens"]
BudgetStatus = Literal["ok", "pace", "soft", "grace", "hard"]
"""ok = nothing to tell; pace = on the way to more than the limit; soft = the limit is used up and calls go on;
grace = a hard limit is used up and calls go on for a while; hard = calls are refused."""


class BudgetSpec(BaseModel):
    """A part of a budget record: a field that is not known is a typo, and refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class BudgetScope(BudgetSpec):
    kind: BudgetScopeKind = "workflow"
    value: Label | None = Field(
        None,
        validate_default=True,
        description="the label's exact value; may be left out for the organisation",
    )

    @field_validator("value")
    @classmethod
    def _names_something(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("kind", "organisation") != "organisation":
            raise PydanticCustomError("missing", "whose spend it is")
        return value


class Increase(BudgetSpec):
    """More for a while: holds from `starts_at` (absent = at once) until it expires."""

    amount_tokens: Whole | None = None
    amount_usd: BudgetUsd | None = Field(None, validate_default=True)
    starts_at: Timestamp | None = None
    expires_at: Timestamp
    author: Label
    reason: Label | None = None

    _one_amount = field_validator("amount_usd")(classmethod(exactly_one_amount))

    @field_validator("expires_at")
    @classmethod
    def _expires_after_start(cls, value: Any, info: ValidationInfo) -> Any:
        start = info.data.get("starts_at")
        if start is not None and value <= start:
            raise PydanticCustomError("out_of_range", "expires_at must be later than starts_at")
        return value


class Reserve(BudgetSpec):
    """Hold money back for a call before it is made: then no more than one call per process can overspend."""

    amount_tokens: Whole | None = None
    amount_usd: BudgetUsd | None = Field(
        None,
        validate_default=True,
        description="what is held for a call whose cost cannot be told in advance",
    )

    _one_amount = field_validator("amount_usd")(classmethod(exactly_one_amount))


class SnapshotScope(Part):
    """Whose spend it is: of one label's value, or of everything."""

    kind: BudgetScopeKind
    value: Label | None = None


class Expected(Part):
    """What the window will have spent at its end, in the snapshot's unit: 80 of 100 lie between low and high."""

    low: Nanos
    expected: Nanos
    high: Nanos


class BudgetSnapshot(Record):
    """The present state of one budget. Of two for a budget the higher `sequence` holds; a tombstone ends it.

    A gateway adds what it spent itself after `counted_until`, and refuses the calls of `scope` (but for those of
    protected workflows) once that reaches `stop_at`. From `window_end` on the window is over: nothing is spent
    yet of the next one, and its limit is `next_limit`. (A rolling window is never over: it only moves on, which
    the next snapshot shows.) From `valid_until` on nothing of it holds, and `fail` says what then.
    """

    budget: Label = Field(description="the name of its record on the config topic")
    scope: SnapshotScope
    unit: Unit
    window_start: Timestamp = Field(description="of a rolling window: the oldest instant that counts")
    window_end: Timestamp = Field(
        description="spend from then on is of the next window; a rolling one has moved on by then"
    )
    rolling: bool = False
    limit: Count = Field(description="amount, carry-over and increases that hold now")
    next_limit: Count = Field(0, description="of the next window, before what is carried over; 0 = not known")
    spent: Nanos = Field(description="of the window so far, in `unit`, late events and corrections included")
    counted_until: Timestamp = Field(description="event time up to which `spent` is complete")
    counted_since: Timestamp | None = Field(
        None, description="what the window spent before is not in `spent`; null = all of it is"
    )
    state: BudgetStatus
    hard: bool = Field(description="whether calls are refused at all")
    stop_at: Annotated[int, Field(ge=0, le=MAX_INT)] | None = Field(
        None, description="calls are refused once this much is spent; null = never, or not in this state"
    )
    grace_until: Timestamp | None = Field(None, description="from then on `stop_at` is `limit`")
    protected: Globs = Field([], description="workflows (globs) whose calls count and are never refused")
    reserve: Annotated[int, Field(ge=1, le=MAX_INT)] | None = Field(
        None, description="hold this much per call of unknown cost before it is made; null = reserve nothing"
    )
    fail: Literal["open", "closed"] = Field("open", description="whether calls go on when nothing is valid")
    message: Message | None = Field(None, description="for whom is refused")
    forecast: Expected | None = None
    issued_at: Timestamp
    valid_until: Timestamp
    sequence: Count
    config_version: Label | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.window_end <= self.window_start:
            raise PydanticCustomError("out_of_range", "window_end must be later than window_start")
        if self.valid_until <= self.issued_at:
            raise PydanticCustomError("out_of_range", "valid_until must be later than issued_at")
        return self
