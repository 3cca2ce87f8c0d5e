"""Tickets that are out: which of the gate's tickets a name stands for."""

from __future__ import annotations

import secrets
from collections import OrderedDict

from gateway import Ticket


class Tickets:
    """Tickets by names that nobody can guess. A name is good once.

    Whoever settles may have another token than who asked, so that tokens can be changed under calls that are
    under way: to know the name is enough.
    """

    def __init__(self, limit: int) -> None:
        """`limit`: how many can be out.

        With one more the oldest is forgotten, as if nobody settled it: what it holds is given up by the gate in its
        time, and its cost comes with a snapshot.
        """
        self._limit = limit
        self._out: OrderedDict[str, Ticket] = OrderedDict()
        self.forgotten = 0

    def give(self, ticket: Ticket) -> str:
        """A name for it."""
        name = secrets.token_urlsafe(16)
        self._out[name] = ticket
        if len(self._out) > self._limit:
            self._out.popitem(last=False)
            self.forgotten += 1
        return name

    def take(self, name: str) -> Ticket | None:
        """The ticket of that name, which is good no more; None if it is not known, or not any more."""
        return self._out.pop(name, None)

    def __len__(self) -> int:
        return len(self._out)
