"""A scripted week on a real broker: exactly the expected notifications at each receiver, whoever is killed when.

Time is the test's: it says what time it is, waits until the replicas have done what there is to do, and goes on to
the next time at which anything can happen. So a week takes seconds, and means the same on any machine.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.alerts import Alert
from schemas.notifications import Acknowledgement
from schemas.throttles import ThrottleEvent
from schemas.topics import (
    ACKNOWLEDGEMENTS,
    ALERTS,
    CONFIG,
    CONFIG_HISTORY,
    CONFIG_REJECTIONS,
    DEAD_LETTERS,
    NOTIFICATION_LOG,
    PARKED_NOTIFICATIONS,
    THROTTLE_EVENTS,
)
from service.demo.receivers import LocalReceivers
from service.kafka import Producer, producer, started
from service.kafka.embedded.broker import EmbeddedBroker
from service.rules.config import control_key
from service.settings import KafkaSettings
from tests.service.notify.week import CONFIG_RECORDS, END, GOLDEN, START, VENDORS, Step, described, week
from tests.support.broker import create_topics, read_all
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.broker
ROOT = Path(__file__).parents[2]


class TestTime:
    """The test's time, for the vendors on this machine."""

    __test__ = False

    def __init__(self) -> None:
        self.instant = START

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("vendors do not sleep")


