"""The thread that talks to Kafka for Faust's consumer: reads committed records and says where it has read to."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Hashable, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.transport.drivers import aiokafka as stock
from faust.types import TP

from .fuse import Fuse
from .held import Fetched, Partition


class Start(NamedTuple):
    """Where a partition is read from: `committed` by the group (None when never) and the `position` chosen."""

    committed: int | None
    position: int


class ConsumerThread(stock.AIOKafkaConsumerThread):
    """Faust's consumer thread, reading `read_committed` without `exactly_once` (which breaks table recovery)."""

    _moves: dict[Partition, int]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._moves = {}

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust ties the isolation level to exactly_once and offers no setting. The attribute is read when the
        # consumer starts; aiokafka is pinned, and a test on a real broker sees that aborted records stay away.
        if not hasattr(consumer, "_isolation_level"):
            raise TypeError("this aiokafka keeps its isolation level elsewhere")
        consumer._isolation_level = "read_committed"
        return consumer

    def mark(self, tp: Partition) -> Hashable:
        """Names the present stretch of reading `tp`: another assignment or a seek begins a new one.

        Safe to call from any thread.
        """
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        return (id(assignment), self._moves.get(tp, 0))

    def _moved(self, tps: Collection[Partition]) -> None:
        for tp in tps:
            self._moves[tp] = self._moves.get(tp, 0) + 1

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: Any,
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Fetched:
        records = await super()._fetch_records(
            consumer, active_partitions, timeout=timeout, max_records=max_records
        )
        # No await between the fetcher's answer and this: positions and marks belong to these very records.
        positions: dict[Partition, int] = {}
        ends: dict[Partition, int] = {}
        subscription = consumer._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        if assignment is None:
            return Fetched()
        for tp in set(active_partitions or ()) | set(records):
            state = assignment.state_value(TopicPartition(*tp))
            if state is not None and state.has_valid_position:
                # Prefetched records not yet handed out do not count: the position moves when they are.
                positions[TP(*tp)] = state.position
                if state.highwater is not None:
                    ends[TP(*tp)] = state.highwater
        marks = {tp: self.mark(tp) for tp in positions}
        return Fetched({TP(*tp): batch for tp, batch in records.items()}, positions, marks, ends)

    async def _seek_wait(self, consumer: AIOKafkaConsumer, partitions: Mapping[Any, int]) -> None:
        self._moved(partitions.keys())
        await super()._seek_wait(consumer, partitions)

    def seek(self, partition: Any, offset: int) -> None:
        """Read `partition` from `offset` next."""
        self._moved([partition])
        super().seek(partition, offset)

    async def rewind_to_committed(self, tps: Collection[TP]) -> Mapping[TP, Start]:
        """Read every one of `tps` from its committed offset, or from its beginning when it has none.

        Only these: Faust asks for changelogs too, for which the group commits nothing.
        Raises KafkaError when the group's coordinator cannot be asked.
        """
        result: Mapping[TP, Start] = await self.call_thread(self._rewind_to_committed, tps)
        return result

    async def _rewind_to_committed(self, tps: Collection[TP]) -> Mapping[TP, Start]:
        consumer = self._ensure_consumer()
        wanted = [TopicPartition(*tp) for tp in tps]
        committed = dict(zip(wanted, await asyncio.gather(*map(consumer.committed, wanted)), strict=True))
        never = [tp for tp, offset in committed.items() if offset is None]
        beginnings = await consumer.beginning_offsets(never) if never else {}
        starts = {
            tp: Start(offset, offset if offset is not None else int(beginnings[tp]))
            for tp, offset in committed.items()
        }
        for tp, start in starts.items():
            consumer.seek(tp, start.position)
        self._moved(starts.keys())
        return {TP(*tp): start for tp, start in starts.items()}

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Nothing: Faust compares a monotonic clock with record timestamps here and cries wolf
        (faust-streaming/faust#166). Whether work proceeds is told by the worker's health check."""

    def verify_recovery_event_path(self, now: float, tp: Any) -> None:
        """Nothing, as `verify_event_path`."""


class RebalanceListener(stock.ConsumerRebalanceListener):
    """Faust's listener, whose failures stop the worker: aiokafka logs them and goes on."""

    def on_partitions_revoked(self, revoked: Any) -> Any:
        return self._guarded(self._revoked(revoked))

    async def _revoked(self, revoked: Any) -> None:
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: Any) -> None:
        await self._guarded(super().on_partitions_assigned(assigned))

    async def _guarded(self, call: Any) -> None:
        app = self._thread.app
        fuse: Fuse = app.fuse
        try:
            await call
        except Exception as exc:
            fuse.blow_from(app.loop, exc)
            raise
