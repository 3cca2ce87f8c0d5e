"""The token bucket of one slowed scope: it lends ahead, so that a call is told how long to wait."""

from __future__ import annotations


class Bucket:
    """Fills at `rate` tokens a second up to one second's worth, at least one; may go into debt.

    Calls that come faster than the rate are told delays that space them out at the rate. A renewed command keeps
    the bucket: otherwise each renewal would be a burst.
    """

    __slots__ = ("_at", "_most", "_rate", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        """`rate`: calls a second, above 0. `now`: seconds of a monotonic clock."""
        self._rate = rate
        self._most = max(rate, 1.0)
        self._tokens = self._most
        self._at = now

    def change(self, rate: float, now: float) -> None:
        """Fill at another rate from now on; what is owed is owed still."""
        self._fill(now)
        self._rate = rate
        self._most = max(rate, 1.0)
        self._tokens = min(self._tokens, self._most)

    def wait_s(self, now: float) -> float:
        """Seconds that a call made now would have to wait. Takes nothing."""
        self._fill(now)
        return 0.0 if self._tokens >= 1.0 else (1.0 - self._tokens) / self._rate

    def take(self) -> None:
        """One call is let through, after the wait that was asked for last."""
        self._tokens -= 1.0

    def _fill(self, now: float) -> None:
        if now > self._at:
            tokens = self._tokens + (now - self._at) * self._rate
            self._tokens = tokens if tokens < self._most else self._most
            self._at = now
