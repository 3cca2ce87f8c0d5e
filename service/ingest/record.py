"""A record as it lies on a partition, before anybody has looked inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Record(Protocol):
    """What the fold asks of a record, by the names of the Kafka client's own, which is taken as it comes."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """As the broker keeps it, epoch milliseconds; -1 when it has none."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class RawRecord(NamedTuple):
    """A record with nothing of the Kafka client in it."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
