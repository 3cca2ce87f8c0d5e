"""What a gateway decides for itself, whatever it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """Settings of one gate.

    Attributes
    ----------
    on_stale : "open" or "closed"
        What happens to calls when the feed has not been heard of for `stale_after_s`. Open: they are made;
        commands hold until they expire, and budgets are counted here. Closed: they are rejected.
    stale_after_s : float
        Seconds. The feed is heard of with every poll that the broker answers, many times in this span.
    processes : int
        How many gateway processes share the traffic: each gives a slowed scope its part of the rate, and holds
        itself to its part of what a budget that reserves has left.
    max_delay_s : float
        A slowed call that would have to wait longer is rejected: a queue without end helps nobody.
    models : frozenset of str or None
        Models that this gateway can call. A downgrade to another is not supported. None: any.
    exempt_workflows : frozenset of str
        Never throttled by this gateway and never stopped when the feed is stale; their spend still counts.
    reservation_s : float
        Seconds after which a reservation that nobody settled is given up: its call must have died.
    max_traces : int
        Traces whose calls are counted at a time. One that makes no call while so many others do is forgotten.
    max_scopes : int
        Scopes that can be under a command at a time; commands for more of them fail, and are answered so.
    """

    on_stale: Literal["open", "closed"] = "open"
    stale_after_s: float = 30.0
    processes: int = 1
    max_delay_s: float = 10.0
    models: frozenset[str] | None = None
    exempt_workflows: frozenset[str] = frozenset()
    reservation_s: float = 900.0
    max_traces: int = 20_000
    max_scopes: int = 10_000

    def __post_init__(self) -> None:
        if self.processes < 1 or self.max_traces < 1 or self.max_scopes < 1:
            raise ValueError("processes, max_traces and max_scopes are at least 1")
        if min(self.stale_after_s, self.reservation_s) <= 0 or self.max_delay_s < 0:
            raise ValueError("stale_after_s and reservation_s are above 0, max_delay_s is not below")
