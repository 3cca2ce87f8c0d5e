"""A record as it lies on a partition, before anybody has looked inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class RawRecord(NamedTuple):
    """One record of the cost-events topic, with nothing of the Kafka client in it.

    Attributes
    ----------
    timestamp_ms : int
        The record's own time as the broker keeps it, epoch milliseconds; -1 when it has none.
    """

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
