"""Records polled without `ConsumerRecord`s: the same ones, with the same content, up to the same position."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord

from service.kafka.as_read import leave_as_read

SOURCE = TopicPartition("events", 3)
LOOKED_AT = ("offset", "timestamp", "timestamp_type", "key", "value")
Rows = list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]

ROWS: Rows = [
    (b"k", b"v" * 300, []),
    (None, b"", [("format", b"otel"), ("none", None)]),
    (b"", None, []),
    (b"k", b"w" * 300, []),
]


def batch(rows: Rows, base: int, *, producer: int = -1, compression: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, compression, int(producer >= 0), producer, 0, 0, 1 << 20)
    for i, (key, value, headers) in enumerate(rows):
        builder.append(i, 1_800_000_000_000 + i, key, value, headers)
    return base.to_bytes(8, "big") + bytes(builder.build())[8:]


def legacy(rows: Rows, magic: int) -> bytes:
    builder = LegacyRecordBatchBuilder(magic, 0, 1 << 20)
    for i, (key, value, _) in enumerate(rows):
        builder.append(i, 1_800_000_000_000 + i if magic else None, key, value, None)
    return bytes(builder.build())


class Side:
    """A fetcher's buffers with one fetch in them, and the state that it moves."""

    def __init__(self, data: bytes, *, ours: bool, aborted: list[tuple[int, int]] | None = None) -> None:
        self.position = 0
        state = SimpleNamespace(paused=False, position=0, consumed_to=self._moved)
        self._state = state
        assignment = SimpleNamespace(active=True, state_value=lambda _: state)
        consumer = SimpleNamespace(_fetcher=SimpleNamespace(_records=OrderedDict()))
        if ours:
            leave_as_read(consumer)
        records = PartitionRecords(
            SOURCE, MemoryRecords(data), aborted or [], 0, None, None, True, READ_COMMITTED
        )
        consumer._fetcher._records[SOURCE] = FetchResult(
            SOURCE, assignment=assignment, partition_records=records, backoff=0
        )
        self.result = consumer._fetcher._records[SOURCE]

    def _moved(self, position: int) -> None:
        self.position = self._state.position = position

    def polled(self, at_once: int | None) -> list[tuple[int, Any]]:
        """Each record, with the position after its poll."""
        found: list[tuple[int, Any]] = []
        while self.result.has_more():
            some = self.result.getall(at_once)
            found += [(self.position, record) for record in some]
        return found


@pytest.mark.parametrize("at_once", [None, 1, 2, 3, 5])
@pytest.mark.parametrize(
    ("data", "aborted"),
    [
        (batch(ROWS, 0) + batch(ROWS, 40), None),
        (batch(ROWS, 0, compression=4) + batch(ROWS, 4, compression=3), None),
        (batch(ROWS, 0, producer=7) + batch(ROWS, 4, producer=8), [(7, 0)]),
        (batch(ROWS, 0, producer=7) + batch(ROWS, 4, producer=8), [(8, 4)]),
        (legacy(ROWS, 1), None),
        (legacy(ROWS, 0), None),
    ],
    ids=["a gap", "compressed", "aborted first", "aborted last", "format 1", "format 0"],
)
def test_they_are_the_same(data: bytes, aborted: list[tuple[int, int]] | None, at_once: int | None) -> None:
    stock = Side(data, ours=False, aborted=aborted)
    ours = Side(data, ours=True, aborted=aborted)
    theirs, read = stock.polled(at_once), ours.polled(at_once)
    assert theirs
    assert ours.position == stock.position
    assert [at for at, _ in read] == [at for at, _ in theirs]
    for (_, record), (_, wrapped) in zip(read, theirs, strict=True):
        assert isinstance(wrapped, ConsumerRecord)
        assert not isinstance(record, ConsumerRecord)
        assert [getattr(record, name) for name in LOOKED_AT] == [getattr(wrapped, name) for name in LOOKED_AT]
        assert tuple(record.headers) == wrapped.headers


def test_a_damaged_batch_is_refused_by_both() -> None:
    damaged = bytearray(batch(ROWS, 0))
    damaged[-1] ^= 1
    for ours in (False, True):
        with pytest.raises(Exception, match="Invalid CRC"):
            Side(bytes(damaged), ours=ours).polled(None)
