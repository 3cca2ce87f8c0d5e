"""The alerts that are going on, or over and not told yet, and how far their records may be forgotten. Pure.

A record's own time (the broker's) says when it came, so that whoever reads it again finds the same times, and all
that waits for a time goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from schemas.alerts import Alert

STALE: Final = timedelta(days=2)
"""An alert of which no record came for so long is over: detect sends those that fire at least once a day."""


class Source(NamedTuple):
    """Where an alert was read."""

    partition: int
    offset: int


class Standing(StrEnum):
    """What is still to do about an alert."""

    OWED = "owed"
    """Somebody has to be told, or may have to once a silence ends."""
    TOLD = "told"
    """Everybody knows what there is to know."""
    NOBODY = "nobody"
    """It concerns nobody any more."""


@dataclass(slots=True)
class Held:
    """One alert.

    Attributes
    ----------
    alert : Alert
        Its latest record.
    firing : Alert or None
        Its latest record that says that it fires; None if none was read.
    first_at : datetime
        When the first record came that somebody has still to be told of, or the earliest that is known.
    over_at : datetime or None
        When the record came that says that it is over.
    """

    alert: Alert
    firing: Alert | None
    first_at: datetime
    over_at: datetime | None
    seen_at: datetime
    first: Source
    last: Source

    @property
    def is_over(self) -> bool:
        return self.over_at is not None


class Board:
    """Alerts by fingerprint, and per partition the offset to read from to have all of them again."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._next: dict[int, int] = {}

    def skip(self, source: Source) -> None:
        """A record was read that is no alert, or a pending one."""
        self._next[source.partition] = source.offset + 1

    def apply(self, alert: Alert, source: Source, at: datetime) -> Held | None:
        """Take in a record that came at `at`. None if it is older than what is known. Idempotent."""
        self.skip(source)
        held = self._held.get(alert.fingerprint)
        if held is None:
            firing = alert if alert.status == "firing" else None
            over_at = None if firing is not None else at
            held = self._held[alert.fingerprint] = Held(alert, firing, at, over_at, at, source, source)
            return held
        if alert.sequence < held.alert.sequence or (
            alert.sequence == held.alert.sequence and source.offset <= held.last.offset
        ):
            return None
        held.alert, held.last, held.seen_at = alert, source, at
        if alert.status == "firing":
            held.firing, held.over_at = alert, None
        elif held.over_at is None:
            held.over_at = at
        return held

    def get(self, fingerprint: str) -> Held | None:
        return self._held.get(fingerprint)

    def firing(self, *, over: bool = False) -> Iterator[Alert]:
        """Those that go on; with `over` also those that are over and have still to be told."""
        for held in self._held.values():
            if held.firing is not None and (over or not held.is_over):
                yield held.firing

    def expire(self, now: datetime) -> list[str]:
        """Take for over what nobody reports any more. Returns the fingerprints."""
        stale = [held for held in self._held.values() if not held.is_over and now - held.seen_at > STALE]
        for held in stale:
            held.alert, held.over_at = _ended(held.alert), now
        return [held.alert.fingerprint for held in stale]

    def sweep(self, standing: Callable[[Held], Standing]) -> list[str]:
        """Let go what concerns nobody any more. Returns the fingerprints."""
        gone = []
        for fingerprint, held in self._held.items():
            found = standing(held)
            if found is Standing.NOBODY:
                gone.append(fingerprint)
            elif found is Standing.TOLD:
                # From here on its latest record is enough to know it again.
                held.first = held.last
        for fingerprint in gone:
            del self._held[fingerprint]
        return gone

    def committable(self) -> Mapping[int, int]:
        """By partition, the offset at which a successor must begin to read."""
        found = dict(self._next)
        for held in self._held.values():
            partition, offset = held.first
            found[partition] = min(found.get(partition, offset), offset)
        return found

    def clear(self) -> None:
        self._held.clear()
        self._next.clear()

    def __iter__(self) -> Iterator[Held]:
        return iter(self._held.values())

    def __len__(self) -> int:
        return len(self._held)


def _ended(alert: Alert) -> Alert:
    return alert.model_copy(
        update={
            "status": "resolved",
            "resolved_at": alert.updated_at,
            "sequence": alert.sequence + 1,
            "summary": f"Not reported any more, and taken for over. {alert.summary}"[:4_000],
        }
    )
