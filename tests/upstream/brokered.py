"""What the tests on a real broker share: transactional input, committed offsets, apps that start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from service.kafka.faust_transport import GuardedApp, build_app
from tests.support.patience import PATIENCE_S


async def write_transactions(
    bootstrap: str, topic: str, partition: int, *, transactions: int, records: int, abort_every: int
) -> int:
    """Write transactions of `records` records, abort every `abort_every`th; how many records were committed."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{topic}-{partition}")
    await producer.start()
    committed = 0
    try:
        for number in range(1, transactions + 1):
            aborted = number % abort_every == 0
            await producer.begin_transaction()
            for _ in range(records):
                await producer.send(topic, b"aborted" if aborted else b"good", b"k", partition=partition)
            if aborted:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
                committed += records
    finally:
        await producer.stop()
    return committed


async def write(bootstrap: str, topic: str, partition: int, *records: tuple[bytes, bytes | None]) -> None:
    """Write keys and values without a transaction."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        for key, value in records:
            await producer.send_and_wait(topic, value, key, partition=partition)
    finally:
        await producer.stop()


async def committed_offsets(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    """What `group` has committed in `topic`, by partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    return {
        tp.partition: meta.offset for tp, meta in offsets.items() if tp.topic == topic and meta.offset >= 0
    }


async def end_offsets(bootstrap: str, topic: str, partitions: int) -> dict[int, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(topic, p) for p in range(partitions)])
    finally:
        await consumer.stop()
    return {tp.partition: offset for tp, offset in ends.items()}


def stock_app(app_id: str, bootstrap: str, datadir: Path, **settings: Any) -> Any:
    """Faust as it comes, with those settings of ours that do not hide the fault in question."""
    app = faust.App(
        app_id,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=str(datadir),
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        **settings,
    )
    app.finalize()
    return app


def our_app(
    app_id: str, bootstrap: str, fatal: list[Any] | None = None, commit_lag_s: float = 0.2
) -> GuardedApp:
    return build_app(
        app_id=app_id,
        bootstrap=bootstrap,
        security=None,
        commit_lag_s=commit_lag_s,
        on_fatal=(fatal if fatal is not None else []).append,
        session_timeout_s=3.0,
    )


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[asyncio.Task[None]]:
    """Run a stock app or one of ours, and stop it in order."""
    if isinstance(app, GuardedApp):
        stop = asyncio.Event()
        task = asyncio.create_task(app.run_until(stop))
        try:
            yield task
        finally:
            stop.set()
            await asyncio.gather(task, return_exceptions=True)
    else:
        task = asyncio.create_task(app.start())
        try:
            yield task
        finally:
            await app.stop()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def eventually(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> bool:
    """Whether `condition` comes true within `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    except TimeoutError:
        return False
    return True
