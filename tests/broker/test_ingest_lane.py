"""One lane on a real broker. Steps as numbered in service/kafka/lane.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from service.errors import Fenced
from service.kafka import consumer
from service.kafka.embedded.broker import EmbeddedBroker
from service.kafka.lane import Lane, LaneLost, Send, pass_over_fences
from service.kafka.stable_offsets import OffsetFetchRequest_v7, committed
from service.settings import KafkaSettings
from tests.support.broker import create_topics, read_all

pytestmark = pytest.mark.broker


class Bench:
    """An input partition with ten records, an output topic, and lanes between them."""

    def __init__(self, broker: EmbeddedBroker, prefix: str) -> None:
        self.kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=prefix)
        self.source = TopicPartition(f"{prefix}in", 0)
        self.out = f"{prefix}out"
        self.group = f"{prefix}group"
        self.reader: AIOKafkaConsumer = consumer(self.kafka, group_id=self.group)
        self.lanes: list[Lane] = []

    def lane(self, max_age_s: float = 30.0) -> Lane:
        self.lanes.append(Lane(self.kafka, self.group, self.source, max_age_s=max_age_s))
        return self.lanes[-1]

    def send(self, value: bytes) -> Send:
        return Send(self.out, value, key=b"k")

    async def visible(self) -> list[bytes]:
        return [record.value for record in await read_all(self.kafka.bootstrap_servers, self.out)]

    async def committed(self) -> int | None:
        return await committed(self.reader, self.group, self.source)


@pytest.fixture
async def bench(broker: EmbeddedBroker, topic_prefix: str) -> AsyncIterator[Bench]:
    asyncio.get_running_loop().set_exception_handler(pass_over_fences)
    here = Bench(broker, topic_prefix)
    await create_topics(broker.bootstrap, {here.source.topic: 1, here.out: 3})
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        for i in range(10):
            await producer.send_and_wait(here.source.topic, b"%d" % i, partition=0)
    await here.reader.start()
    here.reader.assign([here.source])
    yield here
    for lane in here.lanes:
        await lane.close()
    await here.reader.stop()


async def test_output_and_offset_become_visible_together(bench: Bench) -> None:
    lane = bench.lane()
    assert await lane.open(bench.reader, lambda _: 100) == (0, 0)
    await lane.commit([bench.send(b"a"), bench.send(b"b")], 4)
    assert (await bench.visible(), await bench.committed()) == ([b"a", b"b"], 4)
    await lane.commit([Send(bench.out, b"tick", partition=p) for p in range(3)], None)
    assert (len(await bench.visible()), await bench.committed()) == (5, 4)


async def test_a_lane_begins_a_tail_before_the_committed_offset(bench: Bench) -> None:
    lane = bench.lane()
    await lane.open(bench.reader, lambda _: 0)
    await lane.commit([], 7)
    await lane.close()
    assert await bench.lane().open(bench.reader, lambda committed: committed - 4) == (4, 7)
    (records,) = (await bench.reader.getmany(timeout_ms=5_000)).values()
    assert records[0].offset == 4


async def test_whoever_opens_a_lane_fences_its_former_owner(bench: Bench) -> None:
    old, new = bench.lane(), bench.lane()
    await old.open(bench.reader, lambda _: 0)
    await old.commit([bench.send(b"a")], 3)
    assert (await new.open(bench.reader, lambda _: 0)).committed == 3
    with pytest.raises(Fenced):
        await old.commit([bench.send(b"from the grave")], 9)
    await new.commit([bench.send(b"b")], 5)
    assert (await bench.visible(), await bench.committed()) == ([b"a", b"b"], 5)


async def test_a_transaction_left_open_by_a_dead_owner_is_aborted_by_the_next(bench: Bench) -> None:
    old, new = bench.lane(), bench.lane()
    await old.open(bench.reader, lambda _: 0)
    await old._producer.begin_transaction()  # 7, 8, 9, and then nothing: as after SIGKILL
    await old._producer.send_and_wait(bench.out, b"lost", key=b"k")
    await old._producer.send_offsets_to_transaction({bench.source: 9}, bench.group)
    assert (await new.open(bench.reader, lambda _: 0)).committed == 0
    await new.commit([bench.send(b"a")], 1)
    assert (await bench.visible(), await bench.committed()) == ([b"a"], 1)


async def test_an_offset_whose_transaction_is_not_yet_through_is_waited_for(bench: Bench) -> None:
    lane = bench.lane()
    await lane.open(bench.reader, lambda _: 0)
    await lane.commit([], 2)
    await lane._producer.begin_transaction()
    await lane._producer.send_offsets_to_transaction({bench.source: 5}, bench.group)
    assert await bench.reader.committed(bench.source) in (None, 2)  # what aiokafka says meanwhile
    stable = asyncio.create_task(committed(bench.reader, bench.group, bench.source))
    await asyncio.sleep(0.3)
    assert not stable.done()
    await lane._producer.commit_transaction()
    assert await stable == 5


async def test_a_broker_that_knows_no_stable_offsets_is_asked_in_the_old_way(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OffsetFetchRequest_v7, "API_VERSION", 99)
    assert await committed(bench.reader, bench.group, bench.source) is None
    lane = bench.lane()
    await lane.open(bench.reader, lambda _: 0)
    await lane.commit([], 2)
    # Asked in the old way right now, Kafka may answer None: its markers are not written yet. Step 1 waits for them.
    assert (await bench.lane().open(bench.reader, lambda _: 0)).committed == 2


def after(real: Callable[..., Awaitable[Any]], seconds: float) -> Callable[..., Awaitable[Any]]:
    async def late(*args: Any, **options: Any) -> Any:
        await asyncio.sleep(seconds)
        return await real(*args, **options)

    return late


@pytest.mark.parametrize("step", ["send_offsets_to_transaction", "commit_transaction"])
async def test_a_transaction_that_is_open_for_too_long_is_aborted(bench: Bench, step: str) -> None:
    slow = bench.lane(max_age_s=1.0)
    await slow.open(bench.reader, lambda _: 0)
    setattr(slow._producer, step, after(getattr(slow._producer, step), 60))
    with pytest.raises(LaneLost, match="open for more than 1 s"):
        await slow.commit([bench.send(b"lost")], 9)
    assert await bench.visible() == []
    next_one = bench.lane()
    assert (await next_one.open(bench.reader, lambda _: 0)).committed == 0
    await next_one.commit([bench.send(b"a")], 1)
    assert (await bench.visible(), await bench.committed()) == ([b"a"], 1)


async def test_one_record_that_the_broker_refuses_aborts_them_all(bench: Bench) -> None:
    lane = bench.lane()
    await lane.open(bench.reader, lambda _: 0)
    with pytest.raises(LaneLost, match="MessageSizeTooLarge"):
        await lane.commit([bench.send(b"a"), bench.send(b"x" * 2_000_000)], 9)
    assert (await bench.visible(), await bench.committed()) == ([], None)
