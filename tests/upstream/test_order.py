"""Records of a partition come once, in order, and source records only when the tables are recovered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faust.types import TP

from tests.upstream.consumers import CHANGELOG, SOURCE, Bench, bench

P0, P1 = TP(SOURCE, 0), TP(SOURCE, 1)
STATE = TP(CHANGELOG, 0)


def _with_changelog(side: Bench) -> None:
    side.app.tables._changelogs[CHANGELOG] = object()


def _stop_flow_at(side: Bench, count: int) -> None:
    """Stop the flow, as a rebalance does, while the `count`th record is being handed over."""
    deliver = side.consumer.callback

    async def deliver_and_stop(message: Any) -> None:
        await deliver(message)
        if len(side.delivered) == count:
            side.consumer.stop_flow()

    side.consumer.callback = deliver_and_stop


class TestTheRestOfABatch:
    """Flow stops in the middle of a batch. The fetcher has moved on; Faust drops the rest. A seek puts that right
    for source partitions, and none comes for changelogs."""

    async def _interrupt(self, side: Bench) -> list[int]:
        _with_changelog(side)
        side.consumer._set_active_tps({STATE})
        side.consumer.resume_flow()
        _stop_flow_at(side, 2)
        asyncio.get_running_loop().call_later(0.05, side.consumer.resume_flow)
        await side.drain({STATE: [0, 1, 2, 3]}, {STATE: [4, 5]}, until=lambda: (STATE, 5) in side.delivered)
        return [offset for _, offset in side.delivered]

    async def test_stock_loses_it(self) -> None:
        with bench(ours=False) as stock:
            assert await self._interrupt(stock) == [0, 1, 4, 5]

    async def test_ours_delivers_it_first(self) -> None:
        with bench(ours=True) as our:
            assert await self._interrupt(our) == [0, 1, 2, 3, 4, 5]


class TestABatchThatArrivesWhileFlowIsStopped:
    """Faust throws it away and seeks to the committed offsets, of which a changelog has none: the table is then
    recovered without those records."""

    async def _fetch_while_stopped(self, side: Bench) -> list[int]:
        _with_changelog(side)
        side.consumer._set_active_tps({STATE})
        side.consumer.resume_flow()
        fetch = side.consumer._getmany

        async def fetch_and_stop(active_partitions: Any, timeout: float) -> Any:
            side.consumer._getmany = fetch
            side.consumer.stop_flow()
            asyncio.get_running_loop().call_later(0.02, side.consumer.resume_flow)
            return await fetch(active_partitions, timeout)

        async def no_commits() -> dict[TP, None]:
            return {STATE: None}

        side.consumer._getmany = fetch_and_stop
        side.consumer.seek_to_committed = no_commits
        await side.drain({STATE: [0, 1, 2]}, {STATE: [3]}, until=lambda: (STATE, 3) in side.delivered)
        return [offset for _, offset in side.delivered]

    async def test_stock_loses_it(self) -> None:
        with bench(ours=False) as stock:
            assert await self._fetch_while_stopped(stock) == [3]

    async def test_ours_delivers_it(self) -> None:
        with bench(ours=True) as our:
            assert await self._fetch_while_stopped(our) == [0, 1, 2, 3]


class TestSourceRecordsDuringRecovery:
    """A full queue is emptied after its partition was paused for a rebalance: Faust then fetches the partition
    again, and the agent writes to a table that is still being recovered."""

    async def _empty_a_full_queue(self, side: Bench) -> list[tuple[TP, int]]:
        _with_changelog(side)
        await side.open(P0)
        consumer = side.consumer
        consumer.on_buffer_full(P0)  # the agent's queue is full ...
        if side.ours:
            consumer._close({P0})
        consumer._set_active_tps({P0, STATE})
        consumer.pause_partitions({P0, STATE})  # ... a rebalance pauses what was assigned ...
        consumer.on_buffer_drop(P0)  # ... the agent takes from its emptied queue ...
        consumer.resume_partitions({STATE})  # ... and recovery begins.
        await side.drain({P0: [0], STATE: [0]}, until=lambda: (STATE, 0) in side.delivered)
        return side.delivered

    async def test_stock_delivers_them(self) -> None:
        with bench(ours=False) as stock:
            assert (P0, 0) in await self._empty_a_full_queue(stock)

    async def test_ours_keeps_them_until_recovery_is_complete(self) -> None:
        with bench(ours=True) as our:
            assert await self._empty_a_full_queue(our) == [(STATE, 0)]


class TestTheEndOfARecovery:
    """Faust resumes the source partitions with the flow on, and then seeks: what is fetched in between comes
    twice, the second time after later records."""

    async def _recover(self, side: Bench) -> list[int]:
        consumer = side.consumer
        consumer._set_active_tps({P0})
        consumer.resume_flow()
        await side.drain({P0: [0, 1, 2]})
        await side.open(P0, committed=None, position=0)
        await side.drain({P0: [0, 1, 2, 3]})
        return [offset for _, offset in side.delivered]

    async def test_stock_goes_back(self) -> None:
        with bench(ours=False) as stock:
            assert await self._recover(stock) == [0, 1, 2, 0, 1, 2, 3]

    async def test_ours_opens_the_partition_after_the_seek(self) -> None:
        with bench(ours=True) as our:
            assert await self._recover(our) == [0, 1, 2, 3]


class TestOurOrder:
    async def test_partitions_take_turns_and_each_keeps_its_order(self) -> None:
        with bench(ours=True) as our:
            await our.open(P0, P1)
            await our.drain({P0: [0, 1, 2], P1: [0, 1]}, {P1: [2], P0: [3]})
            assert [offset for tp, offset in our.delivered if tp == P0] == [0, 1, 2, 3]
            assert [offset for tp, offset in our.delivered if tp == P1] == [0, 1, 2]
            assert {tp for tp, _ in our.delivered[:2]} == {P0, P1}

    async def test_nothing_fetched_before_a_seek_is_delivered_after_it(self) -> None:
        with bench(ours=True) as our:
            await our.open(P0)
            _stop_flow_at(our, 1)
            await our.drain({P0: [0, 1, 2]})
            await our.open(P0, committed=1)
            our.consumer.resume_flow()
            await our.drain({P0: [1, 2]}, until=lambda: len(our.delivered) == 3)
            assert our.delivered == [(P0, 0), (P0, 1), (P0, 2)]

    async def test_what_another_assignment_fetched_is_not_delivered(self) -> None:
        with bench(ours=True) as our:
            await our.open(P0)
            _stop_flow_at(our, 1)
            await our.drain({P0: [0, 1, 2]})
            await our.consumer.on_partitions_revoked({P0})
            our.consumer.resume_flow()
            await our.drain()
            assert our.delivered == [(P0, 0)]

    @pytest.mark.parametrize("ours", [False, True])
    async def test_a_failure_while_delivering_is_not_swallowed(self, ours: bool) -> None:
        with bench(ours=ours) as side:
            await side.open(P0)

            async def fail(message: Any) -> None:
                raise ValueError("a bug")

            side.consumer.callback = fail
            await side.drain({P0: [0]})
            assert bool(side.fatal) == ours
