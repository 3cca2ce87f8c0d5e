"""What could not be read, kept as it came: original bytes, where they came from, and why."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from schemas.base import Count, Label, Part, Record, Text, Timestamp
from schemas.reasons import Reason


def _base64(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("wrong_type", "expected base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise PydanticCustomError("invalid_value", "not base64") from None


def _reason(value: object) -> object:
    return Reason(value) if isinstance(value, str) and value in Reason.__members__.values() else value


Bytes = Annotated[
    bytes,
    BeforeValidator(_base64),
    PlainSerializer(lambda b: base64.b64encode(b).decode("ascii"), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]


class Header(Part):
    key: str
    value: Bytes


class Origin(Part):
    """Where the refused record lies: it can be read again there while the topic keeps it."""

    topic: Label
    partition: Count
    offset: Count


class DeadLetter(Record):
    """One refused record. Key: `topic/partition/offset`, so that writing it twice is the same record."""

    origin: Origin
    timestamp: Timestamp = Field(description="the broker's time of the original record")
    key: Bytes | None = None
    value: Bytes | None = None
    headers: Annotated[list[Header], Field(max_length=1_000)] = []
    reason: Annotated[Reason, BeforeValidator(_reason)]
    path: Annotated[str, Field(max_length=500)] = Field("", description="dotted path of the refused field")
    detail: Text = ""
