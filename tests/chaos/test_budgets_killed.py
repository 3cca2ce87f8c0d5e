"""What budgets have spent survives SIGKILL: nothing lost, nothing counted twice, and people are told once.

Of two processes that count, the one that does is killed again and again, and ingest too, while events flow. The
last snapshots must then be the sums of what was published, to the nano-dollar.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from schemas.alerts import Alert
from schemas.budgets import BudgetSnapshot
from schemas.decode import decode
from schemas.topics import ALERTS, BUDGETS, COST_EVENTS
from service.kafka.admin import create_topics
from service.kafka.config_topic import publish
from service.kafka.embedded.broker import EmbeddedBroker
from service.settings import KafkaSettings, Settings
from tests.service.rules.budgets import USD, a_budget
from tests.support.broker import read_all
from tests.support.patience import PATIENCE_S, until
from tests.support.roles import RoleProcess, environment

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

EVENTS = 4_000
OVER_S = 9.0
KILLS = 3
TEAMS = ("care", "sales", "labs")
SCOPES = [
    {"kind": "organisation"},
    {"kind": "team", "value": "care"},
    {"kind": "workflow", "value": "workflow-1"},
    {"kind": "environment", "value": "test"},
    {"kind": "customer", "value": "customer-7"},
]


def budget(name: str, scope: dict[str, str], **more: Any) -> bytes:
    # A week-long rolling window: no boundary lies within the test.
    window = {"window": "week", "rolling": True, "pace_at": [], "amount_usd": "1000000"}
    return a_budget(name=name, scope=scope, **{**window, **more}).to_json()


class Spending:
    """Seeded events, and what they cost whom."""

    def __init__(self, settings: Settings) -> None:
        self._kafka = settings.kafka
        self._random = random.Random(5)
        self.nanos: Counter[tuple[str, str | None]] = Counter()
        self.tokens = 0

    async def run(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka.bootstrap_servers, acks="all", enable_idempotence=True, linger_ms=20
        )
        await producer.start()
        try:
            began = time.monotonic()
            for i in range(EVENTS):
                key, value = self._event(i)
                await producer.send(self._kafka.topic(COST_EVENTS), key=key, value=value)
                if i % 100 == 0:
                    await asyncio.sleep(max(0.0, i / EVENTS * OVER_S - (time.monotonic() - began)))
            await producer.flush()
        finally:
            await producer.stop()

    def _event(self, i: int) -> tuple[bytes, bytes]:
        chance = self._random
        nanos = chance.randrange(1, USD // 10)
        labels = {
            "team": chance.choice(TEAMS),
            "workflow": f"workflow-{chance.randrange(20)}",
            "environment": chance.choice(("test", "live")),
            "customer": f"customer-{chance.randrange(50)}",
        }
        tokens = chance.randrange(1, 5_000)
        self.tokens += tokens
        self.nanos["organisation", None] += nanos
        self.nanos.update(dict.fromkeys(labels.items(), nanos))
        event = {
            "event_id": f"call-{i}",
            "occurred_at": round(time.time(), 3),
            "provider": "openai",
            "model": "gpt-4o-mini",
            "input_tokens": tokens,
            "cost_usd": f"0.{nanos:09d}",
            **labels,
        }
        return labels["workflow"].encode(), orjson.dumps(event)


async def snapshots(settings: Settings) -> dict[str, BudgetSnapshot | None]:
    """The last of each budget; None for one that has ended."""
    records = await read_all(settings.kafka.bootstrap_servers, settings.kafka.topic(BUDGETS))
    return {
        record.key.decode(): None if record.value is None else decode(BudgetSnapshot, record.value)
        for record in records
    }


def issued_at(found: dict[str, BudgetSnapshot | None], name: str) -> float:
    last = found[name]
    assert last is not None
    return last.issued_at.timestamp()


async def test_spend_is_exact_and_told_once_after_kills(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    if not broker.name.startswith("Apache"):
        pytest.skip(f"{broker.name} never evicts a killed member: this protocol needs Apache Kafka")
    settings = Settings(kafka=KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix))
    await create_topics(settings)
    names = {scope["kind"]: scope for scope in SCOPES}
    records: dict[str, bytes | None] = {
        f"budget/{kind}": budget(kind, scope) for kind, scope in names.items()
    }
    small = {"hard": True, "amount_usd": "20"}
    records["budget/small"] = budget("small", {"kind": "organisation"}, **small)
    await publish(settings.kafka, records)
    env = environment(broker.bootstrap, topic_prefix)
    ingest = RoleProcess("ingest", env, tmp_path / "ingest.log")
    first = RoleProcess("budgets", env, tmp_path / "first.log")
    second = RoleProcess("budgets", env, tmp_path / "second.log")
    spending = Spending(settings)
    logged: dict[RoleProcess, int] = {}

    async def counted(name: str, nanos: int) -> bool:
        for role in (ingest, first, second):
            assert role.returncode is None, role.tail()
        last = (await snapshots(settings)).get(name)
        return last is not None and last.spent == nanos

    async def later(name: str, than: float) -> bool:
        return issued_at(await snapshots(settings), name) > than

    async def killing() -> None:
        chance = random.Random(1)
        for i in range(KILLS):
            for role in (first, second):
                await asyncio.sleep(chance.uniform(0.5, 1.0) * OVER_S / KILLS / 2)
                role.kill()
                logged[role] = role.log.stat().st_size
                await asyncio.sleep(chance.uniform(0.0, 0.3))
                role.start()
            if i == 1:
                ingest.kill()
                ingest.start()

    with ingest, first, second:
        await until(lambda: counted("small", 0))
        async with asyncio.TaskGroup() as group:
            group.create_task(spending.run())
            group.create_task(killing())
        for kind, scope in names.items():
            nanos = spending.nanos[kind, scope.get("value")]
            await until(lambda kind=kind, nanos=nanos: counted(kind, nanos))  # type: ignore[misc]

        # Records change while everything runs: one ends, one begins late and goes back for what it missed.
        tokens = {"amount_usd": ..., "amount_tokens": 10**9}
        late = budget("late", {"kind": "organisation"}, **tokens)
        await publish(settings.kafka, {"budget/late": late, "budget/customer": None})
        await until(lambda: counted("late", spending.tokens))
        # While it went back it met again what the others have counted: their next snapshots must not have it.
        late_at = issued_at(await snapshots(settings), "late")
        for kind in names:
            if kind != "customer":
                await until(lambda kind=kind: later(kind, late_at))  # type: ignore[misc]
        last = await snapshots(settings)
        assert last["customer"] is None
        for kind, scope in names.items():
            if kind != "customer":
                found = last[kind]
                assert found is not None
                assert found.spent == spending.nanos[kind, scope.get("value")]
        stopped = last["small"]
        assert stopped is not None
        assert (stopped.state, stopped.stop_at) == ("hard", 20 * USD)
        for role in (first, second):
            # One that has just been started does not yet know what a signal is.
            await until(lambda role=role: b"budgets: health" in role.log.read_bytes()[logged[role] :])  # type: ignore[misc]
            assert role.stop(PATIENCE_S) == 0, role.tail()

    alerts = [
        decode(Alert, record.value, max_bytes=Alert.max_bytes)
        for record in await read_all(settings.kafka.bootstrap_servers, settings.kafka.topic(ALERTS))
    ]
    hard = [alert for alert in alerts if alert.verdict.detector == "budget.hard"]
    assert [alert.sequence for alert in hard] == list(range(1, len(hard) + 1)), "none twice, none left out"
    assert len({alert.fingerprint for alert in hard}) == 1
    assert (hard[0].kind, hard[0].severity, hard[0].workflow) == (
        "budget_exhausted",
        "critical",
        "organisation",
    )
