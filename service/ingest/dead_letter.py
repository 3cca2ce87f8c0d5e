"""What was refused, kept as it came, and the limits beyond which refusing is the fault."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.dead_letters import DeadLetter, Header, Origin
from schemas.reasons import Refused
from service.errors import TooManyDeadLetters
from service.ingest.record import RawRecord

MAX_KEPT_BYTES: Final = 700_000
"""Key, value and headers together. As base64 they still fit Kafka's default limit of 1 MiB per record."""
MAX_HEADERS: Final = 1_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def dead_letter(raw: RawRecord, topic: str, refused: Refused) -> DeadLetter:
    """The record of the dead-letters topic for a refused one: original bytes, headers, origin, reason.

    A record too large to be kept leaves its bytes out and says so; its origin tells where they are.
    """
    detail = refused.detail
    headers = [(key, value or b"") for key, value in raw.headers]
    if len(headers) > MAX_HEADERS:
        detail += f" ({len(headers) - MAX_HEADERS} more headers are only at the origin)"
        headers = headers[:MAX_HEADERS]
    key, value = raw.key, raw.value
    size = len(key or b"") + len(value or b"") + sum(len(k) + len(v) for k, v in headers)
    if size > MAX_KEPT_BYTES:
        detail += f" ({size} bytes are too many to keep, they are only at the origin)"
        key, value, headers = None, None, []
    return DeadLetter(
        origin=Origin(topic=topic, partition=raw.partition, offset=raw.offset),
        timestamp=_EPOCH + timedelta(milliseconds=max(raw.timestamp_ms, 0)),
        key=key,
        value=value,
        headers=[Header(key=k, value=v) for k, v in headers],
        reason=refused.reason,
        path=refused.path[:500],
        detail=detail[:4_000],
    )


def dead_letter_key(letter: DeadLetter) -> bytes:
    """`topic/partition/offset`: writing a dead letter twice is the same record."""
    origin = letter.origin
    return f"{origin.topic}/{origin.partition}/{origin.offset}".encode()


class DeadLetterLimits:
    """Stops ingest when refusals look like a fault of ours or a bad deploy, and not like a bad gateway.

    Without this a wrong schema would empty the topic into dead letters in minutes. One per partition.

    Parameters
    ----------
    max_ratio : float
        Largest share of refusals among the last `window` records. Not judged before there are that many.
    max_streak : int
        Refusals in a row that are one too many.
    """

    __slots__ = ("_at", "_full", "_max_refused", "_recent", "_refused", "max_streak", "streak", "window")

    def __init__(self, max_ratio: float, window: int, max_streak: int) -> None:
        self.window = window
        self.max_streak = max_streak
        self.streak = 0
        self._max_refused = max_ratio * window
        self._recent = bytearray(window)  # 1 = refused
        self._refused = 0
        self._at = 0
        self._full = False

    def accepted(self) -> None:
        """One more record that could be read."""
        self.streak = 0
        at = self._at
        self._refused -= self._recent[at]
        self._recent[at] = 0
        self._turn(at)

    def refused(self, raw: RawRecord, why: Refused) -> None:
        """One more that could not.

        Raises
        ------
        TooManyDeadLetters
            Nothing of the batch has been committed: the records are read again after a restart.
        """
        self.streak += 1
        at = self._at
        self._refused += 1 - self._recent[at]
        self._recent[at] = 1
        self._turn(at)
        where = f"partition {raw.partition} up to offset {raw.offset}"
        last = f"the last for {why.reason.value}{f' at {why.path}' if why.path else ''}"
        if self.streak >= self.max_streak:
            raise TooManyDeadLetters(
                f"{self.streak} records in a row were refused on {where}, {last}; nothing was committed past them"
            )
        if self._full and self._refused > self._max_refused:
            raise TooManyDeadLetters(
                f"{self._refused} of the last {self.window} records were refused on {where}, {last};"
                " the last batch was not committed"
            )

    def _turn(self, at: int) -> None:
        self._at = at + 1
        if self._at == self.window:
            self._at = 0
            self._full = True
