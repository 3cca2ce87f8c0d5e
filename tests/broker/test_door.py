"""The door on a real broker: 202 means on the topic, and whatever is sent again counts once."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from schemas.topics import COST_EVENTS
from service.door.app import run
from service.kafka.embedded.broker import EmbeddedBroker, free_port
from service.settings import Settings
from tests.broker.ingest import T0_S, Install, Installation, Start, ingest_fixtures
from tests.support.broker import read_all
from tests.support.patience import PATIENCE_S
from tests.support.roles import RoleProcess, environment

pytestmark = pytest.mark.broker
install, start = ingest_fixtures()

TOKEN = "the-gateways-own-token"
WORKFLOWS = 8


def events(count: int, name: str = "e") -> list[bytes]:
    """Cost events of a few workflows; each costs its number plus one nano-dollars."""
    return [
        orjson.dumps(
            {
                "event_id": f"{name}-{i}",
                "occurred_at": T0_S + i / 100,
                "provider": "openai",
                "model": "gpt-4o",
                "workflow": f"workflow-{i % WORKFLOWS}",
                "cost_usd": f"0.{i + 1:09d}",
            }
        )
        for i in range(count)
    ]


def sums(made: list[bytes]) -> tuple[Counter[str], Counter[str]]:
    """Calls and nano-dollars by workflow."""
    calls, nanos = Counter[str](), Counter[str]()
    for value in made:
        event = orjson.loads(value)
        calls[event["workflow"]] += 1
        nanos[event["workflow"]] += int(event["cost_usd"][2:])
    return calls, nanos


class Gateway:
    """A client that knows the three rules: keep what is not answered 202, send it again, with the same ids."""

    def __init__(self, port: int) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {TOKEN}"},
            timeout=PATIENCE_S,
        )
        self.accepted: list[bytes] = []
        self.answers = Counter[object]()
        self.on_202: Callable[[], object] | None = None

    async def post(self, batch: list[bytes]) -> httpx.Response:
        headers = {"content-type": "application/x-ndjson"}
        answer = await self._client.post("/v1/events", content=b"\n".join(batch), headers=headers)
        self.answers[answer.status_code] += 1
        if answer.status_code == 202:
            assert answer.json() == {"accepted": len(batch)}
            self.accepted += batch
            if self.on_202 is not None:
                self.on_202()
        return answer

    async def deliver(self, batch: list[bytes]) -> None:
        """Until it is accepted."""
        while True:
            try:
                answer = await self.post(batch)
            except httpx.TransportError as error:
                self.answers[type(error).__name__] += 1
            else:
                if answer.status_code == 202:
                    return
                assert answer.status_code in (429, 503), answer.text
            await asyncio.sleep(0.05)

    async def __aenter__(self) -> Gateway:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()


@asynccontextmanager
async def open_door(here: Installation, **door: Any) -> AsyncIterator[Gateway]:
    """The role in this process."""
    port = free_port()
    given = {"port": port, "tokens": {"gw": {"token": TOKEN}}, **door}
    kafka = here.settings.kafka.model_dump()
    settings = Settings.model_validate({"kafka": kafka, "door": given, "health": {"port": -1}})
    stop = asyncio.Event()
    role = asyncio.create_task(run(settings, stop=stop))
    try:
        await until_open(port, role)
        async with Gateway(port) as gateway:
            yield gateway
    finally:
        stop.set()
        await asyncio.wait_for(role, PATIENCE_S)


async def until_open(port: int, role: asyncio.Task[None] | None = None) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if role is not None and role.done():
                role.result()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


@contextmanager
def door_process(here: Installation, port: int, health: int, folder: Path) -> Iterator[RoleProcess]:
    env = environment(
        here.bootstrap,
        here.prefix,
        TIDEGATE_DOOR__PORT=str(port),
        TIDEGATE_DOOR__TOKENS__GW__TOKEN=TOKEN,
        TIDEGATE_DOOR__ACK_TIMEOUT_S="2",
        TIDEGATE_HEALTH__PORT=str(health),
    )
    with RoleProcess("door", env, folder / "door.log") as role:
        yield role


async def on_topic(here: Installation) -> list[Any]:
    return await read_all(here.bootstrap, here.topic(COST_EVENTS))


async def test_202_means_that_every_event_is_on_the_topic_as_it_was_sent(install: Install) -> None:
    here = install()
    await here.create()
    made = events(3_000)
    async with open_door(here) as gateway:
        batches = [made[at : at + 100] for at in range(0, len(made), 100)]
        await asyncio.gather(*(gateway.post(batch) for batch in batches))
        assert gateway.answers == {202: len(batches)}
        spoiled = [*events(5, "never"), b'{"event_id": "bad"}']
        assert (await gateway.post(spoiled)).status_code == 422
        records = await on_topic(here)  # while the door still runs: nothing is left to be flushed
    assert sorted(r.value for r in records) == sorted(made)
    assert all(r.key == orjson.loads(r.value)["workflow"].encode() for r in records)
    assert {tuple(r.headers) for r in records} == {
        (("tidegate-door", b"gw"), ("tidegate-format", b"tidegate"))
    }
    assert len({(r.key, r.partition) for r in records}) == WORKFLOWS, "a workflow keeps to one partition"


@pytest.mark.parametrize("adapter", ["tidegate", "litellm"])
async def test_a_batch_that_is_sent_again_counts_once(install: Install, start: Start, adapter: str) -> None:
    # Whatever ingest takes other records on the topic for, the door's are events of the wire format.
    here = install(adapter=adapter)
    await here.create()
    made = events(1_000)
    async with open_door(here) as gateway:
        for _ in range(3):
            for at in range(0, len(made), 250):
                assert (await gateway.post(made[at : at + 250])).status_code == 202
        assert len(await on_topic(here)) == 3 * len(made)
    worker = start(here)
    await here.until_read_up(worker)
    outcome = await here.outcome()
    assert (outcome.calls(), outcome.cost_nanos()) == sums(made)
    assert outcome.dead_letters == []


async def test_a_broker_that_is_away_is_503_at_once_and_nothing_is_lost_when_it_is_back(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = type(broker)(data_dir=tmp_path / "broker")
    await asyncio.to_thread(own.start)
    try:
        here = Installation(own.bootstrap, topic_prefix, tmp_path, {})
        await here.create()
        before, during, after = events(100, "before"), events(100, "during"), events(100, "after")
        async with open_door(here, ack_timeout_s=2.0) as gateway:
            await gateway.deliver(before)
            own.kill()
            answer = await gateway.post(during)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            async with asyncio.timeout(80):
                # A broker that is known to be away is not waited for again: that would take 100 seconds.
                assert {(await gateway.post(during)).status_code for _ in range(50)} == {503}
            delivering = asyncio.create_task(gateway.deliver(during))
            await asyncio.sleep(0.5)
            await asyncio.to_thread(own.start)
            async with asyncio.timeout(PATIENCE_S):
                await delivering
            await gateway.deliver(after)
            values = {r.value for r in await on_topic(here)}
        assert values == {*before, *during, *after}
    finally:
        own.stop()
    assert not [
        record for record in caplog.records if record.levelno >= logging.ERROR and "door" in record.name
    ]


async def test_a_broker_that_is_away_does_not_keep_the_door_from_ending(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    own = type(broker)(data_dir=tmp_path / "broker")
    await asyncio.to_thread(own.start)
    port, health = free_port(), free_port()
    try:
        here = Installation(own.bootstrap, topic_prefix, tmp_path, {})
        await here.create()
        with door_process(here, port, health, tmp_path) as role:
            await until_open(port)
            async with Gateway(port) as gateway, httpx.AsyncClient() as prober:
                assert (await prober.get(f"http://127.0.0.1:{health}/readyz")).status_code == 200
                own.kill()
                posting = asyncio.create_task(gateway.post(events(10)))
                assert (await posting).status_code == 503
                assert (await prober.get(f"http://127.0.0.1:{health}/readyz")).status_code == 503
                assert (await prober.get(f"http://127.0.0.1:{health}/healthz")).status_code == 200
                metrics = (await prober.get(f"http://127.0.0.1:{health}/metrics")).text
                assert 'tidegate_door_requests_total{status="503"} 1.0' in metrics
            assert await asyncio.to_thread(role.stop) == 0, role.tail()
            assert "Traceback" not in role.tail()
    finally:
        own.stop()


async def test_without_a_broker_or_its_topic_the_door_does_not_open(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    for number, bootstrap in enumerate((f"127.0.0.1:{free_port()}", broker.bootstrap)):
        here = Installation(bootstrap, topic_prefix, tmp_path, {})
        folder = tmp_path / str(number)
        folder.mkdir()
        with door_process(here, free_port(), free_port(), folder) as role:
            assert await asyncio.to_thread(role.wait, PATIENCE_S) == 3, role.tail()
            assert "Traceback" not in role.tail()


async def kill_at_the_next_202(gateway: Gateway, role: RoleProcess) -> None:
    """As soon as the answer is here: whatever the door would still have to do for it is not done."""
    killed = asyncio.Event()

    def kill() -> None:
        gateway.on_202 = None
        role.kill()
        killed.set()

    gateway.on_202 = kill
    async with asyncio.timeout(PATIENCE_S):
        await killed.wait()


@pytest.mark.chaos
async def test_killed_hard_in_the_middle_again_and_again_every_event_counts_once(
    install: Install, start: Start, tmp_path: Path
) -> None:
    here = install()
    await here.create()
    made = events(6_000)
    port, health = free_port(), free_port()
    chance = random.Random(5)
    with door_process(here, port, health, tmp_path) as role:
        await until_open(port)
        async with Gateway(port) as gateway:
            waiting = [made[at : at + 20] for at in range(0, len(made), 20)]
            chance.shuffle(waiting)

            async def deliver() -> None:
                while waiting:
                    await gateway.deliver(waiting.pop())
                    await asyncio.sleep(0.02)

            delivering = asyncio.gather(*(deliver() for _ in range(4)))
            for number in range(6):
                await asyncio.sleep(chance.uniform(0.05, 0.5))
                if number == 3:
                    assert await asyncio.to_thread(role.stop) == 0, role.tail()
                else:
                    await kill_at_the_next_202(gateway, role)
                missing = {*gateway.accepted} - {r.value for r in await on_topic(here)}
                assert not missing, "what was answered 202 is on the topic, whatever happens next"
                role.start()
                await until_open(port)
            async with asyncio.timeout(PATIENCE_S):
                await delivering
        interrupted = sum(n for answer, n in gateway.answers.items() if answer != 202)
        assert interrupted, "no request was hit: this proved nothing"
        assert await asyncio.to_thread(role.stop) == 0, role.tail()
    assert sorted(gateway.accepted) == sorted(made)
    worker = start(here)
    await here.until_read_up(worker)
    outcome = await here.outcome()
    assert (outcome.calls(), outcome.cost_nanos()) == sums(made)
    assert outcome.dead_letters == []
