"""What could not be read, kept as it came: original bytes, where they came from, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from schemas.base import MAX_EPOCH_SECONDS, MAX_LABEL, Base64, Count, Label, Part, Record, Text, Timestamp
from schemas.reasons import Reason, Refused

MAX_HEADERS: Final = 1_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS: Final = MAX_EPOCH_SECONDS * 1_000


def _reason(value: object) -> object:
    if not isinstance(value, str):
        raise PydanticCustomError("wrong_type", "expected a reason")
    try:
        return Reason(value)
    except ValueError:
        raise PydanticCustomError("invalid_value", "no such reason") from None


class Header(Part):
    key: str
    value: Base64 | None = None


class Origin(Part):
    """Where the refused record lies: it can be read again there while the topic keeps it."""

    topic: Label
    partition: Count
    offset: Count

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class DeadLetter(Record):
    """One refused record. Key: `topic/partition/offset`, so that writing it twice is the same record."""

    max_bytes: ClassVar[int] = 1_000_000
    """Kafka takes 1,048,576 bytes by default."""

    origin: Origin
    timestamp: Timestamp = Field(description="the broker's time of the original record")
    key: Base64 | None = None
    value: Base64 | None = None
    headers: Annotated[list[Header], Field(max_length=MAX_HEADERS)] = []
    reason: Annotated[Reason, BeforeValidator(_reason)]
    path: Annotated[str, Field(max_length=500)] = Field("", description="dotted path of the refused field")
    detail: Text = ""

    @property
    def record_key(self) -> bytes:
        """What it is published under."""
        return str(self.origin).encode()

    @property
    def digest(self) -> str:
        """SHA-256 of what was refused: tells it from what lies at the same place of a topic made anew."""
        found = sha256(self.timestamp.isoformat().encode())
        for part in (self.key, self.value):
            found.update(b"-" if part is None else b"%d:" % len(part) + part)
        return found.hexdigest()

    @classmethod
    def of(
        cls,
        topic: str,
        partition: int,
        offset: int,
        refused: Refused,
        *,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> Self:
        """The dead letter of any record that a broker can hold: never raises, never exceeds `max_bytes`.

        What is too much to be kept is left out and `detail` says so; it lies at the origin as long as the topic
        keeps it. A broker's time that is missing (-1) or absurd becomes the nearest that can be written.
        """
        detail = refused.detail
        if len(headers) > MAX_HEADERS:
            detail += f" ({len(headers) - MAX_HEADERS} more headers are only at the origin)"
        letter = cls(
            origin=Origin(topic=topic[:MAX_LABEL], partition=partition, offset=offset),
            timestamp=_EPOCH + timedelta(milliseconds=min(max(timestamp_ms, 0), _LATEST_MS)),
            key=key,
            value=value,
            headers=[Header(key=name, value=content) for name, content in headers[:MAX_HEADERS]],
            reason=refused.reason,
            path=refused.path,
            detail=detail,
        )
        # No byte takes more than six on the wire (a control character in a header's name).
        kept = (
            len(key or b"")
            + len(value or b"")
            + sum(len(k) + len(v or b"") for k, v in headers[:MAX_HEADERS])
        )
        if kept < 100_000 or len(letter.to_json()) <= cls.max_bytes:
            return letter
        detail += f" ({kept} bytes are too many to keep, they are only at the origin)"
        return letter.model_copy(update={"key": None, "value": None, "headers": [], "detail": detail})


class DeadLetterReplay(Record):
    """How one dead letter was settled. Key: `topic/partition/offset`, as the letter's.

    Written in one transaction with the mended record, so that a replay that is repeated, or crashes half way,
    knows what it need not publish again.
    """

    origin: Origin
    letter: Label = Field(description="SHA-256 of the dead letter's time, key and value")
    outcome: Literal["published", "counted"] = Field(
        description="counted: a record of the same id had been accounted for already, so nothing was published"
    )
    record_id: Label = Field(description="event_id or outcome_id of the mended record")
    content: Label = Field(description="SHA-256 of the mended record in its canonical form")
    at: Timestamp
    by: Label | None = Field(None, description="who replayed it")
