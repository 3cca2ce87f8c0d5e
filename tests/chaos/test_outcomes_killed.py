"""What outcomes cost survives SIGKILL: no call and no outcome lost, none counted twice.

Of two processes that join, the one that does is killed again and again, each time after it has written something
and has more to read. So is ingest. Calls and outcomes come in a random order, some twice. In the end the records of
outcomes must add up to what the traces cost, to the nano-dollar.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from schemas.control import Outcomes
from schemas.outcomes import OutcomeRollup
from schemas.reasons import Reason
from schemas.topics import COST_EVENTS, DEAD_LETTERS, OUTCOMES, ROLLUPS, Topic
from service.kafka.admin import create_topics
from service.kafka.config_topic import publish
from service.kafka.embedded.broker import EmbeddedBroker
from service.outcomes.trace import Sums
from service.settings import KafkaSettings, Settings
from tests.support.broker import read_all
from tests.support.patience import until
from tests.support.roles import RoleProcess, environment

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

CALLS = 2_000
TRACES = 300
KILLS = 3
KINDS = ("solved", "escalated")
WORKFLOWS = ("support", "care", "sales")

Totals = dict[tuple[str, str], Sums]


class Traffic:
    """Seeded calls and outcomes, in any order, and what these must come to."""

    def __init__(self, settings: Settings) -> None:
        self._kafka = settings.kafka
        chance = self._random = random.Random(7)
        self._records: list[tuple[Topic, bytes, bytes]] = []
        cost: Counter[str] = Counter()
        calls: Counter[str] = Counter()
        for i in range(CALLS):
            trace, nanos = f"run-{chance.randrange(TRACES)}", chance.randrange(1, 10**8)
            cost[trace] += nanos
            calls[trace] += 1
            self._add(COST_EVENTS, self._call(i, trace, nanos))
        found: defaultdict[tuple[str, str], Sums] = defaultdict(Sums)
        for number in range(0, TRACES, 2):
            trace, kind = f"run-{number}", KINDS[number % 4 // 2]
            self._add(OUTCOMES, self._outcome(number, trace, kind))
            sums = Sums(1, 2_500, int(not calls[trace]), 1, cost[trace], calls[trace])
            found[_workflow(trace), kind] = found[_workflow(trace), kind].plus(sums)
        self.expected: Totals = dict(found)
        self._records.append((OUTCOMES, b"run-0", b'{"outcome_id": "bad"}'))
        chance.shuffle(self._records)

    def _add(self, topic: Topic, document: dict[str, Any]) -> None:
        key = str(self._random.randrange(50)) if topic is COST_EVENTS else document["trace_id"]
        record = topic, key.encode(), orjson.dumps(document)
        self._records += [record] * (2 if self._random.random() < 0.1 else 1)

    def _call(self, i: int, trace: str, nanos: int) -> dict[str, Any]:
        return {
            "event_id": f"call-{i}",
            "occurred_at": round(time.time(), 3),
            "provider": "openai",
            "model": "gpt-4o-mini",
            "workflow": _workflow(trace),
            "trace_id": trace,
            "input_tokens": 100,
            "cost_usd": f"0.{nanos:09d}",
        }

    def _outcome(self, number: int, trace: str, kind: str) -> dict[str, Any]:
        document = {
            "outcome_id": f"ticket-{number}",
            "occurred_at": round(time.time(), 3),
            "trace_id": trace,
            "kind": kind,
            "quantity": 2.5,
        }
        return document | ({"workflow": _workflow(trace)} if number % 3 else {})

    async def run(self, part: int, parts: int) -> None:
        """Publish one of so many parts."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka.bootstrap_servers, acks="all", enable_idempotence=True, linger_ms=20
        )
        async with producer:
            for i, (topic, key, value) in enumerate(self._records[part::parts]):
                await producer.send(self._kafka.topic(topic), key=key, value=value)
                if i % 20 == 0:
                    await asyncio.sleep(0.05)
            await producer.flush()


def _workflow(trace: str) -> str:
    return WORKFLOWS[int(trace.removeprefix("run-")) % len(WORKFLOWS)]


async def totals(settings: Settings) -> Totals:
    found: defaultdict[tuple[str, str], Sums] = defaultdict(Sums)
    for record in await read_all(settings.kafka.bootstrap_servers, settings.kafka.topic(ROLLUPS)):
        if b'"type":"outcome"' not in record.value:
            continue
        told = OutcomeRollup.from_json(record.value)
        assert record.key == told.workflow.encode()
        place = told.workflow, told.kind
        found[place] = found[place].plus(Sums(*(getattr(told, name) for name in Sums._fields)))
    return {place: sums for place, sums in found.items() if any(sums)}


async def test_what_outcomes_cost_is_exact_after_kills(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    if not broker.name.startswith("Apache"):
        pytest.skip(f"{broker.name} never evicts a killed member: this protocol needs Apache Kafka")
    settings = Settings(kafka=KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix))
    await create_topics(settings)
    await publish(settings.kafka, {"outcomes/all": Outcomes(name="all").to_json()})
    env = environment(broker.bootstrap, topic_prefix)
    ingest = RoleProcess("ingest", env, tmp_path / "ingest.log")
    roles = [RoleProcess("outcomes", env, tmp_path / f"outcomes-{i}.log") for i in range(2)]
    traffic = Traffic(settings)

    begun = dict.fromkeys(roles, 0)
    chance = random.Random(1)

    async def told() -> int:
        records = await read_all(settings.kafka.bootstrap_servers, settings.kafka.topic(ROLLUPS))
        return sum(b'"type":"outcome"' in record.value for record in records)

    def leader() -> RoleProcess | None:
        leads = [role for role in roles if b"joining:" in role.log.read_bytes()[begun[role] :]]
        return leads[0] if leads else None

    async def killing(i: int, than: int) -> None:
        async def written() -> bool:
            return leader() is not None and await told() > than

        await until(written)
        await asyncio.sleep(chance.uniform(0.0, 1.2))
        role = leader()
        assert role is not None
        role.kill()
        begun[role] = role.log.stat().st_size
        role.start()
        if i == 1:
            ingest.kill()
            ingest.start()

    async def all_is_told() -> bool:
        for role in (ingest, *roles):
            assert role.returncode is None, role.tail()
        return await totals(settings) == traffic.expected

    with ingest, roles[0], roles[1]:
        for i in range(KILLS):
            async with asyncio.TaskGroup() as group:
                group.create_task(traffic.run(i, KILLS + 1))
                group.create_task(killing(i, await told()))
        await traffic.run(KILLS, KILLS + 1)
        await until(all_is_told)
        # Nothing may follow by and by that is one too many.
        await asyncio.sleep(2.0)
        assert await totals(settings) == traffic.expected
        assert sum(role.kills for role in roles) == KILLS

    letters = await read_all(settings.kafka.bootstrap_servers, settings.kafka.topic(DEAD_LETTERS))
    assert [orjson.loads(letter.value)["reason"] for letter in letters] == [Reason.MISSING_FIELD]