class Replica:
    """One process, told what time it is."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def tell(self, now: datetime, wanted: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{now.timestamp()} {wanted}\n".encode())

    async def answer(self) -> tuple[float, str, float | None]:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            raise AssertionError("a replica ended by itself")
        at, wanted, following = line.decode().split()
        return float(at), wanted, None if following == "-" else float(following)


class World:
    """A broker, vendors, and replicas that come and go."""

    def __init__(self, kafka: KafkaSettings, sender: Producer, local: LocalReceivers, time: TestTime) -> None:
        self.kafka = kafka
        self.time = time
        self._sender = sender
        self._local = local
        self._stack = AsyncExitStack()
        self.replicas: list[Replica] = []
        self._answers: dict[asyncio.Task[tuple[float, str, float | None]], Replica] = {}
        self._ends: dict[str, int] = {}
        self.speaker: Replica | None = None

    async def __aenter__(self) -> World:
        await self._stack.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._answers:
            task.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)
        await self._stack.aclose()

    async def start(self) -> None:
        replica = await self._stack.enter_async_context(self._process())
        self.replicas.append(replica)
        self._answers[asyncio.create_task(replica.answer())] = replica

    async def kill(self) -> None:
        """End the one that speaks, with no chance to say anything."""
        assert self.speaker is not None
        replica, self.speaker = self.speaker, None
        self.replicas.remove(replica)
        replica.process.kill()
        await replica.process.wait()
        for task in [task for task, of in self._answers.items() if of is replica]:
            del self._answers[task]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[Replica]:
        local = self._local
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "TIDEGATE_KAFKA__TOPIC_PREFIX": self.kafka.topic_prefix,
            "TIDEGATE_KAFKA__SESSION_TIMEOUT_S": "2",
            "TIDEGATE_HEALTH__PORT": "-1",
            "TIDEGATE_LOG__LEVEL": "WARNING",
            "TIDEGATE_NOTIFY__GROUP_ID": f"{self.kafka.topic_prefix}notify",
            "TIDEGATE_NOTIFY__RECEIVERS__slack__TYPE": "slack",
            "TIDEGATE_NOTIFY__RECEIVERS__slack__WEBHOOK_URL": local.slack_url,
            "TIDEGATE_NOTIFY__RECEIVERS__pager__TYPE": "pagerduty",
            "TIDEGATE_NOTIFY__RECEIVERS__pager__ROUTING_KEY": local.routing_key,
            "TIDEGATE_NOTIFY__RECEIVERS__pager__BASE_URL": local.base_url,
            # The records of the week are written in the broker's time, which is not that of the week.
            "TIDEGATE_NOTIFY__RECEIVERS__pager__CHANGES": "false",
            "TIDEGATE_NOTIFY__RECEIVERS__hook__TYPE": "webhook",
            "TIDEGATE_NOTIFY__RECEIVERS__hook__URL": local.webhook_url,
            "TIDEGATE_NOTIFY__RECEIVERS__hook__HMAC_SECRET": local.hmac_secret,
        }
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.broker.notify_replica",
            str(self.time.instant.timestamp()),
            cwd=ROOT,
            env=environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield Replica(child)
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()

    async def say(self, step: Step) -> None:
        """Publish what happens now, with the broker's records bearing the test's time."""
        at_ms = int(self.time.instant.timestamp() * 1_000)
        match step.record:
            case Alert() as record:
                topic, key = ALERTS, record.fingerprint
            case ThrottleEvent() as record:
                topic, key = THROTTLE_EVENTS, record.scope.key
            case Acknowledgement() as record:
                topic, key = ACKNOWLEDGEMENTS, record.fingerprint
        sent = await self._sender.send_and_wait(
            self.kafka.topic(topic), step.record.to_json(), key=key.encode(), timestamp_ms=at_ms
        )
        # By the names of the gauges: that of the alerts has no topic.
        self._ends["" if topic is ALERTS else self.kafka.topic(topic)] = sent.offset + 1

    @property
    def _wanted(self) -> str:
        return ",".join(f"{topic}={end}" for topic, end in self._ends.items()) or ","

    def tell(self) -> None:
        for replica in self.replicas:
            replica.tell(self.time.instant, self._wanted)

    async def calm(self) -> datetime | None:
        """Wait until nothing more can happen at this time. Returns when something next may."""
        now = self.time.instant.timestamp()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                done, _ = await asyncio.wait(self._answers, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    replica = self._answers.pop(task)
                    at, wanted, following = task.result()
                    self._answers[asyncio.create_task(replica.answer())] = replica
                    if at >= now and wanted == self._wanted:
                        self.speaker = replica
                        return None if following is None else datetime.fromtimestamp(following, UTC)


async def play(world: World, kills: dict[int, int]) -> None:
    """Play the week. `kills`: at which steps the replica that speaks is killed, and how many are started then."""
    steps = sorted(week(), key=lambda step: step.at)
    number = 0
    world.tell()
    while True:
        following = await world.calm()
        upcoming = steps[0].at if steps else END
        if following is None or following > upcoming:
            world.time.instant = upcoming
            if not steps and upcoming >= END:
                return
            # What is due at that time comes before what happens then.
            world.tell()
            await world.calm()
            while steps and steps[0].at == upcoming:
                await world.say(steps.pop(0))
                number += 1
        else:
            world.time.instant = max(following, world.time.instant)
        world.tell()
        if number in kills:
            started = kills.pop(number)
            # In the middle of what it is about to do.
            await asyncio.sleep(random.uniform(0, 0.03))
            if world.speaker is not None:
                await world.kill()
                for _ in range(started):
                    await world.start()
                world.tell()


def story(local: LocalReceivers) -> tuple[list[str], int]:
    """What the vendors took, in order by receiver; and how many were repetitions of one taken before."""
    found: list[str] = []
    doubles = 0
    for vendor in VENDORS:
        lines = [described(vendor, received.at, received.body) for received in local.of(vendor)]
        once = list(dict.fromkeys(lines))
        doubles += len(lines) - len(once)
        found += [*once, ""]
    return found, doubles


@pytest.mark.parametrize("replicas", [2, 1])
async def test_a_week_is_told_exactly_whoever_is_killed_when(
    broker: EmbeddedBroker, topic_prefix: str, replicas: int
) -> None:
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix)
    single = (
        ACKNOWLEDGEMENTS,
        ALERTS,
        CONFIG,
        CONFIG_HISTORY,
        CONFIG_REJECTIONS,
        DEAD_LETTERS,
        PARKED_NOTIFICATIONS,
        THROTTLE_EVENTS,
    )
    await create_topics(broker.bootstrap, {kafka.topic(t): 1 for t in single})
    await create_topics(broker.bootstrap, {kafka.topic(NOTIFICATION_LOG): 1}, {"cleanup.policy": "compact"})
    count = len(week())
    # With two, one that is killed is replaced by the other; alone, by a new one.
    kills = {random.randrange(count // 8, count): 0 if replicas == 2 else 1}
    time = TestTime()
    with LocalReceivers(clock=time) as local:
        async with started(producer(kafka, client_id="test"), kafka) as sender:
            for record in CONFIG_RECORDS:
                key = control_key(record).encode()
                await sender.send_and_wait(kafka.topic(CONFIG), record.to_json(), key=key)
            async with World(kafka, sender, local, time) as world:
                for _ in range(replicas):
                    await world.start()
                await play(world, dict(kills))
        found, doubles = story(local)
        assert found == GOLDEN.read_text(encoding="utf-8").split("\n"), f"killed at {kills}"
        # The one gap that cannot be closed: killed after a vendor took it and before the log had it.
        assert doubles <= 3, f"killed at {kills}"
        assert local.violations == []
    assert await read_all(kafka.bootstrap_servers, kafka.topic(PARKED_NOTIFICATIONS)) == []
