"""One budget as this process sees it: what was spent by a snapshot, and what has been spent here since.

A snapshot says what everyone had spent up to an instant, a second or more ago. What this process has spent since
then is in no snapshot yet, so it is counted here and added; when a snapshot of a later instant comes, that part
is left out again. Amounts are integers in the budget's unit, nano-dollars or tokens.

Where the budget reserves, each call is counted before it is made, and each of N processes may use up to an Nth of
what a snapshot leaves over. Shares of processes that have seen different snapshots could add up to more than is
left, so a process stays within its share of *every* snapshot of the last `_MEMORY_S` seconds, not only of the
newest.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from schemas.budgets import BudgetSnapshot

_GRAIN_S: Final = 0.25
"""What is spent within it counts as spent by its last call: rather twice for a moment than not at all."""
_MAX_GRAINS: Final = 512
_MEMORY_S: Final = 30.0
_MAX_CLAIMS: Final = 64
_RECENT: Final = 64
_MAX_WORKFLOWS: Final = 4_096
_NEVER: Final = 1 << 100
"""More than anybody can spend: Kafka's counts end at 2^63."""
_FOREVER: Final = float("inf")


class _Claim(NamedTuple):
    """What one snapshot leaves over: all of it was spent by `as_of`, or here since `base` had been spent here."""

    as_of: float
    base: int
    spent: int


