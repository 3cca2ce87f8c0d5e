"""Whether something that should come to an end has stopped getting there."""

from __future__ import annotations


class Standstill:
    """Watches a number that moves while there is progress. Times are seconds of a monotonic clock."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._mark: object = None
        self._since: float | None = None

    def moves(self) -> None:
        """It is where it should be: there is nothing to wait for."""
        self._since = None

    def look(self, mark: object, now: float) -> bool:
        """Whether `mark` has stayed as it is for longer than the limit."""
        if self._since is None or mark != self._mark:
            self._mark, self._since = mark, now
        return now - self._since > self._limit_s
