"""The budgets that calls are held to, found by what a call says of itself."""

from __future__ import annotations

from datetime import datetime

from gateway.account import Account
from gateway.call import LABELS, Call
from schemas.budgets import BudgetScopeKind, BudgetSnapshot


class Accounts:
    """Accounts by the name of their budget. Not locked: the gate is."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._by_name: dict[str, Account] = {}
        self._active: list[tuple[str, dict[str | None, list[Account]]]] = []
        """Fields of a call that any budget is about, narrowest first, and the budgets by its value."""
        self._models: dict[str | None, list[Account]] = {}
        self._organisation: list[Account] = []

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
        self._index()
        return True

    def end(self, budget: str) -> None:
        """The budget is no more. Calls under way are settled with it all the same."""
        if self._by_name.pop(budget, None) is not None:
            self._index()

    def about(self, call: Call, model: str) -> list[Account]:
        """Budgets that a call counts towards if it is made with `model`.

        The narrowest scope first, the model and the organisation last.
        """
        found: list[Account] = []
        for kind, table in self._active:
            row = table.get(getattr(call, kind))
            if row is not None:
                found += row
        found += self._models.get(model, ())
        found += self._organisation
        return found

    def of(self, budget: str) -> Account | None:
        """The account of one budget, by its name."""
        return self._by_name.get(budget)

    def __len__(self) -> int:
        return len(self._by_name)

    def _index(self) -> None:
        """Anew from all: budgets come and go seldom, and calls are many."""
        tables: dict[BudgetScopeKind, dict[str | None, list[Account]]] = {}
        for account in self._by_name.values():
            scope = account.snapshot.scope
            value = scope.value if scope.kind != "organisation" else None
            tables.setdefault(scope.kind, {}).setdefault(value, []).append(account)
        self._organisation = tables.pop("organisation", {}).get(None, [])
        self._models = tables.pop("model", {})
        self._active = [(kind, tables[kind]) for kind in LABELS if kind in tables]