class Account:
    """Spend of one budget. Not locked: the gate is. Times are seconds of the gate's monotonic clock."""

    __slots__ = (
        "_claims",
        "_ends",
        "_globs",
        "_grace_ends",
        "_in_nanos",
        "_older_peak",
        "_opened",
        "_peak",
        "_processes",
        "_protected",
        "_settled",
        "_shared_ceiling",
        "_stop",
        "_totals",
        "_whole_ceiling",
        "_window_ends",
        "held",
        "next_change",
        "reserve",
        "snapshot",
        "total",
        "valid_until",
    )

    def __init__(self, snapshot: BudgetSnapshot, processes: int, now: float, wall: datetime) -> None:
        """`processes`: how many share what is left of a budget that reserves."""
        self.total = 0
        """Settled here since the account was opened."""
        self.held = 0
        """Reserved for calls under way."""
        self._processes = processes
        # By _ends[i], _totals[i] had been settled; both grow. The last of them is open since _opened.
        self._ends: list[float] = []
        self._totals: list[int] = []
        self._opened = -_FOREVER
        self._claims: deque[_Claim] = deque(maxlen=_MAX_CLAIMS)
        self._peak = self._older_peak = self._settled = 0
        self._protected: dict[str, bool] = {}
        self._globs: list[str] = []
        self._in_nanos = True
        self.reserve = 0
        """What is held for a call of unknown cost; 0: calls are not counted before they have ended."""
        self.snapshot = snapshot
        self.valid_until = self._grace_ends = self._window_ends = self.next_change = _FOREVER
        self._stop: int | None = None
        self._whole_ceiling = self._shared_ceiling = _NEVER
        self._take(snapshot, now, wall)

    def update(self, snapshot: BudgetSnapshot, now: float, wall: datetime) -> bool:
        """Take a snapshot in; False if this one or a newer one is known already."""
        if snapshot.sequence <= self.snapshot.sequence:
            return False
        if not snapshot.rolling and snapshot.window_start != self.snapshot.window_start:
            self._claims.clear()
        self._take(snapshot, now, wall)
        return True

    def turn(self, now: float) -> None:
        """Do what is due without being told: end the grace, or begin the next window with nothing spent."""
        if now < self.next_change:
            return
        if now >= self._grace_ends:
            self._stop, self._grace_ends = self.snapshot.limit, _FOREVER
        if now >= self._window_ends:
            ended, self._window_ends = self._window_ends, _FOREVER
            beyond = 0 if self._stop is None else self._stop - self.snapshot.limit
            self._stop = (
                None if self._stop is None else (self.snapshot.next_limit or self.snapshot.limit) + beyond
            )
            self._claims.clear()
            self._claim(ended, 0)
        self._measure()

    def protects(self, workflow: str) -> bool:
        """Whether calls of a workflow count here and are never refused."""
        if not self._globs:
            return False
        known = self._protected.get(workflow)
        if known is None:
            if len(self._protected) >= _MAX_WORKFLOWS:
                self._protected.clear()
            known = any(fnmatchcase(workflow, glob) for glob in self._globs)
            self._protected[workflow] = known
        return known

    def admits(self, amount: int, now: float, alone: bool) -> bool:
        """Whether a call fits that `amount` is to be held for.

        `alone`: nobody says what others spend, so there are no shares to keep to, but the whole remainder.
        """
        if now >= self.next_change:
            self.turn(now)
        if now >= self.valid_until:
            return self.snapshot.fail == "open"
        if not self.reserve:
            return self.total < self._whole_ceiling
        ceiling = self._whole_ceiling if alone else self._shared_ceiling
        return self.total + self.held + amount <= ceiling

    def to_hold(self, nanos: int | None, tokens: int | None) -> int:
        """What to hold for a call: the gateway's estimate, else the budget's own or the dearest call of late."""
        if not self.reserve:
            return 0
        estimate = nanos if self._in_nanos else tokens
        if estimate is not None:
            return estimate
        return max(self.reserve, self._peak, self._older_peak)

    def settle(self, held: int, nanos: int, tokens: int, now: float) -> None:
        """A call has ended: give back what was held for it, and count what it spent."""
        self.held -= held
        spent = nanos if self._in_nanos else tokens
        if not spent:
            return
        self.total += spent
        if now >= self._opened + _GRAIN_S:
            self._opened = now
            if len(self._ends) >= _MAX_GRAINS:
                # Half as fine: a coarser grain counts more of the spend twice, never less than once.
                self._ends, self._totals = self._ends[1::2], self._totals[1::2]
            self._ends.append(now)
            self._totals.append(self.total)
        else:
            self._ends[-1], self._totals[-1] = now, self.total
        self._settled += 1
        if self._settled % _RECENT == 0:
            self._older_peak, self._peak = self._peak, 0
        if spent > self._peak:
            self._peak = spent

    @property
    def left(self) -> int:
        """What is left by the newest snapshot and the spend here since; negative when overspent."""
        return self._whole_ceiling - self.total - self.held

    def _take(self, snapshot: BudgetSnapshot, now: float, wall: datetime) -> None:
        def here(instant: datetime) -> float:
            return now + (instant - wall).total_seconds()

        self.snapshot = snapshot
        self._protected.clear()
        self._globs = snapshot.protected
        self._in_nanos = snapshot.unit == "nano_usd"
        self.reserve = snapshot.reserve or 0
        self.valid_until = here(snapshot.valid_until)
        self._stop = snapshot.stop_at
        self._grace_ends = here(snapshot.grace_until) if snapshot.grace_until is not None else _FOREVER
        # A rolling window's end is only as far as was counted: it moves on, and nothing begins anew.
        self._window_ends = _FOREVER if snapshot.rolling else here(snapshot.window_end)
        # What was spent here before the window began is in no window that counts.
        self._claim(here(max(snapshot.counted_until, snapshot.window_start)), snapshot.spent)
        self._measure()
        self.turn(now)

    def _claim(self, as_of: float, spent: int) -> None:
        self._claims.append(_Claim(as_of, self._total_at(as_of), spent))
        while self._claims[0].as_of < as_of - _MEMORY_S:
            self._claims.popleft()

    def _measure(self) -> None:
        """The ceilings on `total`, from where it must stop at present: a limit that was raised counts at once."""
        self.next_change = min(self._grace_ends, self._window_ends)
        if self._stop is None:
            self._whole_ceiling = self._shared_ceiling = _NEVER
            return
        newest = self._claims[-1]
        self._whole_ceiling = newest.base + self._stop - newest.spent
        self._shared_ceiling = self._whole_ceiling
        if self._processes > 1:
            self._shared_ceiling = min(
                claim.base + max(self._stop - claim.spent, 0) // self._processes for claim in self._claims
            )

    def _total_at(self, instant: float) -> int:
        """What had been settled here by then, or less: never more."""
        index = bisect_right(self._ends, instant) - 1
        return self._totals[index] if index >= 0 else 0
