"""How many calls each trace has made through this process, in bounded memory."""

from __future__ import annotations

Key = tuple[str, str]
"""Workflow and trace id: a trace that crosses workflows is capped in each."""


class TraceCalls:
    """Counts in two generations: when the younger is full, the older is forgotten as a whole.

    A trace is forgotten only after `capacity` others have been counted since its last call, at least; it takes no
    clock, and every step costs the same. Counted from a trace's first call on, not from the command that caps it:
    a loop that has made a thousand calls by then is over its cap at once.
    """

    __slots__ = ("_capacity", "_older", "_younger")

    def __init__(self, capacity: int) -> None:
        """`capacity`: traces in each generation, so that at most twice as many are held."""
        self._capacity = capacity
        self._younger: dict[Key, int] = {}
        self._older: dict[Key, int] = {}

    def of(self, key: Key) -> int:
        """Calls so far."""
        return self._younger.get(key) or self._older.get(key, 0)

    def count(self, key: Key) -> None:
        """One call more."""
        calls = self._younger.get(key)
        if calls is None:
            calls = self._older.get(key, 0)
            if len(self._younger) >= self._capacity:
                self._older, self._younger = self._younger, {}
        self._younger[key] = calls + 1

    def __len__(self) -> int:
        return len(self._younger) + len(self._older)
