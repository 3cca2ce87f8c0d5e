"""Finds ids among the records of a topic: what a gateway has sent again by itself must not be replayed, too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from schemas.decode import decode
from schemas.reasons import Refused
from schemas.topics import OUTCOMES
from service.dead_letters.mend import REPLAYABLE, id_of

_IDS: Final = {
    topic: re.compile(rb'"%s"\s*:\s*"((?:[^"\\]|\\.)*)"' % name)
    for topic, name in (
        (name, b"outcome_id" if name == OUTCOMES.name else b"event_id") for name in REPLAYABLE
    )
}


class Seen(NamedTuple):
    """A record of a topic, and where it lies. `topic` is the contract's name."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    value: bytes | None


class Lookout:
    """Looks for wanted ids in records that ingest counts.

    Parameters
    ----------
    wanted : set of (topic, id)
        By the contract's names of topics.
    refused : set of (topic, partition, offset)
        Where dead letters come from: ingest did not count these, whatever the contract says of them today.
    """

    def __init__(
        self,
        wanted: Iterable[tuple[str, str]],
        refused: Iterable[tuple[str, int, int]],
        future_allowance_s: float,
    ) -> None:
        self._wanted = set(wanted)
        self._raw = {(topic, record_id.encode()) for topic, record_id in self._wanted}
        self._refused = set(refused)
        self._allowance = timedelta(seconds=future_allowance_s)
        self._counted: dict[tuple[str, str], str] = {}

    @property
    def counted(self) -> Mapping[tuple[str, str], str]:
        """Wanted ids that were found, and where first."""
        return self._counted

    def see(self, record: Seen) -> None:
        """Look at one record. A cheap look at the bytes tells most from those that must be read."""
        if record.value is None or not self._may_hold(record.topic, record.value):
            return
        if (record.topic, record.partition, record.offset) in self._refused:
            return
        try:
            found = decode(REPLAYABLE[record.topic][1], record.value)
        except Refused:
            return
        if record.timestamp_ms >= 0:
            written = datetime.fromtimestamp(record.timestamp_ms / 1_000, UTC)
            if found.occurred_at > written + self._allowance:
                return
        which = record.topic, id_of(found)
        if which in self._wanted:
            self._counted.setdefault(which, f"at {record.partition}@{record.offset}")

    def _may_hold(self, topic: str, value: bytes) -> bool:
        if b"\\" in value:
            return True  # names and ids may be written with escapes
        return any((topic, found) in self._raw for found in _IDS[topic].findall(value))
