"""The faults that need a broker to be seen, and our transport on the same input."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from service.kafka.embedded.broker import EmbeddedBroker
from service.kafka.faust_transport import AppFailedError, GuardedApp, keyed_table
from tests.support.broker import create_topics
from tests.support.patience import PATIENCE_S
from tests.upstream.brokered import (
    committed_offsets,
    end_offsets,
    eventually,
    our_app,
    running,
    stock_app,
    write,
    write_transactions,
)
from tests.upstream.test_tables import Versioned

pytestmark = pytest.mark.broker

TRANSACTIONS = {"transactions": 40, "records": 10, "abort_every": 4}


def collect(app: Any, topic: str, into: list[tuple[int, int, bytes]]) -> None:
    """Give `app` an agent that notes the partition, offset and value of every event of `topic`."""
    source = app.topic(topic, key_serializer="raw", value_serializer="raw")

    @app.agent(source)
    async def agent(stream: Any) -> None:
        async for event in stream.events():
            into.append((event.message.partition, event.message.offset, event.value))


class TestTransactionalInput:
    """Two partitions written by transactional producers, every fourth transaction aborted."""

    async def _write(self, broker: EmbeddedBroker, topic: str) -> int:
        await create_topics(broker.bootstrap, {topic: 2})
        return sum(
            [
                await write_transactions(broker.bootstrap, topic, partition, **TRANSACTIONS)
                for partition in (0, 1)
            ]
        )

    async def test_stock_reads_what_was_aborted_and_commits_a_transaction_a_round(
        self, broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
    ) -> None:
        topic, group = f"{topic_prefix}in", f"{topic_prefix}stock"
        good = await self._write(broker, topic)
        seen: list[tuple[int, int, bytes]] = []
        app = stock_app(group, broker.bootstrap, tmp_path, broker_commit_interval=0.5)
        collect(app, topic, seen)
        async with running(app):
            assert await eventually(lambda: len(seen) > good)
            await asyncio.sleep(2.0)  # four rounds of commits
            committed = await committed_offsets(broker.bootstrap, group, topic)
        assert any(value == b"aborted" for _, _, value in seen)
        ends = await end_offsets(broker.bootstrap, topic, 2)
        assert all(committed.get(partition, 0) < ends[partition] / 2 for partition in ends)

    async def test_ours_reads_what_was_committed_and_commits_to_the_end(
        self, broker: EmbeddedBroker, topic_prefix: str
    ) -> None:
        topic, group = f"{topic_prefix}in", f"{topic_prefix}ours"
        good = await self._write(broker, topic)
        seen: list[tuple[int, int, bytes]] = []
        app = our_app(group, broker.bootstrap)
        collect(app, topic, seen)
        ends = await end_offsets(broker.bootstrap, topic, 2)
        async with running(app):
            assert await eventually(lambda: len(seen) == good)
            async with asyncio.timeout(PATIENCE_S):
                # The last marker as well: nothing lags at rest.
                while await committed_offsets(broker.bootstrap, group, topic) != ends:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        assert {value for _, _, value in seen} == {b"good"}
        assert [offset for p, offset, _ in seen if p == 0] == sorted({o for p, o, _ in seen if p == 0})

        again: list[tuple[int, int, bytes]] = []
        restarted = our_app(group, broker.bootstrap)
        collect(restarted, topic, again)
        async with running(restarted):
            assert await eventually(lambda: restarted.ready)
            await write_transactions(
                broker.bootstrap, topic, 1, transactions=1, records=1, abort_every=TRANSACTIONS["abort_every"]
            )
            assert await eventually(lambda: again)
        assert again == [(1, ends[1], b"good")]


class TestAGracefulRebalance:
    """faust-streaming/faust#502: a second worker joins between two commits of the first."""

    async def _second_worker_joins(self, broker: EmbeddedBroker, topic: str, apps: list[Any]) -> int:
        """How many events were processed more than once."""
        await create_topics(broker.bootstrap, {topic: 2})
        records = [(b"k", str(number).encode()) for number in range(50)]
        for partition in (0, 1):
            await write(broker.bootstrap, topic, partition, *records)
        seen: list[tuple[int, int, bytes]] = []
        for app in apps:
            collect(app, topic, seen)
        async with running(apps[0]):
            assert await eventually(lambda: len(seen) == 100)
            async with running(apps[1]):
                assert await eventually(lambda: {len(app._assignment or ()) for app in apps} == {1})
                for partition in (0, 1):
                    await write(broker.bootstrap, topic, partition, (b"k", b"last"))
                assert await eventually(lambda: sum(value == b"last" for _, _, value in seen) == 2)
        return len(seen) - 102

    async def test_stock_processes_again_what_it_had_acknowledged(
        self, broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
    ) -> None:
        apps = [
            stock_app(f"{topic_prefix}stock", broker.bootstrap, tmp_path, broker_commit_interval=300.0)
            for _ in range(2)
        ]
        assert await self._second_worker_joins(broker, f"{topic_prefix}in", apps) >= 50

    async def test_ours_processes_each_event_once(self, broker: EmbeddedBroker, topic_prefix: str) -> None:
        apps = [our_app(f"{topic_prefix}ours", broker.bootstrap, commit_lag_s=300.0) for _ in range(2)]
        assert await self._second_worker_joins(broker, f"{topic_prefix}in", apps) == 0


