"""A rebalance callback that fails must not pass unnoticed: the worker would go on with half of its state."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.transport.drivers.aiokafka import ConsumerRebalanceListener as StockListener
from faust.types import TP

from service.kafka.faust_transport.fuse import Fuse
from service.kafka.faust_transport.thread import RebalanceListener
from tests.upstream.consumers import SOURCE, bench

P0 = TP(SOURCE, 0)


def _failing_thread(fatal: list[BaseException | str]) -> Any:
    async def fail(*args: Any) -> None:
        raise RuntimeError("half way through")

    app = SimpleNamespace(
        fuse=Fuse(fatal.append), loop=asyncio.get_running_loop(), on_rebalance_start=lambda: None
    )
    consumer = SimpleNamespace(_coordinator=SimpleNamespace(generation=1))
    return SimpleNamespace(
        app=app, on_partitions_revoked=fail, on_partitions_assigned=fail, _ensure_consumer=lambda: consumer
    )


async def _revoke_through_aiokafka(listener: Any) -> None:
    """aiokafka's own code on the way into a rebalance, as the coordinator runs it."""
    coordinator = GroupCoordinator.__new__(GroupCoordinator)
    coordinator._subscription = SimpleNamespace(begin_reassignment=lambda: None, listener=listener)
    coordinator._enable_auto_commit = False
    coordinator.group_id = "unit"
    await coordinator._on_join_prepare(SimpleNamespace(tps={P0}))


class TestOnRevocation:
    async def test_stock_goes_on(self) -> None:
        fatal: list[BaseException | str] = []
        await _revoke_through_aiokafka(StockListener(_failing_thread(fatal)))
        await asyncio.sleep(0)
        assert fatal == []

    async def test_ours_stops_the_worker(self) -> None:
        fatal: list[BaseException | str] = []
        await _revoke_through_aiokafka(RebalanceListener(_failing_thread(fatal)))
        await asyncio.sleep(0)
        assert [str(reason) for reason in fatal] == ["half way through"]


class TestOnAssignment:
    async def test_ours_stops_the_worker(self) -> None:
        fatal: list[BaseException | str] = []
        with pytest.raises(RuntimeError):
            await RebalanceListener(_failing_thread(fatal)).on_partitions_assigned({P0})
        await asyncio.sleep(0)
        assert [str(reason) for reason in fatal] == ["half way through"]


class TestACrashedService:
    """Faust marks services as crashed and leaves it to `faust.Worker` to notice; a program of ours has none."""

    async def test_reaches_the_program(self) -> None:
        with bench(ours=True) as our:
            cause = RuntimeError("a task of the recovery failed")
            await our.app.tables.recovery.crash(cause)
            assert our.fatal == [cause]
            assert our.app.should_stop

    async def test_is_told_once(self) -> None:
        with bench(ours=True) as our:
            await our.app.tables.crash(RuntimeError("first"))
            await our.consumer.crash(RuntimeError("second"))
            our.app.fuse.blow("third")
            assert [str(reason) for reason in our.fatal] == ["first"]
