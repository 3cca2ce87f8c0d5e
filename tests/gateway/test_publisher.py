"""Events that are published arrive: in order, all of them, and without the caller ever waiting."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.broker import Connection, KafkaError
from gateway.letter import Letter, seal, unseal
from gateway.publisher import Publisher
from gateway.spool import Spool
from schemas.events import CostEvent
from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]


class Wire:
    """Stands in for aiokafka's producer: away, slow or broken as a test wants it, and remembers what arrived."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self.away = False
        self.fail_next = 0
        self.started = 0
        self._held: list[tuple[asyncio.Future[Any], str]] = []

    async def start(self) -> None:
        if self.away:
            raise KafkaError("nobody answers")
        self.started += 1

    async def stop(self) -> None:
        """Nothing to let go of."""

    async def send(self, topic: str, value: bytes, *, key: bytes, headers: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.fail_next:
            self.fail_next -= 1
            future.set_exception(KafkaError("out of order"))
        else:
            self.arrived.append(CostEvent.from_json(value).event_id)
            future.get_loop().call_soon(future.set_result, None)
        return future

    async def partitions_for(self, topic: str) -> set[int]:
        return {0}


def event(number: int) -> CostEvent:
    return CostEvent(
        event_id=f"e-{number}",
        occurred_at=datetime(2026, 3, 2, tzinfo=UTC),
        provider="openai",
        model="gpt-4o",
        workflow=f"w-{number % 3}",
    )


def publisher(wire: Wire, spool: Path | None, **options: Any) -> Publisher:
    return Publisher(Connection(topic_prefix="t."), spool, make_producer=lambda: wire, **options)


def until(holds: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def names(numbers: range) -> list[str]:
    return [f"e-{n}" for n in numbers]


def test_a_letter_is_unsealed_as_it_was_sealed_and_a_later_version_is_left_alone() -> None:
    assert unseal(seal(Letter(b"topic", b"", b"value", b"litellm"))) == Letter(
        b"topic", b"", b"value", b"litellm"
    )
    assert unseal(b"\x02" + seal(Letter(b"t", b"k", b"v"))[1:]) is None


@pytest.mark.parametrize("on_disk", [True, False])
def test_everything_arrives_in_order(tmp_path: Path, on_disk: bool) -> None:
    wire = Wire()
    with publisher(wire, tmp_path if on_disk else None) as sender:
        for number in range(500):
            assert sender.publish(event(number))
    assert wire.arrived == names(range(500))
    assert sender.counts() == {
        "published": 500,
        "dropped": 0,
        "delivered": 500,
        "failures": 0,
        "disk_errors": 0,
        "damaged": 0,
    }
    assert list(tmp_path.rglob("*.segment")) == []


def test_while_the_broker_is_away_events_wait_on_disk_and_then_follow_in_order(tmp_path: Path) -> None:
    wire = Wire()
    wire.away = True
    with publisher(wire, tmp_path) as sender:
        for number in range(300):
            assert sender.publish(event(number))
        until(lambda: sender.counts()["failures"] > 0)
        assert wire.arrived == []
        wire.away = False
        sender.publish(event(300))
        until(lambda: len(wire.arrived) == 301)
    assert wire.arrived == names(range(301))


def test_what_a_closed_publisher_could_not_deliver_the_next_one_does(tmp_path: Path) -> None:
    wire = Wire()
    wire.away = True
    first = publisher(wire, tmp_path).start()
    for number in range(50):
        first.publish(event(number))
    assert not first.close(0.1)
    assert not first.publish(event(999))
    wire.away = False
    with publisher(wire, tmp_path) as second:
        second.publish(event(50))
    assert wire.arrived == names(range(51))


def test_after_a_record_that_failed_for_good_everything_from_it_on_is_sent_again(tmp_path: Path) -> None:
    wire = Wire()
    with publisher(wire, tmp_path) as sender:
        for number in range(10):
            sender.publish(event(number))
        until(lambda: sender.counts()["delivered"] == 10)
        wire.fail_next = 1
        for number in range(10, 20):
            sender.publish(event(number))
        until(lambda: sender.counts()["delivered"] >= 20)
    assert list(dict.fromkeys(wire.arrived)) >= names(range(10))
    assert set(wire.arrived) == set(names(range(20))), "doubled perhaps, by event_id, and never lost"
    assert wire.started == 2
    assert wire.arrived[-10:] == names(range(10, 20))


def test_two_processes_share_a_folder_and_the_one_that_died_is_delivered_for(tmp_path: Path) -> None:
    wire, away = Wire(), Wire()
    away.away = True
    one, two = publisher(away, tmp_path).start(), publisher(away, tmp_path).start()
    one.publish(event(0))
    two.publish(event(1))
    assert not one.close(0.1)
    assert not two.close(0.1)
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1"}
    with publisher(wire, tmp_path):
        until(lambda: len(wire.arrived) == 2)
    assert sorted(wire.arrived) == names(range(2))
    assert list(tmp_path.rglob("*.segment")) == []


def test_a_record_that_no_broker_would_take_is_dropped_at_once(tmp_path: Path) -> None:
    wire = Wire()
    with publisher(wire, tmp_path) as sender:
        assert not sender.publish_foreign("key", b"x" * 200_000, "litellm")
        assert sender.publish(event(0))
    assert wire.arrived == ["e-0"]
    assert sender.counts()["dropped"] == 1


def test_memory_is_bounded_and_what_does_not_fit_is_dropped_and_counted() -> None:
    wire = Wire()
    wire.away = True
    sender = publisher(wire, None, max_memory_bytes=10_000).start()
    taken = [sender.publish(event(number)) for number in range(1_000)]
    until(lambda: sender.counts()["dropped"] > 0)
    assert sender.waiting_bytes <= 20_000
    wire.away = False
    assert sender.close()
    told = sender.counts()
    assert told["delivered"] == len(wire.arrived) < sum(taken) + 1
    assert told["delivered"] + told["dropped"] == 1_000


def test_a_spool_that_is_full_goes_on_in_memory_and_order_is_kept(tmp_path: Path) -> None:
    wire = Wire()
    wire.away = True
    with publisher(wire, tmp_path, max_spool_bytes=5_000) as sender:
        for number in range(100):
            sender.publish(event(number))
            if number % 10 == 0:
                time.sleep(0.01)
        wire.away = False
        until(lambda: len(wire.arrived) == 100)
        sender.publish(event(100))
    assert wire.arrived == names(range(101))


def test_a_disk_that_fails_costs_nothing_while_there_is_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire()

    def no_space(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    with publisher(wire, tmp_path) as sender, monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", no_space)
        for number in range(50):
            sender.publish(event(number))
        until(lambda: len(wire.arrived) == 50)
    assert wire.arrived == names(range(50))
    assert sender.counts()["disk_errors"] > 0


def test_threads_publish_at_once_and_each_keeps_its_order(tmp_path: Path) -> None:
    wire = Wire()
    with publisher(wire, tmp_path) as sender:

        def send(first: int) -> None:
            for number in range(first, first + 300):
                sender.publish(event(number))

        threads = [threading.Thread(target=send, args=(1_000 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(wire.arrived) == 1_200
    for n in range(4):
        mine = [int(e[2:]) for e in wire.arrived if int(e[2:]) // 1_000 == n]
        assert mine == list(range(1_000 * n, 1_000 * n + 300))


async def test_it_is_published_from_a_coroutine_as_from_anywhere(tmp_path: Path) -> None:
    wire = Wire()
    sender = publisher(wire, tmp_path).start()
    for number in range(20):
        sender.publish(event(number))
        await asyncio.sleep(0)
    assert await asyncio.to_thread(sender.close)
    assert wire.arrived == names(range(20))


def test_what_is_published_before_the_start_is_delivered_after_it(tmp_path: Path) -> None:
    wire = Wire()
    sender = publisher(wire, tmp_path)
    sender.publish(event(0))
    with sender:
        pass
    assert wire.arrived == ["e-0"]


GATEWAY = """
import sys, time
from pathlib import Path
from gateway.broker import Connection
from gateway.publisher import Publisher
from gateway.spool import Spool
from tests.gateway.test_publisher import event

genuine = Spool.append
def append(spool, payloads):
    taken = genuine(spool, payloads)
    print(taken, flush=True)
    return taken
Spool.append = append
# A port nobody listens on: 9 is "discard", and it is not.
publisher = Publisher(Connection("127.0.0.1:9", topic_prefix="t."), Path(sys.argv[1])).start()
number = 0
while True:
    publisher.publish(event(number))
    number += 1
    if number % 20 == 0:
        time.sleep(0.001)
"""


@pytest.mark.chaos
def test_killed_hard_while_the_broker_is_away_nothing_that_was_spooled_is_lost(tmp_path: Path) -> None:
    wire = Wire()
    with _process(tmp_path) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(60)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    kept = sum(int(line) for line in said if line.endswith("\n"))
    with Spool(tmp_path / "0"):
        pass  # the kernel let go of its lock
    with publisher(wire, tmp_path):
        until(lambda: len(wire.arrived) >= kept)
    assert len(wire.arrived) > 200
    assert wire.arrived == names(range(len(wire.arrived))), "in order, without holes, and once"


@contextmanager
def _process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