class TestRecovery:
    """A table is recovered wholly, or the worker says that it cannot."""

    async def _topics(self, broker: EmbeddedBroker, prefix: str) -> tuple[str, str]:
        topic, changelog = f"{prefix}in", f"{prefix}state"
        await create_topics(broker.bootstrap, {topic: 1})
        await create_topics(broker.bootstrap, {changelog: 1}, {"cleanup.policy": "compact"})
        return topic, changelog

    def _with_table(self, app: GuardedApp, topic: str, changelog: str) -> Any:
        collect(app, topic, [])
        return keyed_table(app, name="state", changelog=changelog, partitions=1, codec=Versioned())

    def _stock_with_table(self, app: Any, topic: str, changelog: str) -> Any:
        collect(app, topic, [])
        named = app.topic(changelog, partitions=1, acks=False, internal=True, allow_empty=True, key_type=str)
        return app.Table("state", partitions=1, key_type=str, changelog_topic=named)

    async def _end_with_a_hole(self, broker: EmbeddedBroker, changelog: str, value: bytes) -> None:
        await write(broker.bootstrap, changelog, 0, (b"a", value))
        await write_transactions(broker.bootstrap, changelog, 0, transactions=1, records=2, abort_every=1)

    async def test_ours_ends_where_the_last_offsets_hold_no_record(
        self, broker: EmbeddedBroker, topic_prefix: str
    ) -> None:
        topic, changelog = await self._topics(broker, topic_prefix)
        await self._end_with_a_hole(broker, changelog, b"\x017")
        app = our_app(f"{topic_prefix}ours", broker.bootstrap)
        table = self._with_table(app, topic, changelog)
        async with running(app):
            assert await eventually(lambda: app.ready)
            assert (dict(table.items()), app.assigned(topic)) == ({"a": 7}, frozenset({0}))

    async def test_stock_waits_there_for_ever(
        self, broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
    ) -> None:
        topic, changelog = await self._topics(broker, topic_prefix)
        await self._end_with_a_hole(broker, changelog, b"7")
        app = stock_app(f"{topic_prefix}stock", broker.bootstrap, tmp_path)
        self._stock_with_table(app, topic, changelog)
        async with running(app):
            assert await eventually(lambda: app.in_recovery)
            assert not await eventually(lambda: app.tables.actives_ready, 12.0)

    async def test_ours_stops_at_a_record_it_cannot_read(
        self, broker: EmbeddedBroker, topic_prefix: str
    ) -> None:
        topic, changelog = await self._topics(broker, topic_prefix)
        await write(broker.bootstrap, changelog, 0, (b"a", b"\x017"), (b"a", b"\x07?"), (b"b", b"\x01 1"))
        fatal: list[BaseException | str] = []
        app = our_app(f"{topic_prefix}ours", broker.bootstrap, fatal)
        self._with_table(app, topic, changelog)
        async with running(app) as task:
            with pytest.raises(AppFailedError):
                await asyncio.wait_for(task, PATIENCE_S)
        assert [type(reason).__name__ for reason in fatal] == ["ValueDecodeError"]

    async def test_stock_goes_on_with_an_older_value(
        self, broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
    ) -> None:
        topic, changelog = await self._topics(broker, topic_prefix)
        await write(broker.bootstrap, changelog, 0, (b'"a"', b"7"), (b'"a"', b"\x07?"), (b'"b"', b"1"))
        app = stock_app(f"{topic_prefix}stock", broker.bootstrap, tmp_path)
        table = self._stock_with_table(app, topic, changelog)
        async with running(app):
            assert await eventually(lambda: app.tables.actives_ready)
            assert sorted(table.values()) == [1, 7]


class TestASendThatFails:
    """Faust warns; the alert is gone and the event is done."""

    async def _produce_too_much(self, broker: EmbeddedBroker, prefix: str, app: Any) -> None:
        topic, out = f"{prefix}in", f"{prefix}out"
        await create_topics(broker.bootstrap, {topic: 1})
        await create_topics(broker.bootstrap, {out: 1}, {"max.message.bytes": "1000"})
        source = app.topic(topic, key_serializer="raw", value_serializer="raw")
        target = app.topic(out, value_serializer="raw")

        @app.agent(source)
        async def agent(stream: Any) -> None:
            async for _ in stream:
                await target.send(value=os.urandom(10_000))

        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
        await producer.start()
        await producer.send_and_wait(topic, b"go", partition=0)
        await producer.stop()

    async def test_stock_commits_the_event(
        self, broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
    ) -> None:
        group = f"{topic_prefix}stock"
        app = stock_app(group, broker.bootstrap, tmp_path, broker_commit_interval=0.2)
        await self._produce_too_much(broker, topic_prefix, app)
        async with running(app):
            assert await eventually(lambda: app.monitor.send_errors)
            await asyncio.sleep(1.0)
            assert await committed_offsets(broker.bootstrap, group, f"{topic_prefix}in") == {0: 1}

    async def test_ours_stops_and_leaves_it_for_the_next_worker(
        self, broker: EmbeddedBroker, topic_prefix: str
    ) -> None:
        fatal: list[BaseException | str] = []
        group = f"{topic_prefix}ours"
        app = our_app(group, broker.bootstrap, fatal)
        await self._produce_too_much(broker, topic_prefix, app)
        async with running(app) as task:
            with pytest.raises(AppFailedError):
                await asyncio.wait_for(task, PATIENCE_S)
        assert len(fatal) == 1
        assert await committed_offsets(broker.bootstrap, group, f"{topic_prefix}in") in ({}, {0: 0})
