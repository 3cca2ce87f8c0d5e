"""The decision API on a real broker: what is published there is what it says, from its first answer on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import pytest

from gateway import Connection
from gateway.broker import producer
from schemas.throttles import Release, ThrottleAck, ThrottleCommand
from schemas.topics import BUDGETS, THROTTLE_ACKS, THROTTLE_COMMANDS
from service.decisions.app import run
from service.kafka.embedded.broker import EmbeddedBroker, free_port
from service.settings import Settings
from tests.gateway.records import command
from tests.service.decisions.support import TOKEN
from tests.support.broker import create_topics, read_all
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.broker
CALL = {"calls": [{"model": "m", "workflow": "w"}]}


@asynccontextmanager
async def open_api(connection: Connection) -> AsyncIterator[httpx.AsyncClient]:
    """The role in this process, from the moment that its port is open."""
    port, stop = free_port(), asyncio.Event()
    tokens = {"gw": {"token": TOKEN, "scopes": "decide settle snapshot"}}
    settings = Settings.model_validate(
        {
            "kafka": {
                "bootstrap_servers": connection.bootstrap_servers,
                "topic_prefix": connection.topic_prefix,
            },
            "decisions": {"port": port, "tokens": tokens, "gateway": "decisions-1"},
            "health": {"port": -1},
        }
    )
    role = asyncio.create_task(run(settings, stop=stop))
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {TOKEN}"},
            timeout=PATIENCE_S,
        ) as client:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    assert not role.done(), role.result()
                    try:
                        await client.get("/v1/openapi.json")
                        break
                    except httpx.ConnectError:
                        await asyncio.sleep(0.02)
            yield client
    finally:
        stop.set()
        await asyncio.wait_for(role, PATIENCE_S)


async def publish(connection: Connection, record: ThrottleCommand) -> None:
    sender = producer(connection, "test")
    await sender.start()
    try:
        sent = await sender.send(
            connection.topic(THROTTLE_COMMANDS), record.to_json(), key=record.scope.key.encode(), headers=[]
        )
        await sent
    finally:
        await sender.stop()


async def test_commands_hold_from_the_first_answer_wake_who_waits_and_are_acknowledged(
    broker: EmbeddedBroker, topic_prefix: str
) -> None:
    connection = Connection(broker.bootstrap, topic_prefix)
    topics = [connection.topic(topic) for topic in (THROTTLE_COMMANDS, BUDGETS, THROTTLE_ACKS)]
    await create_topics(broker.bootstrap, dict.fromkeys(topics, 1))
    now = datetime.now(UTC)
    await publish(connection, command(1, issued_at=now))
    for _ in range(2):  # a restart lets nothing through either
        async with open_api(connection) as client:
            (decision,) = (await client.post("/v1/decisions", json=CALL)).json()["decisions"]
            assert decision["rejection"]["code"] == "throttled"
    async with open_api(connection) as client:
        first = await client.get("/v1/snapshot")
        assert [each["command_id"] for each in first.json()["commands"]] == ["c1"]
        waiting = asyncio.create_task(
            client.get("/v1/snapshot?wait_s=60", headers={"if-none-match": first.headers["etag"]})
        )
        await publish(connection, command(2, Release(), issued_at=now))
        answer = await waiting
        assert (answer.status_code, answer.json()["commands"]) == (200, [])
        (decision,) = (await client.post("/v1/decisions", json=CALL)).json()["decisions"]
        assert decision["action"] == "allow"
    records = await read_all(broker.bootstrap, connection.topic(THROTTLE_ACKS))
    acks = [ThrottleAck.from_json(record.value) for record in records]
    assert {ack.gateway for ack in acks} == {"decisions-1"}
    assert {("c1", "applied"), ("c2", "applied")} <= {(ack.command_id, ack.result) for ack in acks}
