"""What every record shares: strictness, immutability, versions, timestamps and the bounds of its strings."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from schemas.decode import MAX_BYTES, decode
from schemas.money import MAX_DIGITS, decimal_usd

MAX_LABEL: Final = 200
"""Characters in a name, id or label. OpenTelemetry's own limits are higher; no dashboard shows more."""
MAX_TOKENS: Final = 1_000_000_000
"""Tokens of one kind in one event. Today's largest context is a few million; a batch line may be more."""
MAX_EPOCH_SECONDS: Final = 100_000_000_000
"""Beyond this a number is epoch milliseconds that somebody called seconds (year 5138 in seconds)."""
MAX_INT: Final = 2**63 - 1
"""What every JSON reader with 64 bit integers takes: Go, Java, Rust, and orjson here."""

_NO_CONTROL: Final = r"^[^\x00-\x1f\x7f]+$"
_RFC3339: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def parse_timestamp(value: object) -> datetime:
    """RFC 3339 with an offset, or epoch seconds (whole or fractional), as an aware UTC datetime.

    Fractions beyond a microsecond are cut. A leap second (`:60`) and `24:00` are refused: no clock that is
    set by smearing or by POSIX time shows them, and readers disagree about them. Source: RFC 3339, section 5.6.

    Raises
    ------
    PydanticCustomError
        `bad_timestamp` or `wrong_type`.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise PydanticCustomError("bad_timestamp", "a time without an offset is ambiguous")
        return value.astimezone(UTC)
    if isinstance(value, str):
        if len(value) > 40 or not _RFC3339.fullmatch(value):
            raise PydanticCustomError("bad_timestamp", "expected RFC 3339 with an offset, or epoch seconds")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            raise PydanticCustomError("bad_timestamp", "no such date or time") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PydanticCustomError("wrong_type", "expected RFC 3339 or epoch seconds")
    if not 0 <= value <= MAX_EPOCH_SECONDS:  # false for NaN too
        raise PydanticCustomError("bad_timestamp", "epoch seconds out of range (milliseconds?)")
    return datetime.fromtimestamp(value, UTC)


def format_timestamp(value: datetime) -> str:
    """RFC 3339 in UTC with as many digits as are needed: `2026-01-31T09:30:00Z`, `…00.250Z`."""
    timespec = (
        "seconds" if not value.microsecond else "microseconds" if value.microsecond % 1000 else "milliseconds"
    )
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"


def _amount(value: object) -> Decimal | None:
    if value is None:
        return None
    try:
        return decimal_usd(value)
    except (TypeError, ValueError) as error:
        raise PydanticCustomError(str(error), "expected a dollar amount, 0 to 1,000,000") from None


Timestamp = Annotated[
    datetime,
    BeforeValidator(parse_timestamp),
    PlainSerializer(format_timestamp, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time", "maxLength": 40},
                {
                    "type": "number",
                    "minimum": 0,
                    "maximum": MAX_EPOCH_SECONDS,
                    "description": "epoch seconds",
                },
            ]
        }
    ),
]
"""An instant. Read as RFC 3339 or epoch seconds, written as RFC 3339 in UTC."""

Usd = Annotated[
    Decimal,
    BeforeValidator(_amount),
    PlainSerializer(lambda d: format(d, "f"), return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\d+(\.\d+)?([eE][+-]?\d+)?$", "maxLength": MAX_DIGITS},
                {"type": "number", "minimum": 0, "maximum": 1_000_000},
            ]
        }
    ),
]
"""Dollars as somebody outside wrote them: a decimal string (preferred) or a number."""


def _base64(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("wrong_type", "expected base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise PydanticCustomError("invalid_value", "not base64") from None


Base64 = Annotated[
    bytes,
    BeforeValidator(_base64),
    PlainSerializer(lambda b: base64.b64encode(b).decode("ascii"), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
"""Bytes, written as base64."""

Label = Annotated[str, Field(min_length=1, max_length=MAX_LABEL, pattern=_NO_CONTROL)]
"""A name or id: 1 to 200 characters, no control characters."""
Text = Annotated[str, Field(max_length=4_000)]
Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
Count = Annotated[int, Field(ge=0, le=MAX_INT)]
Whole = Annotated[int, Field(ge=1, le=MAX_INT)]
Nanos = Annotated[int, Field(ge=-MAX_INT, le=MAX_INT, description="nano-dollars, 1e-9 USD")]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]


class Record(BaseModel):
    """One record of one topic: immutable and strict (no `"3"` for 3). Unknown fields are left out."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", ser_json_inf_nan="null")

    max_bytes: ClassVar[int] = MAX_BYTES
    """Largest record of this kind that is read. None that fits its fields' bounds is larger."""

    # Not Literal[1]: pydantic takes `true` and 1.0 for that.
    schema_version: Annotated[int, Field(ge=1, le=1), WithJsonSchema({"const": 1, "type": "integer"})] = 1

    def to_json(self) -> bytes:
        """Canonical bytes: declared field order, UTF-8, no spaces, fields that are None left out."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read one record. Raises `schemas.reasons.Refused`."""
        return decode(cls, data)


class Part(BaseModel):
    """A piece of a record, with the same strictness and no version of its own."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", ser_json_inf_nan="null")


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema (2020-12) of a record as a publisher must write it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **model.model_json_schema(mode="validation"),
    }
