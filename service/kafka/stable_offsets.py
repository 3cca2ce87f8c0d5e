"""The committed offset, and not the one before a transaction that is just being completed.

aiokafka 0.14.0 asks for offsets with version 3 at most, which answers at once, also while the group coordinator has
yet to apply a transaction that is already committed: brokers before Kafka 4 do that in the background. Version 7
(KIP-447) has `require_stable`: the broker then says "not yet" instead.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

_UNSTABLE: Final = 88
"""UNSTABLE_OFFSET_COMMIT: a transaction with an offset of this partition is not yet through."""
_RETRY_S: Final = 0.05


class OffsetFetchResponse_v7(Response):
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("index", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class OffsetFetchRequest_v7(RequestStruct):
    API_KEY = 9
    API_VERSION = 7
    RESPONSE_TYPE = OffsetFetchResponse_v7
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("partitions", CompactArray(Int32)),
                ("tags", TaggedFields),
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class StableOffsetFetchRequest(Request[OffsetFetchRequest_v7]):
    API_KEY = 9

    def __init__(self, group: str, source: TopicPartition) -> None:
        self._group = group
        self._source = source

    def build(self, request_struct_class: type[OffsetFetchRequest_v7]) -> OffsetFetchRequest_v7:
        no_tags: dict[int, bytes] = {}
        topics = [(self._source.topic, [self._source.partition], no_tags)]
        return request_struct_class(self._group, topics, True, no_tags)


async def committed(consumer: AIOKafkaConsumer, group_id: str, source: TopicPartition) -> int | None:
    """The group's committed offset of one partition, waiting for transactions that are not yet through.

    A broker without version 7 is asked in aiokafka's way.

    Raises
    ------
    KafkaError
    """
    coordinator = consumer._coordinator  # private, and aiokafka is pinned exactly
    while True:
        await coordinator.ensure_coordinator_known()
        try:
            response = await coordinator._send_req(StableOffsetFetchRequest(group_id, source))
        except NotImplementedError:
            at: int | None = await consumer.committed(source)
            return at
        except KafkaError as error:
            if not error.retriable:
                raise
            await asyncio.sleep(_RETRY_S)
            continue
        codes = {response.error_code}
        offset = -1
        for _, partitions, _ in response.topics:
            for _, offset, _, _, code, _ in partitions:  # noqa: B007 - one topic, one partition
                codes.add(code)
        codes.discard(0)
        if not codes:
            return offset if offset >= 0 else None
        if codes != {_UNSTABLE}:
            error_type = for_code(min(codes))
            if not error_type.retriable:
                raise error_type(f"offset of {source} in group {group_id}")
            coordinator.coordinator_dead()
        await asyncio.sleep(_RETRY_S)
