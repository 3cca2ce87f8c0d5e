"""What a call under way owes to budgets: handed out with its decision, given back when it has ended."""

from __future__ import annotations

from gateway.account import Account


class Ticket:
    """The budgets that a call counts towards, and what is held for it in each, in their units.

    Belongs to the gate that made it, which alone changes it. Settled at most once.
    """

    __slots__ = ("accounts", "held", "open", "until")

    def __init__(self, accounts: list[Account], held: list[int], until: float) -> None:
        self.accounts = accounts
        self.held = held
        self.open = True
        self.until = until
