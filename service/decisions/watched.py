"""A gate that says when its limits change, and can list them all."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gateway import Gate, GatePolicy
from gateway.clock import Clock
from schemas.budgets import BudgetSnapshot
from schemas.throttles import ThrottleAck, ThrottleCommand


class Watched(Gate):
    """As `Gate`. Told by the feed from a thread of its own."""

    def __init__(
        self,
        name: str,
        policy: GatePolicy | None = None,
        clock: Clock | None = None,
        *,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_change` is called when limits may have changed, from whatever thread that came from."""
        super().__init__(name, policy, clock)
        self.on_change = on_change
        self._told = threading.Lock()
        self._snapshots: dict[str, BudgetSnapshot] = {}

    def commands(self) -> list[ThrottleCommand]:
        """Commands in force, dry runs too, by the keys of their scopes."""
        return [held.command for _, held in sorted(self.in_force().items())]

    def budgets(self) -> list[BudgetSnapshot]:
        """The newest snapshot of every budget that may refuse calls, by name."""
        with self._told:
            return [snapshot for _, snapshot in sorted(self._snapshots.items())]

    def obey(self, command: ThrottleCommand) -> ThrottleAck:
        ack = super().obey(command)
        self.on_change()
        return ack

    def take(self, snapshot: BudgetSnapshot) -> bool:
        with self._told:
            taken = super().take(snapshot)
            known = self._snapshots.get(snapshot.budget)
            if taken:
                self._snapshots[snapshot.budget] = snapshot
            elif known is not None and snapshot.sequence > known.sequence:
                del self._snapshots[snapshot.budget]  # it has become one that refuses nothing
        self.on_change()
        return taken

    def end_budget(self, budget: str) -> None:
        with self._told:
            super().end_budget(budget)
            self._snapshots.pop(budget, None)
        self.on_change()

    def heard(self) -> list[ThrottleAck]:
        was_stale = self.stale
        acks = super().heard()
        if acks or was_stale:
            self.on_change()
        return acks
