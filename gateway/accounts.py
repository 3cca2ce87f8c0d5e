"""The budgets that calls are held to, found by what a call says of itself."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from gateway.account import Account
from gateway.call import Call
from schemas.budgets import BudgetScopeKind, BudgetSnapshot

NARROWEST_FIRST: Final[tuple[BudgetScopeKind, ...]] = (
    "customer",
    "api_key",
    "workflow",
    "feature",
    "team",
    "environment",
)
"""Kinds of scope that are fields of a call by the same name. `model` and the organisation come last."""


class Accounts:
    """Accounts by the name of their budget. Not locked: the gate is."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._by_name: dict[str, Account] = {}
        self._tables: dict[BudgetScopeKind, dict[str | None, list[Account]]] = {}

    def take(self, snapshot: BudgetSnapshot, now: float, wall: datetime) -> bool:
        """Take a snapshot in; False if this one or a newer one is known, or it never refuses a call."""
        account = self._by_name.get(snapshot.budget)
        if account is not None and snapshot.sequence <= account.snapshot.sequence:
            return False
        if not snapshot.hard and snapshot.stop_at is None:
            self.end(snapshot.budget)
            return False
        if account is not None and (account.snapshot.scope, account.snapshot.unit) == (
            snapshot.scope,
            snapshot.unit,
        ):
            return account.update(snapshot, now, wall)
        self.end(snapshot.budget)
        account = Account(snapshot, self._processes, now, wall)
        self._by_name[snapshot.budget] = account
        self._row(account).append(account)
        return True

    def end(self, budget: str) -> None:
        """The budget is no more. Calls under way are settled with it all the same."""
        account = self._by_name.pop(budget, None)
        if account is not None:
            self._row(account).remove(account)

    def about(self, call: Call, model: str) -> list[Account]:
        """Budgets that a call counts towards if it is made with `model`, the narrowest scope first."""
        found: list[Account] = []
        tables = self._tables
        for kind in NARROWEST_FIRST:
            table = tables.get(kind)
            if table and (value := getattr(call, kind)) in table:
                found += table[value]
        if (table := tables.get("model")) and model in table:
            found += table[model]
        if table := tables.get("organisation"):
            for accounts in table.values():
                found += accounts
        return found

    def of(self, budget: str) -> Account | None:
        """The account of one budget, by its name."""
        return self._by_name.get(budget)

    def __len__(self) -> int:
        return len(self._by_name)

    def _row(self, account: Account) -> list[Account]:
        scope = account.snapshot.scope
        value = None if scope.kind == "organisation" else scope.value
        return self._tables.setdefault(scope.kind, {}).setdefault(value, [])
