"""Acknowledged, or not known to be: what the publisher does with a producer that is slow, stuck or broken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from service.door.batch import Event
from service.door.publisher import FORMAT, HEADER, NotAcknowledged, Publisher
from service.errors import BrokerUnavailable
from service.ingest.adapters import FORMAT_HEADER, NATIVE, adapter_for
from service.ingest.adapters.litellm import from_litellm
from service.kafka import KafkaError, Producer
from service.runtime.clock import SystemClock
from service.runtime.health import Health
from service.settings import KafkaSettings
from tests.support.patience import PATIENCE_S

EVENTS = [Event(line, b"w", b"%d" % line) for line in range(1, 4)]


class Wire:
    """A producer whose acknowledgements are given by hand."""

    def __init__(self) -> None:
        self.sent: list[asyncio.Future[Any]] = []
        self.records: list[tuple[Any, ...]] = []
        self.answer: Callable[[asyncio.Future[Any]], None] = lambda future: future.set_result(None)
        self.full: asyncio.Event | None = None

    async def send(self, topic: str, value: bytes, key: bytes, headers: Any) -> asyncio.Future[Any]:
        if self.full is not None:
            await self.full.wait()
        self.records.append((topic, key, value, headers))
        self.sent.append(asyncio.get_running_loop().create_future())
        self.answer(self.sent[-1])
        return self.sent[-1]


def never(_: asyncio.Future[Any]) -> None:
    return


class Bench:
    def __init__(self, timeout_s: float = 0.1) -> None:
        clock = SystemClock()
        self.wire = Wire()
        self.health = Health("door", clock, 30)
        sender = cast(Producer, self.wire)
        self.publisher = Publisher(sender, KafkaSettings(), "events", clock, self.health, timeout_s)

    def ready(self) -> bool:
        return self.health.ready()[0]

    async def refused(self) -> str:
        with pytest.raises(NotAcknowledged) as caught:
            await self.publisher.publish(EVENTS, "gw")
        return str(caught.value)


async def test_every_event_is_sent_with_its_key_and_the_tokens_name() -> None:
    bench = Bench()
    await bench.publisher.publish(EVENTS, "gw")
    headers = [("tidegate-door", b"gw"), ("tidegate-format", b"tidegate")]
    assert bench.wire.records == [("events", b"w", b"%d" % line, headers) for line in (1, 2, 3)]
    assert bench.ready()


def test_the_records_say_that_they_need_no_adapter() -> None:
    name, value = FORMAT
    assert (name, value.decode()) == (FORMAT_HEADER, NATIVE)
    assert adapter_for([FORMAT, (HEADER, b"gw")], from_litellm) is None


async def test_one_event_without_an_acknowledgement_is_none() -> None:
    bench = Bench()
    answers = iter([True, False, True])
    bench.wire.answer = lambda future: future.set_result(None) if next(answers) else None
    assert "within 0.1 s" in await bench.refused()


async def test_a_stuck_broker_is_waited_for_once_and_then_refused_at_once_until_it_answers() -> None:
    bench = Bench(timeout_s=0.3)
    bench.wire.answer = never
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(bench.refused() for _ in range(5)))
        assert not bench.ready()
        sent = len(bench.wire.sent)
        async with asyncio.timeout(15):  # waiting each time would take 30 s
            for _ in range(100):
                assert "at the moment" in await bench.refused()
    assert len(bench.wire.sent) == sent, "nothing more goes into the buffers of a producer that is stuck"
    # aiokafka answers the futures that are left; all others were given up.
    bench.wire.answer = lambda future: future.set_result(None)
    (canary,) = [future for future in bench.wire.sent if not future.done()]
    canary.set_result(None)
    await asyncio.sleep(0)
    assert bench.ready()
    await bench.publisher.publish(EVENTS, "gw")


async def test_a_producer_without_room_is_waited_for_with_the_same_deadline() -> None:
    bench = Bench()
    bench.wire.full = asyncio.Event()
    assert "within 0.1 s" in await bench.refused()
    bench.wire.full.set()
    await bench.publisher.publish(EVENTS, "gw")


async def test_a_record_that_fails_for_good_ends_the_process() -> None:
    bench = Bench()
    bench.wire.answer = lambda future: future.set_exception(KafkaError("too large"))
    failed = asyncio.create_task(bench.publisher.failed())
    assert "refused: KafkaError" in await bench.refused()
    with pytest.raises(BrokerUnavailable, match="too large"):
        await failed
    assert not bench.ready()
    assert "at the moment" in await bench.refused()


async def test_a_canary_that_fails_for_good_ends_the_process() -> None:
    bench = Bench()
    bench.wire.answer = never
    await bench.refused()
    failed = asyncio.create_task(bench.publisher.failed())
    (canary,) = [future for future in bench.wire.sent if not future.done()]
    canary.set_exception(KafkaError("fenced"))
    with pytest.raises(BrokerUnavailable, match="fenced"):
        await failed


async def test_ending_does_not_fail_what_is_under_way() -> None:
    bench = Bench(timeout_s=5)
    bench.wire.answer = never
    failed = asyncio.create_task(bench.publisher.failed())
    publishing = asyncio.create_task(bench.publisher.publish(EVENTS, "gw"))
    await asyncio.sleep(0)
    failed.cancel()
    await asyncio.wait([failed])
    await asyncio.sleep(0)
    for future in bench.wire.sent:
        future.set_result(None)
    await publishing
    await asyncio.gather(bench.publisher.publish(EVENTS, "gw"), _acknowledge(bench.wire))


async def _acknowledge(wire: Wire) -> None:
    await asyncio.sleep(0.05)
    for future in wire.sent:
        if not future.done():
            future.set_result(None)
