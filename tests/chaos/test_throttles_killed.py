"""Throttling survives SIGKILL: every incident is stopped once, told once, and let go once.

Of two processes that throttle, now one and now the other is killed while alerts come. What is on the topics must
then be what a process that nobody kills would have written.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from schemas.alerts import Alert
from schemas.control import Guard, Ladder, Rule, RuleBlock, Switch
from schemas.decode import decode
from schemas.throttles import ThrottleCommand, ThrottleEvent
from schemas.topics import ALERTS, THROTTLE_COMMANDS, THROTTLE_EVENTS
from service.kafka.admin import create_topics
from service.kafka.config_topic import publish
from service.kafka.embedded.broker import EmbeddedBroker
from service.rules.config import control_key
from service.settings import KafkaSettings, Settings
from tests.service.throttles.test_desk import alert
from tests.support.broker import read_all
from tests.support.patience import PATIENCE_S, until
from tests.support.roles import RoleProcess, environment

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

INCIDENTS = 60
OVER_S = 8.0
KILLS = 3


async def tell(settings: Settings, incidents: range, over_s: float) -> None:
    """An alert each, spread over some seconds."""
    kafka = settings.kafka
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers, acks="all", enable_idempotence=True
    )
    await producer.start()
    try:
        for i in incidents:
            now = datetime.now(UTC).timestamp()
            record = alert(now, fingerprint=f"f{i}", traces=(f"run-{i}",), last_seen_at=None)
            await producer.send_and_wait(
                kafka.topic(ALERTS), record.to_json(), key=record.fingerprint.encode()
            )
            await asyncio.sleep(over_s / len(incidents))
    finally:
        await producer.stop()


async def test_each_incident_is_stopped_and_let_go_once_after_kills(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    if not broker.name.startswith("Apache"):
        pytest.skip(f"{broker.name} never evicts a killed member: this protocol needs Apache Kafka")
    settings = Settings(kafka=KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix))
    await create_topics(settings)
    rule = Rule(
        name="stop",
        action=RuleBlock(message="stopped"),
        mode="enforce",
        ladder=Ladder(max_scopes=INCIDENTS, max_s=3_600.0),
    )
    for record in (rule, Guard(max_scopes=INCIDENTS)):
        await publish(settings.kafka, {control_key(record): record.to_json()})
    env = environment(broker.bootstrap, topic_prefix, TIDEGATE_THROTTLES__ACK_WAIT_S="3600")
    roles = [RoleProcess("throttles", env, tmp_path / f"{name}.log") for name in ("first", "second")]

    async def read(topic: str) -> list[bytes]:
        records = await read_all(broker.bootstrap, topic)
        return [record.value for record in records]

    async def commands() -> list[ThrottleCommand]:
        return [decode(ThrottleCommand, v) for v in await read(settings.kafka.topic(THROTTLE_COMMANDS))]

    async def events() -> list[ThrottleEvent]:
        return [decode(ThrottleEvent, v) for v in await read(settings.kafka.topic(THROTTLE_EVENTS))]

    async def all_told(change: str, count: int) -> bool:
        for role in roles:
            assert role.returncode is None, role.tail()
        return sum(event.change == change for event in await events()) >= count

    written = dict.fromkeys(roles, 0)

    def up(role: RoleProcess) -> bool:
        """Whether it has come up again since it was last killed: before that a signal simply ends it."""
        return b"health and metrics on port" in role.log.read_bytes()[written[role] :]

    async def killing() -> None:
        chance = random.Random(3)
        for i in range(KILLS):
            await asyncio.sleep(chance.uniform(0.3, 1.0) * OVER_S / KILLS)
            victim = roles[i % 2]
            victim.kill()
            written[victim] = len(victim.log.read_bytes())
            victim.start()

    with roles[0], roles[1]:
        await asyncio.gather(tell(settings, range(INCIDENTS), OVER_S), killing())
        await until(lambda: all_told("started", INCIDENTS), PATIENCE_S)
        switch = Switch(state="off")
        await publish(settings.kafka, {control_key(switch): switch.to_json()})
        await until(lambda: all_told("ended", INCIDENTS), PATIENCE_S)
        await until(lambda: all(up(role) for role in roles), PATIENCE_S)
        assert [role.stop() for role in roles] == [0, 0]

    told = Counter((event.change, event.scope.value) for event in await events())
    assert set(told.values()) == {1}
    assert len(told) == 2 * INCIDENTS
    found = await commands()
    assert len({command.command_id for command in found}) == len(found) == 2 * INCIDENTS
    assert sorted(command.sequence for command in found) == [command.sequence for command in found]
    for i in range(INCIDENTS):
        mine = [c.action.action for c in found if c.scope.value == f"run-{i}"]
        assert mine == ["block", "release"]
    alerts = [decode(Alert, v) for v in await read(settings.kafka.topic(ALERTS))]
    assert {a.kind for a in alerts} == {"retry_loop"}, "nobody is told of what is as it should be"
