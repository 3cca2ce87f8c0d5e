"""Polling that never loses a record to another partition's fault, and never retries one for ever.

When a batch cannot be decoded, aiokafka 0.14.0 raises from `getmany` after it has moved the positions of the
partitions it had drained before, in the same call: their records are gone unless somebody seeks back. And it
raises again with every call, for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    IllegalStateError,
    KafkaError,
    RecordTooLargeError,
    UnsupportedCodecError,
)

from service.errors import Stalled

_LOG = logging.getLogger(__name__)
_MAX_FAILURES: Final = 3
"""A batch that was damaged on its way is whole when it is fetched again; one that lies damaged never is."""
_ONE_TIMEOUT_MS: Final = 1_000

Records = dict[TopicPartition, list[ConsumerRecord]]


class Poller:
    """Polls a consumer, and finds out which partition it is when a batch cannot be decoded."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._failures: dict[TopicPartition, tuple[int, int]] = {}  # position, how often

    async def poll(
        self, positions: Mapping[TopicPartition, int], *, timeout_ms: int, max_records: int
    ) -> Records:
        """The next records.

        Parameters
        ----------
        positions : mapping
            The partitions to poll, and for each the offset after the last record that the caller has taken.
            Empty: whatever is assigned.

        Raises
        ------
        Stalled
            A batch could not be decoded several times; says which and what to do.
        KafkaError
            The broker or the group's coordinator turns us away.
        """
        try:
            records: Records = await self._consumer.getmany(
                *positions, timeout_ms=timeout_ms, max_records=max_records
            )
        except Exception as error:
            if _of_the_broker(error):
                if not getattr(error, "retriable", False):
                    raise
                _LOG.warning("polling, will try again: %r", error)
                await asyncio.sleep(timeout_ms / 1_000)
                return {}
            _LOG.warning("cannot read a batch, trying each partition by itself: %r", error)
            return await self._one_by_one(positions, max_records)
        return records

    async def _one_by_one(self, positions: Mapping[TopicPartition, int], max_records: int) -> Records:
        found: Records = {}
        try:
            for source, position in positions.items():
                self._consumer.seek(source, position)
            for source, position in positions.items():
                found[source] = await self._up_to_the_fault(source, position, max_records)
        except IllegalStateError:
            pass  # the partitions changed hands meanwhile: whoever opens them next seeks
        return {source: records for source, records in found.items() if records}

    async def _up_to_the_fault(
        self, source: TopicPartition, position: int, max_records: int
    ) -> list[ConsumerRecord]:
        """Records of one partition, one at a time: aiokafka gives none of a fetch that has a fault further on."""
        taken: list[ConsumerRecord] = []
        try:
            while len(taken) < max_records:
                wait_ms = 0 if taken else _ONE_TIMEOUT_MS
                one = await self._consumer.getmany(source, timeout_ms=wait_ms, max_records=1)
                if not one:
                    break
                taken += one[source]
        except Exception as error:
            if _of_the_broker(error):
                raise
            position = taken[-1].offset + 1 if taken else position
            self._consumer.seek(source, position)
            self._failed(source, position, error)
        return taken

    def _failed(self, source: TopicPartition, position: int, error: Exception) -> None:
        before, failures = self._failures.get(source, (position, 0))
        failures = failures + 1 if before == position else 1
        self._failures[source] = position, failures
        if failures >= _MAX_FAILURES:
            raise Stalled(
                f"a batch of {source.topic}, partition {source.partition}, at offset {position}"
                f" cannot be decoded ({type(error).__name__}: {error}). Nothing from there on is accounted for."
                " To skip it, stop ingest and set the group's committed offset behind the batch"
                " (kafka-consumer-groups --reset-offsets)."
            ) from error


def _of_the_broker(error: Exception) -> bool:
    """What says nothing about a batch: no group, no authorisation, no connection."""
    return isinstance(error, KafkaError) and not isinstance(
        error, (CorruptRecordException, RecordTooLargeError, UnsupportedCodecError)
    )
