"""Finds ids among the records of a topic: what a gateway has sent again by itself must not be replayed, too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from schemas.reasons import Refused
from schemas.topics import OUTCOMES
from service.dead_letters.reading import REPLAYABLE, Headers, held, id_of, names_format
from service.ingest.adapters import NATIVE

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
    headers: Headers = ()


class Lookout:
    """Looks for wanted ids in records that ingest counts.

    Parameters
    ----------
    wanted : set of (topic, id)
        By the contract's names of topics.
    refused : set of (topic, partition, offset)
        Where dead letters come from: ingest did not count these, whatever the contract says of them today.
    default : str
        Format of cost events whose headers name none.
    """

    def __init__(
        self,
        wanted: Iterable[tuple[str, str]],
        refused: Iterable[tuple[str, int, int]],
        future_allowance_s: float,
        default: str = NATIVE,
    ) -> None:
        self._wanted = set(wanted)
        self._raw = {(topic, record_id.encode()) for topic, record_id in self._wanted}
        self._refused = set(refused)
        self._default = default
        self._allowance = timedelta(seconds=future_allowance_s)
        self._counted: dict[tuple[str, str], str] = {}

    @property
    def counted(self) -> Mapping[tuple[str, str], str]:
        """Wanted ids that were found, and where first."""
        return self._counted

    def see(self, record: Seen) -> None:
        """Look at one record. A cheap look at the bytes tells most from those that must be read."""
        if record.value is None or not self._may_hold(record):
            return
        if (record.topic, record.partition, record.offset) in self._refused:
            return
        try:
            found = held(record.topic, record.value, record.headers, self._default).records
        except Refused:
            return
        if record.timestamp_ms >= 0:
            latest = datetime.fromtimestamp(record.timestamp_ms / 1_000, UTC) + self._allowance
            if any(one.occurred_at > latest for one in found):
                return
        for which in ((record.topic, id_of(one)) for one in found):
            if which in self._wanted:
                self._counted.setdefault(which, f"at {record.partition}@{record.offset}")

    def _may_hold(self, record: Seen) -> bool:
        value = record.value or b""
        if b"\\" in value or self._default != NATIVE or names_format(record.headers):
            return True  # names and ids may be written with escapes, and adapters make ids of other fields
        return any((record.topic, found) in self._raw for found in _IDS[record.topic].findall(value))
