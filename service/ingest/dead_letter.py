"""What was refused, kept as it came, and the limits beyond which refusing is the fault."""

from __future__ import annotations

from schemas.dead_letters import DeadLetter
from schemas.reasons import Refused
from service.errors import TooManyDeadLetters
from service.ingest.record import RawRecord


def dead_letter(raw: RawRecord, topic: str, refused: Refused) -> DeadLetter:
    """The record of the dead-letters topic for a refused one: original bytes, headers, origin, reason."""
    return DeadLetter.of(
        topic,
        raw.partition,
        raw.offset,
        refused,
        timestamp_ms=raw.timestamp,
        key=raw.key,
        value=raw.value,
        headers=raw.headers,
    )


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

    def accepted(self, count: int = 1) -> None:
        """So many more records that could be read."""
        while count:
            self.streak = 0
            at = self._at
            end = min(at + count, self.window)
            self._refused -= self._recent.count(1, at, end)
            self._recent[at:end] = bytes(end - at)
            self._turn(end - 1)
            count -= end - at

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
