"""Commands and snapshots, short to write."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from schemas.budgets import BudgetScopeKind, BudgetSnapshot, SnapshotScope
from schemas.throttles import Action, Block, Scope, ScopeKind, ThrottleCommand
from tests.gateway.clock import T0

STOP = Block(message="Stopped: a loop.")


def command(
    sequence: int = 1,
    action: Action = STOP,
    kind: ScopeKind = "workflow",
    value: str = "w",
    *,
    workflow: str | None = None,
    lasts_s: float = 600,
    issued_at: datetime = T0,
    mode: Literal["enforce", "dry_run"] = "enforce",
    command_id: str | None = None,
) -> ThrottleCommand:
    return ThrottleCommand(
        command_id=command_id or f"c{sequence}",
        scope=Scope(kind=kind, value=value, workflow=workflow),
        action=action,
        reason="retry_loop in w",
        mode=mode,
        issued_at=issued_at,
        expires_at=issued_at + timedelta(seconds=lasts_s),
        sequence=sequence,
    )


def snapshot(
    sequence: int = 1,
    *,
    spent: int = 0,
    limit: int = 1_000,
    kind: BudgetScopeKind = "workflow",
    value: str | None = "w",
    counted_until: datetime = T0,
    **more: Any,
) -> BudgetSnapshot:
    """Of a hard budget for the hour around `T0`."""
    fields: dict[str, Any] = {
        "budget": "b",
        "scope": SnapshotScope(kind=kind, value=value),
        "unit": "nano_usd",
        "window_start": T0 - timedelta(minutes=30),
        "window_end": T0 + timedelta(minutes=30),
        "limit": limit,
        "spent": spent,
        "counted_until": counted_until,
        "state": "ok",
        "hard": True,
        "stop_at": limit,
        "issued_at": counted_until,
        "valid_until": counted_until + timedelta(hours=2),
        "sequence": sequence,
        **more,
    }
    return BudgetSnapshot(**fields)
