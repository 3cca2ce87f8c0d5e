"""A topic that the broker does not have keeps nothing waiting but its own records."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway import aside, delivery
from gateway.broker import Connection
from gateway.publisher import Publisher
from schemas.events import Outcome
from tests.gateway.test_publisher import event, until


class Wire:
    """A broker without the topic of outcomes, until somebody creates it."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self.missing = {"t.outcomes"}
        self.asked = 0

    async def start(self) -> None:
        """It is always there."""

    async def stop(self) -> None:
        """Nothing to let go of."""

    async def partitions_for(self, topic: str) -> set[int]:
        self.asked += 1
        if topic in self.missing:
            await asyncio.sleep(30)  # as aiokafka does
        return {0}

    async def send(self, topic: str, value: bytes, *, key: bytes, headers: Any) -> asyncio.Future[Any]:
        assert topic not in self.missing
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        document = orjson.loads(value)
        self.arrived.append(document.get("event_id") or document["outcome_id"])
        future.get_loop().call_soon(future.set_result, None)
        return future


def outcome(number: int) -> Outcome:
    return Outcome(
        outcome_id=f"o-{number}", occurred_at=datetime(2026, 3, 2, tzinfo=UTC), trace_id="t", kind="solved"
    )


def publisher(wire: Wire, spool: Path | None) -> Publisher:
    return Publisher(Connection(topic_prefix="t."), spool, make_producer=lambda: wire)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_ASK_S", 0.05)
    monkeypatch.setattr(aside, "_AGAIN_S", 0.2)


@pytest.mark.parametrize("on_disk", [True, False])
def test_cost_events_go_on_and_the_others_follow_when_their_topic_is_there(
    tmp_path: Path, on_disk: bool
) -> None:
    wire = Wire()
    with publisher(wire, tmp_path if on_disk else None) as sender:
        for number in range(20):
            assert sender.publish_outcome(outcome(number))
            assert sender.publish(event(number))
        until(lambda: len(wire.arrived) == 20)
        assert wire.arrived == [f"e-{number}" for number in range(20)]
        assert sender.waiting_bytes > 0
        assert sender.counts()["delivered"] == 20
        wire.missing.clear()
        until(lambda: len(wire.arrived) == 40)
        assert wire.arrived[20:] == [f"o-{number}" for number in range(20)]
        until(lambda: sender.counts()["delivered"] == 40)
        assert sender.publish_outcome(outcome(20))
    assert wire.arrived[-1] == "o-20"
    assert sender.counts()["dropped"] == sender.counts()["failures"] == 0


def test_what_waits_for_a_topic_outlives_the_process(tmp_path: Path) -> None:
    wire = Wire()
    first = publisher(wire, tmp_path).start()
    first.publish_outcome(outcome(1))
    first.publish(event(1))
    until(lambda: wire.arrived == ["e-1"])
    assert not first.close(0.5), "the broker has not everything"
    wire.missing.clear()
    with publisher(wire, tmp_path):
        until(lambda: wire.arrived == ["e-1", "o-1"])


def test_what_waits_for_a_topic_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "_MAX_BYTES", 500)
    wire = Wire()
    sender = publisher(wire, tmp_path).start()
    for number in range(20):
        sender.publish_outcome(outcome(number))
    sender.publish(event(1))
    until(lambda: wire.arrived == ["e-1"])
    dropped = sender.counts()["dropped"]
    assert 10 < dropped < 20
    wire.missing.clear()
    until(lambda: len(wire.arrived) == 21 - dropped)
    assert sender.close()


def test_a_topic_that_is_there_is_asked_for_once(tmp_path: Path) -> None:
    wire = Wire()
    wire.missing.clear()
    with publisher(wire, tmp_path) as sender:
        for number in range(50):
            sender.publish_outcome(outcome(number))
    assert wire.arrived == [f"o-{number}" for number in range(50)]
    assert wire.asked == 1
