"""An offset may be committed only when everything written on its behalf is in Kafka."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.transport.drivers.aiokafka import Producer as StockProducer
from faust.types import TP
from faust.types.tuples import FutureMessage

from tests.upstream.consumers import SOURCE, Bench, bench

P0 = TP(SOURCE, 0)


class SlowTopic:
    """A topic whose record is taken from the buffer and then, like any await, takes its time."""

    def __init__(self) -> None:
        self.in_hand = asyncio.Event()
        self.go_on = asyncio.Event()

    async def publish_message(self, fut: FutureMessage, wait: bool = False) -> None:
        self.in_hand.set()
        await self.go_on.wait()
        fut.set_result(None)


def table_write(topic: Any) -> FutureMessage:
    fut = FutureMessage(SimpleNamespace(channel=topic))
    fut.message = SimpleNamespace(channel=topic)
    return fut


async def _start_buffer(side: Bench) -> None:
    producer = side.app.producer

    async def nothing_left_in_the_driver() -> None:
        return None

    producer._producer = SimpleNamespace(flush=nothing_left_in_the_driver)
    await producer.buffer.start()


async def _process_one(side: Bench, write: Any) -> None:
    await side.open(P0)
    await side.drain({P0: [0]})
    side.app.producer.send_soon(write)
    side.ack()


class TestARecordStillInHand:
    """`ProducerBuffer.flush` looks at its queue only: the message taken from it and not yet sent is forgotten."""

    async def test_stock_commits_though_the_changelog_record_is_not_sent(self) -> None:
        with bench(ours=False) as stock:
            stock.app.producer.flush = StockProducer.flush.__get__(stock.app.producer)
            await _start_buffer(stock)
            topic = SlowTopic()
            write = table_write(topic)
            await _process_one(stock, write)
            await topic.in_hand.wait()
            await stock.consumer.commit()
            assert not write.done()
            assert stock.committed == {P0: 1}, "the event is done, its state is lost if the worker dies now"
            topic.go_on.set()
            await asyncio.sleep(0.01)
            await stock.app.producer.buffer.stop()

    async def test_ours_commits_when_it_is_in_kafka(self) -> None:
        with bench(ours=True) as our:
            await _start_buffer(our)
            topic = SlowTopic()
            await _process_one(our, table_write(topic))
            await topic.in_hand.wait()
            committing = asyncio.create_task(our.consumer.commit())
            await asyncio.sleep(0.3)
            assert our.commits == []
            topic.go_on.set()
            assert await committing
            assert our.committed == {P0: 1}
            await our.app.producer.buffer.stop()


class TestAFailedSend:
    """Faust warns and goes on: nothing stops, and the offset is committed without its changelog record."""

    async def test_stock_commits_all_the_same(self) -> None:
        with bench(ours=False) as stock:
            await _start_buffer(stock)
            write = FutureMessage(SimpleNamespace())
            await stock.open(P0)
            await stock.drain({P0: [0]})
            stock.ack()
            topic = stock.app.topic("state")
            write.message = SimpleNamespace(channel=topic, callback=None)
            lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            lost.set_exception(OSError("the broker is gone"))
            topic._on_published(lost, write, stock.app.producer, None)
            assert isinstance(write.exception(), OSError)
            await stock.consumer.commit()
            assert stock.committed == {P0: 1}
            assert not stock.app.should_stop
            await stock.app.producer.buffer.stop()

    async def test_ours_stops_the_worker_and_commits_nothing(self) -> None:
        with bench(ours=True) as our:
            write = table_write(SlowTopic())
            await _process_one(our, write)
            lost = OSError("the broker is gone")
            write.set_exception(lost)
            await asyncio.sleep(0)
            assert our.fatal == [lost]
            assert our.app.should_stop
            assert not await our.consumer.commit()
            assert our.commits == []

    async def test_ours_stops_the_worker_when_a_direct_send_fails(self) -> None:
        with bench(ours=True) as our:
            sent: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

            async def send(*args: Any, **kwargs: Any) -> asyncio.Future[Any]:
                return sent

            our.app.producer._producer = SimpleNamespace(send=send)
            await our.app.producer.send("alerts", b"k", b"v", None, None, None)
            assert our.app.producer.unsettled == 1
            sent.set_exception(OSError("no room"))
            await asyncio.sleep(0)
            assert [str(reason) for reason in our.fatal] == ["no room"]
            assert our.app.producer.unsettled == 0


class TestAcknowledgementsThatNeverCome:
    async def test_the_commit_is_left_for_the_next_round(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("service.kafka.faust_transport.consumer.HAND_OVER_TIMEOUT_S", 0.05)
        with bench(ours=True) as our:
            write = table_write(SlowTopic())
            await _process_one(our, write)
            assert not await our.consumer.commit()
            assert (our.commits, our.fatal) == ([], [])
            write.set_result(None)
            assert await our.consumer.commit()
            assert our.committed == {P0: 1}

    async def test_a_flush_stops_the_worker(self) -> None:
        with bench(ours=True) as our:
            our.app.producer.request_timeout = 0.05
            our.app.producer.send_soon(table_write(SlowTopic()))
            await our.app.producer.flush()
            assert len(our.fatal) == 1


def test_the_faust_under_test_is_the_pinned_one() -> None:
    assert faust.__version__ == "0.15.3"
