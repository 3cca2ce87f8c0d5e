"""A fact about a budget as an alert: told once, sent again while it holds, and once when it is over."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Final, cast

from schemas.alerts import BUDGET_DETECTORS, Alert, Kind, Status, Verdict
from schemas.base import MAX_INT
from schemas.budgets import Unit
from schemas.control import Budget
from schemas.money import format_usd
from schemas.rollups import FoldedKind, Watched, scope_name
from service.budgets.account import Told
from service.rules.budget import Fact
from service.rules.ledger import unit

MOST: Final = MAX_INT // 16
"""Half a billion dollars: beyond it an alert says this much, so that no sum of its numbers leaves 64 bits."""
_EXHAUSTED: Final = ("grace", "hard")


def opened(budget: Budget, fact: Fact) -> Told:
    """A fact as it is first told; not sent yet. Not for `reset`, which is the end of others."""
    spent_up = fact.kind in _EXHAUSTED or (fact.kind == "soft" and fact.point >= 1)
    kind: Kind = "budget_exhausted" if spent_up else "budget_pace"
    return Told(
        key=fact.key,
        fingerprint=fingerprint(budget.name, fact),
        kind=kind,
        severity=fact.severity,
        point=fact.point,
        since=fact.at,
        window_start=fact.window.start,
        window_end=fact.window.end,
        limit=_bounded(fact.limit),
        expected=_bounded(fact.expected),
        until=fact.until,
        sequence=0,
        sent=0.0,
    )


def fingerprint(budget: str, fact: Fact) -> str:
    """Hash of budget, window, fact and limit: with a raised limit that is reached again it is another incident."""
    named = f"{budget}\0{fact.window.start}\0{fact.key}\0{fact.limit}"
    return hashlib.blake2b(named.encode(), digest_size=8).hexdigest()


def alert(
    budget: Budget,
    told: Told,
    *,
    spent: int,
    forecast: int | None,
    status: Status,
    now: float,
    config_version: str,
) -> Alert:
    """The alert that says it. Takes the next sequence of `told`.

    Parameters
    ----------
    spent, forecast : int, int or None
        Of the window, in the budget's unit: so far, and as expected at its end.
    now : float
        Event time, epoch seconds.
    """
    told.sequence += 1
    told.sent = now
    money = unit(budget) == "nano_usd"
    should_be = told.expected if told.key.startswith("pace:") else told.limit
    cost, expected = (_bounded(spent), should_be) if money else (0, 0)
    end = max(spent, forecast if forecast is not None else spent)
    called, scope = whose(budget)
    return Alert(
        fingerprint=told.fingerprint,
        status=status,
        severity=told.severity,
        kind=told.kind,
        workflow=called,
        scope=scope,
        team=budget.scope.value if budget.scope.kind == "team" else None,
        budget=budget.name,
        started_at=_at(told.since),
        fired_at=_at(told.since),
        updated_at=_at(max(now, told.since)),
        resolved_at=_at(max(now, told.since)) if status == "resolved" else None,
        sequence=told.sequence,
        summary=summary(budget, told, spent=spent, forecast=forecast, resolved=status == "resolved", now=now),
        cost_nanos=max(cost, 0),
        expected_nanos=max(expected, 0),
        excess_nanos=max(cost - expected, 0),
        projected_nanos=max(_bounded(end), 0) if money else 0,
        verdict=Verdict(
            detector=f"{BUDGET_DETECTORS}{told.key.partition(':')[0]}",
            score=round(spent / max(told.expected if told.kind == "budget_pace" else told.limit, 1), 4),
            threshold=told.point,
        ),
        config_version=config_version,
    )


def whose(budget: Budget) -> tuple[str, Watched | None]:
    """What people call a budget's scope, and the scope if it is no workflow."""
    kind, value = budget.scope.kind, budget.scope.value
    if kind == "workflow" and value is not None:
        return value, None
    if kind == "organisation" or value is None:
        return "organisation", None
    return scope_name(kind, value), Watched(kind=cast(FoldedKind, kind), value=value)


def summary(
    budget: Budget, told: Told, *, spent: int, forecast: int | None, resolved: bool, now: float
) -> str:
    """One sentence: what, how much, of what, until when."""
    called, _ = whose(budget)
    counted_in = unit(budget)
    window = f"last {budget.window}" if budget.rolling else budget.window
    name = f"Budget {budget.name} ({called}, {window})"
    used = f"{_amount(spent, counted_in)} of {_amount(told.limit, counted_in)}"
    if resolved:
        over = "the window is over" if now >= told.window_end and not budget.rolling else "no longer so"
        return f"{name}: {over}; {used} spent."
    what = told.key.partition(":")[0]
    until = "" if budget.rolling else f" The window ends at {_minute(told.window_end)}."
    if what == "pace":
        by_now = _amount(told.expected, counted_in)
        part = f"{told.point:.0%} or more of the {by_now} that should have been by now"
        return f"{name}: {used} spent, {part}.{until}"
    if what == "forecast":
        end = _amount(forecast if forecast is not None else told.expected, counted_in)
        return f"{name}: {used} spent; at this rate it will be {end}.{until}"
    if what == "grace":
        grace = "" if told.until is None else f" until {_minute(told.until)}"
        return f"{name}: used up, {used} spent. Calls go on{grace}, then they are refused.{until}"
    if what == "hard":
        return f"{name}: used up, {used} spent. Calls are refused.{until}"
    return f"{name}: {used} spent ({told.point:.0%} or more).{until}"


def _amount(amount: int, counted_in: Unit) -> str:
    if counted_in == "tokens":
        return f"{amount:,} tokens"
    return format_usd(amount)


def _minute(epoch: float) -> str:
    return f"{_at(epoch):%Y-%m-%d %H:%M} UTC"


def _bounded(amount: int) -> int:
    return max(-MOST, min(amount, MOST))


def _at(epoch: float) -> datetime:
    return datetime.fromtimestamp(round(epoch, 6), UTC)
