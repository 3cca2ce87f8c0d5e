"""Tidegate's side: commands and budgets put on their topics, and what ingest makes of what was published."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from gateway import Connection
from gateway.broker import producer
from schemas.base import Record
from schemas.budgets import BudgetSnapshot, SnapshotScope
from schemas.throttles import Scope, ScopeKind, ThrottleCommand
from schemas.topics import BUDGETS, COST_EVENTS, THROTTLE_COMMANDS
from service.ingest.call import Call
from service.ingest.reading import Reader
from tests.support.broker import read_all


async def put(connection: Connection, record: ThrottleCommand | BudgetSnapshot) -> None:
    topic, key = (
        (THROTTLE_COMMANDS, record.scope.key)
        if isinstance(record, ThrottleCommand)
        else (BUDGETS, record.budget)
    )
    await _send(connection, connection.topic(topic), key, record)


async def _send(connection: Connection, topic: str, key: str, record: Record) -> None:
    sender: Any = producer(connection, "test")
    await sender.start()
    try:
        await sender.send_and_wait(topic, record.to_json(), key=key.encode())
    finally:
        await sender.stop()


def command(kind: ScopeKind, value: str, action: Any, sequence: int = 1) -> ThrottleCommand:
    """As detect issues one for a loop, for ten minutes."""
    now = datetime.now(UTC)
    return ThrottleCommand(
        command_id=f"command-{kind}-{value}-{sequence}",
        scope=Scope(kind=kind, value=value),
        action=action,
        reason="retry_loop",
        mode="enforce",
        issued_at=now,
        expires_at=now + timedelta(minutes=10),
        sequence=sequence,
    )


def budget(
    workflow: str, *, limit: int, spent: int = 0, reserve: int | None = None, sequence: int = 1
) -> BudgetSnapshot:
    """A hard budget of a workflow. `limit`, `spent`, `reserve` (held for each call): nano-dollars."""
    now = datetime.now(UTC)
    return BudgetSnapshot(
        budget=f"monthly-{workflow}",
        scope=SnapshotScope(kind="workflow", value=workflow),
        unit="nano_usd",
        window_start=now - timedelta(days=1),
        window_end=now + timedelta(days=1),
        limit=limit,
        spent=spent,
        counted_until=now,
        state="ok" if spent < limit else "hard",
        hard=True,
        stop_at=limit,
        reserve=reserve,
        issued_at=now,
        valid_until=now + timedelta(hours=1),
        sequence=sequence,
    )


async def counted(connection: Connection) -> list[Call]:
    """Every event that ingest reads from what was published so far. None may be refused."""
    records = await read_all(connection.bootstrap_servers, connection.topic(COST_EVENTS))
    _, outcomes = Reader("tidegate", future_allowance_s=300).read(records)
    calls = [outcome for outcome in outcomes if isinstance(outcome, Call)]
    assert len(calls) == len(outcomes), [outcome for outcome in outcomes if not isinstance(outcome, Call)]
    return calls
