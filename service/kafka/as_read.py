"""Records as aiokafka's decoder reads them, without a `ConsumerRecord` around each.

That dataclass of eleven fields takes a third of a record's way through the client, and repeats what is known of
every record: topic, partition, sizes. The decoder's own records have `offset`, `timestamp`, `timestamp_type`,
`key`, `value` and `headers`, by the same names.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords


class _AsRead(PartitionRecords):
    """One fetch of a partition. aiokafka still leaves out what is aborted, and moves the position."""

    def __iter__(self) -> Iterator[Any]:
        unpacked: Iterator[Any] = self._records_iterator
        return unpacked

    @staticmethod
    def _consumer_record(_: TopicPartition, record: Any) -> Any:
        return record


class _Buffers(OrderedDict[TopicPartition, Any]):
    """What the fetcher has fetched and nobody has polled, by partition."""

    def __setitem__(self, source: TopicPartition, fetched: Any) -> None:
        if type(fetched) is FetchResult:
            fetched._partition_records.__class__ = _AsRead
        super().__setitem__(source, fetched)


def leave_as_read(consumer: AIOKafkaConsumer) -> None:
    """From now on `getmany` of this one consumer, which is started, answers the decoder's own records.

    Private, and safe: aiokafka is pinned exactly, and tests/upstream hold its records to the same content.
    """
    consumer._fetcher._records = _Buffers(consumer._fetcher._records)
