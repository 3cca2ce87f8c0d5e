"""The gateway library on a real broker: nothing is lost or doubled while it is away, and commands get through."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import Call, Connection, Feed, Gate, GatePolicy, Publisher
from gateway.broker import producer
from schemas.base import Record
from schemas.budgets import BudgetSnapshot, SnapshotScope
from schemas.events import CostEvent
from schemas.throttles import Block, Release, Scope, ThrottleAck, ThrottleCommand
from schemas.topics import BUDGETS, COST_EVENTS, THROTTLE_ACKS, THROTTLE_COMMANDS
from service.kafka.embedded.broker import EmbeddedBroker
from tests.support.broker import create_topics, read_all
from tests.support.patience import until

pytestmark = pytest.mark.broker


def event(number: int) -> CostEvent:
    return CostEvent(
        event_id=f"e-{number}",
        occurred_at=datetime.now(UTC),
        provider="openai",
        model="gpt-4o",
        workflow=f"w-{number % 5}",
    )


async def arrived(connection: Connection) -> Counter[str]:
    records = await read_all(connection.bootstrap_servers, connection.topic(COST_EVENTS))
    return Counter(CostEvent.from_json(record.value).event_id for record in records)


@contextmanager
def own_broker(broker: EmbeddedBroker, folder: Path) -> Iterator[EmbeddedBroker]:
    own = type(broker)(data_dir=folder)
    try:
        yield own
    finally:
        own.stop()


async def test_a_broker_that_goes_away_and_comes_back_loses_and_doubles_nothing(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    with own_broker(broker, tmp_path / "broker") as own:
        connection = Connection(own.bootstrap, topic_prefix)
        # It is away at the start, too.
        with Publisher(connection, tmp_path / "spool") as publisher:
            number = 0

            async def publish(count: int) -> None:
                nonlocal number
                for _ in range(count):
                    assert publisher.publish(event(number))
                    number += 1
                    if number % 50 == 0:
                        await asyncio.sleep(0.01)

            await publish(300)
            await asyncio.to_thread(own.start)
            await create_topics(own.bootstrap, {connection.topic(COST_EVENTS): 3})
            await publish(500)
            publishing = asyncio.create_task(publish(2_000))
            await asyncio.sleep(0.1)
            own.kill()
            await publishing
            await asyncio.to_thread(own.start)
            await publish(200)
            await until(lambda: publisher.counts()["delivered"] >= number)
        found = await arrived(connection)
        records = await read_all(own.bootstrap, connection.topic(COST_EVENTS))
    assert set(found) == {f"e-{n}" for n in range(number)}, "nothing is lost"
    assert set(found.values()) == {1}, "nothing is doubled: the idempotent producer retried"
    for partition in range(3):
        order = [
            int(e.event_id[2:])
            for r in records
            if r.partition == partition
            for e in [CostEvent.from_json(r.value)]
        ]
        assert order == sorted(order)


async def put(connection: Connection, *records: tuple[str, bytes, Record | None]) -> None:
    sender = producer(connection, "test")
    await sender.start()
    try:
        for topic, key, record in records:
            await sender.send_and_wait(topic, None if record is None else record.to_json(), key=key)
    finally:
        await sender.stop()


def command(sequence: int, action: Any, *, lasts_s: float = 600, mode: Any = "enforce") -> ThrottleCommand:
    now = datetime.now(UTC)
    return ThrottleCommand(
        command_id=f"c-{sequence}",
        scope=Scope(kind="workflow", value="w"),
        action=action,
        reason="retry_loop",
        mode=mode,
        issued_at=now,
        expires_at=now + timedelta(seconds=lasts_s),
        sequence=sequence,
    )


def budget(sequence: int, spent: int) -> BudgetSnapshot:
    now = datetime.now(UTC)
    return BudgetSnapshot(
        budget="b",
        scope=SnapshotScope(kind="workflow", value="v"),
        unit="nano_usd",
        window_start=now - timedelta(minutes=1),
        window_end=now + timedelta(hours=1),
        limit=100,
        spent=spent,
        counted_until=now,
        state="ok",
        hard=True,
        stop_at=100,
        issued_at=now,
        valid_until=now + timedelta(hours=1),
        sequence=sequence,
    )


async def test_commands_and_budgets_reach_the_gate_and_are_answered(
    broker: EmbeddedBroker, topic_prefix: str
) -> None:
    connection = Connection(broker.bootstrap, topic_prefix)
    commands, budgets = connection.topic(THROTTLE_COMMANDS), connection.topic(BUDGETS)
    await create_topics(broker.bootstrap, {commands: 1, budgets: 1, connection.topic(THROTTLE_ACKS): 1})
    await put(
        connection,
        (commands, b"old", command(1, Block(message="old"), lasts_s=0.001)),
        (commands, b"w", command(2, Block(message="stop"))),
        (budgets, b"b", budget(1, spent=100)),
    )
    gate = Gate("gw-1")
    with Feed(connection, gate, name="gw-1") as feed:
        assert await asyncio.to_thread(feed.wait_caught_up, 60)
        assert not gate.decide(Call(model="m", workflow="w")).allowed
        assert not gate.decide(Call(model="m", workflow="v")).allowed
        await put(
            connection,
            (commands, b"w", None),
            (commands, b"w", command(4, Release())),
            (commands, b"w", command(3, Block(message="late"))),
            (budgets, b"b", budget(2, spent=10)),
        )
        await until(lambda: gate.decide(Call(model="m", workflow="w")).allowed)
        await until(lambda: gate.decide(Call(model="m", workflow="v")).allowed)
        await put(connection, (budgets, b"b", None))
        await until(lambda: gate.left("b") is None)
        await until(lambda: feed.counts()["commands"] == 4)
    acks = [
        ThrottleAck.from_json(record.value)
        for record in await read_all(broker.bootstrap, connection.topic(THROTTLE_ACKS))
    ]
    assert [(ack.command_id, ack.result, ack.gateway) for ack in acks] == [
        ("c-2", "applied", "gw-1"),
        ("c-4", "applied", "gw-1"),
        ("c-3", "ignored", "gw-1"),
    ]


async def test_a_broker_that_is_away_makes_the_gate_stale_and_fresh_again_when_it_is_back(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")
    with own_broker(broker, tmp_path / "broker") as own:
        await asyncio.to_thread(own.start)
        connection = Connection(own.bootstrap, topic_prefix)
        await create_topics(
            own.bootstrap, {connection.topic(t): 1 for t in (THROTTLE_COMMANDS, BUDGETS, THROTTLE_ACKS)}
        )
        gate = Gate("gw-1", GatePolicy(on_stale="closed", stale_after_s=3.0))
        call = Call(model="m")
        with Feed(connection, gate) as feed:
            assert await asyncio.to_thread(feed.wait_caught_up, 60)
            fresh_until = time.monotonic() + 4
            while time.monotonic() < fresh_until:
                assert gate.decide(call).allowed, "a feed with nothing new on it is not stale"
                await asyncio.sleep(0.2)
            own.kill()
            await until(lambda: not gate.decide(call).allowed)
            await asyncio.to_thread(own.start)
            await until(lambda: gate.decide(call).allowed)
