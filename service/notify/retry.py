"""How often, and how far apart, a receiver is asked again. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Attempts in all, and the wait after the first and at most."""

    max_attempts: int
    initial_s: float
    max_s: float


def backoff(policy: RetryPolicy, attempts: int, after_s: float | None, chance: float) -> float:
    """Seconds to wait after the `attempts`-th failed attempt (1, 2, …).

    Doubles up to the maximum, less up to half of it by `chance` (0 to 1, uniform) so that many do not come back
    at once. What the receiver asked for is a floor.
    """
    grown = min(policy.max_s, policy.initial_s * 2.0 ** min(attempts - 1, 60))
    return max(after_s or 0.0, grown * (1.0 - chance / 2.0))
