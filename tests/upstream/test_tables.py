"""Tables in memory: keys of partitions that are gone, and changelog records nobody can read."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from faust.serializers.codecs import Codec
from faust.streams import _current_event
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from service.kafka.faust_transport import drop_foreign_keys, keyed_table
from tests.upstream.consumers import CHANGELOG, SOURCE, Bench, bench


class Versioned(Codec):
    """A version byte and JSON."""

    def _dumps(self, obj: Any) -> bytes:
        return b"\x01" + json.dumps(obj).encode()

    def _loads(self, s: bytes) -> Any:
        if s[:1] != b"\x01":
            raise ValueError(f"unknown version {s[:1]!r}")
        return json.loads(s[1:])


def message(topic: str, partition: int, offset: int, key: bytes, value: bytes | None) -> ConsumerMessage:
    return ConsumerMessage(
        topic, partition, offset, 0.0, 0, (), key, value, None, tp=TP(topic, partition), generation_id=0
    )


@contextmanager
def processing(side: Bench, partition: int) -> Iterator[None]:
    """As inside an agent that has an event of `partition` in hand."""
    event = side.app.create_event(b"k", b"v", (), message(SOURCE, partition, 0, b"k", b"v"))
    token = _current_event.set(weakref.ref(event))
    try:
        yield
    finally:
        _current_event.reset(token)


def table_of(side: Bench) -> Any:
    if side.ours:
        return keyed_table(side.app, name="state", changelog=CHANGELOG, partitions=2, codec=Versioned())
    return side.app.Table("state", partitions=2, key_type=str)


class TestKeysOfPartitionsThatAreGone:
    """Faust's memory store knows the partition of recovered keys only: what the agent wrote stays for ever."""

    async def _lose_partition_1(self, side: Bench) -> tuple[Any, TP]:
        table = table_of(side)
        for partition, key in [(0, "kept"), (1, "foreign")]:
            with processing(side, partition):
                table[key] = {"calls": 1}
        kept = TP(table.changelog_topic_name, 0)
        lost = TP(table.changelog_topic_name, 1)
        await table.on_rebalance({kept}, {lost}, set(), 2)
        return table, kept

    async def test_linger_in_stock(self) -> None:
        with bench(ours=False) as stock:
            table, kept = await self._lose_partition_1(stock)
            await table.on_recovery_completed({kept}, set())
            assert set(table.keys()) == {"kept", "foreign"}

    async def test_are_dropped_by_ours_on_assignment(self) -> None:
        with bench(ours=True) as our:
            table, _ = await self._lose_partition_1(our)
            assert dict(table.items()) == {"kept": {"calls": 1}}

    async def test_can_be_dropped_at_any_time(self) -> None:
        with bench(ours=True) as our:
            table = table_of(our)
            for partition in (0, 1):
                with processing(our, partition):
                    table[f"k{partition}"] = partition
            assert [key for key, _ in table.items_of(1)] == ["k1"]
            assert drop_foreign_keys(table, {TP(CHANGELOG, 1), TP("other", 0)}) == 1
            assert dict(table.items()) == {"k1": 1}


class TestAnUndecodableChangelogRecord:
    """Faust throws the error into the recovery's queue, which warns "Error in recovery" and takes the next
    record: the key is missing or old, and nobody knows."""

    async def test_stops_the_worker(self) -> None:
        with bench(ours=True) as our:
            table = table_of(our)
            channel = table.changelog_topic.clone_using_queue(our.app.tables.changelog_queue)
            bad = message(CHANGELOG, 0, 0, b"k", b"\x07?")
            await channel.decode(bad)
            assert [type(reason).__name__ for reason in our.fatal] == ["ValueDecodeError"]

    async def test_a_failure_to_apply_stops_the_worker_too(self) -> None:
        with bench(ours=True) as our:
            table = table_of(our)
            with pytest.raises(AttributeError):
                table.apply_changelog_batch([SimpleNamespace(key="k")])
            assert len(our.fatal) == 1


class TestOurTable:
    async def test_writes_what_its_codec_makes_to_the_partition_of_the_event(self) -> None:
        with bench(ours=True) as our:
            table = table_of(our)
            with processing(our, 1):
                table["checkout"] = {"calls": 3}
            sent = our.app.producer.buffer.pending.get_nowait().message
            assert (sent.key, sent.value, sent.partition) == (b"checkout", b'\x01{"calls": 3}', 1)
            assert sent.channel.get_topic_name() == CHANGELOG


class TestAKeyDeletedAndSetAgain:
    """Faust applies a batch's deletions last, and takes a falsy value set after one for the deletion."""

    async def _recover(self, side: Bench, zero: bytes) -> dict[str, Any]:
        table = table_of(side)
        channel = table.changelog_topic.clone_using_queue(side.app.tables.changelog_queue)
        key = b"a" if side.ours else b'"a"'
        table.apply_changelog_batch(
            [
                await channel.decode(message(CHANGELOG, 0, offset, key, value))
                for offset, value in enumerate([zero, None, zero])
            ]
        )
        return dict(table.items())

    async def test_is_lost_by_stock(self) -> None:
        with bench(ours=False) as stock:
            assert await self._recover(stock, b"0") == {}

    async def test_is_kept_by_ours(self) -> None:
        with bench(ours=True) as our:
            assert await self._recover(our, b"\x010") == {"a": 0}
            assert our.fatal == []


class TestAWorkerThatWokeLate:
    """Suspended for longer than its session, a worker wakes and writes after its successor did. Faust recovers
    what was written last."""

    async def _recover(self, side: Bench, table: Any, *values: bytes) -> dict[str, Any]:
        channel = table.changelog_topic.clone_using_queue(side.app.tables.changelog_queue)
        key = b"a" if side.ours else b'"a"'
        table.apply_changelog_batch(
            [
                await channel.decode(message(CHANGELOG, 0, offset, key, value))
                for offset, value in enumerate(values)
            ]
        )
        return dict(table.items())

    async def test_sets_the_state_back_in_stock(self) -> None:
        with bench(ours=False) as stock:
            table = table_of(stock)
            assert list((await self._recover(stock, table, b"10", b"25", b"11")).values()) == [11]

    async def test_is_overruled_by_the_later_offset_in_ours(self) -> None:
        with bench(ours=True) as our:
            table = keyed_table(
                our.app,
                name="state",
                changelog=CHANGELOG,
                partitions=2,
                codec=Versioned(),
                supersedes=lambda old, new: new >= old,
            )
            recovered = await self._recover(our, table, b"\x0110", b"\x0125", b"\x0111")
            assert (recovered, our.fatal) == ({"a": 25}, [])
