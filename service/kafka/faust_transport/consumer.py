"""Faust's consumer with sound bookkeeping: what is delivered, in which order, and what may be committed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, cast

from faust.transport.drivers import aiokafka as stock
from faust.types import TP
from mode import Service

from .fuse import Fuse
from .held import Fetched, HeldRecords, Partition
from .ledger import PartitionLedger
from .producer import Producer
from .thread import ConsumerThread, RebalanceListener

#: Longest wait for the event in hand, for acknowledgements and for a commit, when partitions are given up. Below
#: the rebalance timeout of the group, or the coordinator would have thrown this member out by then.
HAND_OVER_TIMEOUT_S = 25.0


class Consumer(stock.Consumer):
    """At-least-once as it should be. A source partition is open from the end of a recovery until it is revoked;
    only then are its records delivered, each once and in order, and only those acknowledged some time ago, with
    everything sent on their behalf in Kafka, are committed.
    """

    RebalanceListener = RebalanceListener
    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ledgers: dict[Partition, PartitionLedger] = {}
        self._held = HeldRecords(lambda tp: self._thread.mark(tp))
        self._commit_until = math.inf
        self._commit_all = False

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def fuse(self) -> Fuse:
        fuse: Fuse = self.app.fuse
        return fuse

    @property
    def commit_lag_s(self) -> float:
        lag: float = self.app.commit_lag_s
        return lag

    # ---- reading -------------------------------------------------------------------------------------------

    def on_buffer_drop(self, tp: TP) -> None:
        """A full queue has emptied: fetch `tp` again, unless it was paused for a rebalance meanwhile."""
        if tp in self._paused_partitions:
            self._buffered_partitions.discard(tp)
        else:
            super().on_buffer_drop(tp)

    def _deliverable(self, tp: Partition) -> bool:
        if self._is_changelog_tp(TP(*tp)):
            return tp in self._active_partitions
        return tp in self._ledgers

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Yield what may be delivered now, round robin over topics and partitions, in order within each."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        batch = self._held.waiting(self._deliverable)
        if not batch:
            await self._fetch(timeout)
            batch = self._held.waiting(self._deliverable)
        for tp, _ in self.scheduler.iterate(batch):
            if self.should_stop or not self.flow_active:
                return
            # Both may have changed while the last record was handed over; what is not taken stays held.
            if not self._held.is_current(tp) or not self._deliverable(tp):
                continue
            record = self._held.take(tp)
            ledger = self._ledgers.get(tp)
            if ledger is None or ledger.deliver(record.offset):
                yield tp, self._to_message(tp, record)
            else:
                self.log.warning("offset %s of %s came again and was left out", record.offset, tp)
        self._pass_holes()

    async def _fetch(self, timeout: float) -> None:
        # A copy: the set changes during a rebalance, and to the fetcher an empty one means every partition.
        active = frozenset(self._get_active_partitions())
        if active:
            fetched = cast(Fetched, await self._getmany(active, timeout))
            self._held.add(fetched)
            for tp, end in fetched.ends.items():
                self.app.monitor.track_tp_end_offset(tp, end)
        else:
            await self.sleep(min(timeout, 0.2))
        self._pass_holes()

    def _pass_holes(self) -> None:
        for tp, ledger in self._ledgers.items():
            position = self._held.delivered_to(tp)
            if position is not None:
                ledger.pass_to(position)

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                delivered = 0
                async for _, message in self.getmany(timeout=1.0):
                    await self.callback(message)
                    delivered += 1
                    if delivered % 100 == 0:
                        await asyncio.sleep(0)
                await asyncio.sleep(0)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            # During a rebalance Faust's fetcher takes any cancellation for a crash, shutdown included.
            if not self.app.should_stop:
                raise
        except Exception as exc:
            self.fuse.blow(exc)
            raise

    async def perform_seek(self) -> None:
        """Open the source partitions at their committed offsets. Recovery calls this when tables are complete."""
        generation = self.app.consumer_generation_id
        acks_enabled_for = self.app.topics.acks_enabled_for
        sources = [tp for tp in self.assignment() if acks_enabled_for(tp.topic)]
        starts = await self._thread.rewind_to_committed(sources) if sources else {}
        if generation != self.app.consumer_generation_id:
            return
        for tp, start in starts.items():
            self._ledgers[tp] = PartitionLedger(start.position)
            self._committed_offset[tp] = start.committed
            self._read_offset[tp] = start.position
            self._acked.pop(tp, None)
            self._acked_index.pop(tp, None)

    @Service.task
    async def _recover_past_holes(self) -> None:
        """Let recovery end where the last offsets of a changelog hold no record (markers, purged tombstones).

        Faust waits there for ever unless `exactly_once` is on.
        """
        before: dict[TP, int] = {}
        while not self.should_stop:
            await self.sleep(0.5)
            now = dict(self._recovered_up_to_a_hole())
            for tp, offset in now.items():
                # Seen twice in a row, with the loop run in between: no record is on its way to the table.
                if before.get(tp) == offset:
                    recovery = self.app.tables.recovery
                    recovery.active_offsets[tp] = recovery.active_highwaters[tp]
            before = now

    def _recovered_up_to_a_hole(self) -> Iterator[tuple[TP, int]]:
        tables = self.app.tables
        if not tables.recovery.in_recovery or not tables.changelog_queue.empty():
            return
        offsets = tables.recovery.active_offsets
        for tp, highwater in tables.recovery.active_highwaters.items():
            offset, position = offsets.get(tp), self._held.delivered_to(tp)
            if offset is not None and offset < highwater and position is not None and position > highwater:
                yield tp, offset

    # ---- committing ----------------------------------------------------------------------------------------

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: a ledger has no gaps."""

    def _collect_acknowledgements(self) -> None:
        # Streams append to `_acked` from compiled code, past `Consumer.ack`: it is an inbox, emptied here. The
        # time noted is that of the emptying: never too early.
        now = self.loop.time()
        for tp, offsets in self._acked.items():
            ledger = self._ledgers.get(tp)
            if ledger is not None:
                for offset in offsets:
                    ledger.acknowledge(offset, now)
            offsets.clear()
        for index in self._acked_index.values():
            index.clear()

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (TP(*tp) for tp in list(self._ledgers) if topics is None or tp in topics or tp[0] in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self._ledgers[tp].committable(self._commit_until)

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what was acknowledged at least `commit_lag_s` ago. True when something was committed."""
        if self.fuse.blown:
            return False
        self._collect_acknowledgements()
        self._commit_until = math.inf if self._commit_all else self.loop.time() - self.commit_lag_s
        did: bool = await super().force_commit(topics, start_new_transaction=start_new_transaction)
        return did

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        generation = self.app.consumer_generation_id
        producer = cast(Producer, self.app.producer)
        if not await producer.settle(HAND_OVER_TIMEOUT_S):
            self.log.warning("not committing: %s records are still on their way to Kafka", producer.unsettled)
            return False
        if self.fuse.blown or generation != self.app.consumer_generation_id:
            return False
        assigned = self.assignment()
        mine = {tp: offset for tp, offset in offsets.items() if tp in assigned and tp in self._ledgers}
        if not mine:
            return False
        try:
            # aiokafka retries for ever while the coordinator cannot be reached.
            async with asyncio.timeout(HAND_OVER_TIMEOUT_S):
                did = await self._commit(mine)
        except TimeoutError:
            did = False
        if not did:
            # The bookkeeping stays, so that the next round tries again (faust-streaming/faust#316).
            self.log.warning("commit failed and will be tried again: %s", mine)
            return False
        self.app.tables.on_commit(mine)
        self._committed_offset.update(mine)
        self.app.monitor.on_tp_commit(mine)
        return True

    async def on_task_error(self, exc: BaseException) -> None:
        """An agent failed. Faust has acknowledged the event all the same and would commit it now."""
        self.fuse.blow(exc)

    # ---- giving partitions up ------------------------------------------------------------------------------

    async def wait_empty(self) -> None:
        """Finish the event in hand and commit everything done. Called on revocation and on shutdown.

        An event still in hand after `HAND_OVER_TIMEOUT_S` stops the worker without a commit: its partition's next
        owner will process it again, and two at once would overwrite each other's state.
        """
        deadline = self.loop.time() + HAND_OVER_TIMEOUT_S
        while self._in_hand() and not self.fuse.blown:
            if self.loop.time() > deadline:
                self.fuse.blow(
                    f"an event took more than {HAND_OVER_TIMEOUT_S:g} s while partitions were given up"
                )
                return
            await self._wait_for_ack(timeout=1)
        await self.commit_now()

    def _in_hand(self) -> bool:
        return any(not message.acked for message in list(self._unacked_messages))

    async def commit_now(self) -> bool:
        """Commit everything acknowledged, however lately."""
        while await self.maybe_wait_for_commit_to_finish():
            pass
        self._commit_all = True
        try:
            return bool(await self.commit())
        finally:
            self._commit_all = False

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit first, then let Faust clear: it clears first, so that everything since the last commit is
        processed again after every rebalance (faust-streaming/faust#502)."""
        if revoked and not self.app.should_stop:
            self.stop_flow()
            self.app.flow_control.suspend()
            self.app.flow_control.clear()
            await self.wait_empty()
        self._close(revoked)
        await super().on_partitions_revoked(revoked)

    def _close(self, tps: Iterable[Partition]) -> None:
        # Every partition, not only `tps`: aiokafka's rebalances are eager and revoke all.
        self._ledgers.clear()
        self._held.clear()
        self._unacked_messages.clear()

    def release(self) -> None:
        """Close the loop of a thread that was never started; one that ran has closed it."""
        loop = self._thread.thread_loop
        if not (loop.is_running() or loop.is_closed()) and not self._thread.started:
            loop.close()
