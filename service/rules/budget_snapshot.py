"""The record of a budget that gateways enforce and the console shows."""

from __future__ import annotations

from datetime import UTC, datetime

from schemas.base import MAX_INT
from schemas.budgets import BudgetSnapshot, Expected, SnapshotScope
from schemas.control import Budget
from schemas.money import nanos
from service.rules.budget import Outlook, limit_at, standing
from service.rules.ledger import Ledger, unit


def snapshot(
    ledger: Ledger,
    budget: Budget,
    *,
    issued_at: float,
    counted_until: float,
    valid_s: float,
    config_version: str,
    outlook: Outlook | None = None,
) -> BudgetSnapshot:
    """The record for gateways and the console. Call it after `look`; it takes the ledger's next sequence.

    Parameters
    ----------
    issued_at : float
        Epoch seconds: the present, which may be later than event time.
    counted_until : float
        The watermark: spend before it is contained.
    valid_s : float
        How long gateways may go by it: a few times the interval in which snapshots are sent.
    """
    found = standing(ledger, budget, ledger.now, outlook)
    # A budget that is deleted and made again must not fall behind what gateways remember of it.
    ledger.sequence = max(ledger.sequence + 1, round(issued_at * 1e6))
    return BudgetSnapshot(
        budget=budget.name,
        scope=SnapshotScope(kind=budget.scope.kind, value=budget.scope.value),
        unit=unit(budget),
        window_start=_at(found.window.start),
        window_end=_at(found.window.end),
        rolling=budget.rolling,
        limit=found.limit,
        next_limit=limit_at(budget, 0, found.window.end),
        spent=_bounded(found.spent),
        counted_until=_at(counted_until),
        counted_since=_at(ledger.since) if ledger.since > found.window.start else None,
        state=found.state,
        hard=found.hard,
        stop_at=found.stop_at,
        grace_until=None if found.grace_until is None else _at(found.grace_until),
        protected=budget.protected,
        reserve=_reserved(budget),
        fail=budget.fail,
        message=budget.message,
        forecast=None
        if outlook is None
        else Expected(
            low=_bounded(outlook.low), expected=_bounded(outlook.expected), high=_bounded(outlook.high)
        ),
        issued_at=_at(issued_at),
        valid_until=_at(issued_at + valid_s),
        sequence=ledger.sequence,
        config_version=config_version,
    )


def _reserved(budget: Budget) -> int | None:
    held = budget.reserve
    if held is None:
        return None
    return max(1, nanos(held.amount_usd) if held.amount_usd is not None else held.amount_tokens or 1)


def _bounded(value: int) -> int:
    return max(-MAX_INT, min(value, MAX_INT))


def _at(epoch: float) -> datetime:
    return datetime.fromtimestamp(round(epoch, 6), UTC)
