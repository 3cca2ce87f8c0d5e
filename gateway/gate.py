"""Decides about every call before it is made, from what it was told: no I/O, no waiting, a few microseconds.

One lock around everything. It is held for some microseconds and never across a wait, so the gate may be asked
from any thread and from any event loop.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from typing import Final, NamedTuple

from gateway.account import Account
from gateway.accounts import Accounts
from gateway.bucket import Bucket
from gateway.call import Call
from gateway.clock import Clock, SystemClock
from gateway.decision import ALLOW, Decision, Rejection
from gateway.policy import GatePolicy
from gateway.throttles import Answer, Throttles
from gateway.ticket import Ticket
from gateway.trace_calls import TraceCalls
from gateway.weighing import Weighing
from schemas.budgets import BudgetSnapshot
from schemas.throttles import ThrottleAck, ThrottleCommand

_STALE: Final = Decision(
    rejection=Rejection(
        "limits_unknown",
        "This gateway has not heard of its spend limits for too long, and is set to make no calls then.",
    )
)


class InForce(NamedTuple):
    """A command that holds, and what it has done to calls, or in a dry run would have."""

    command: ThrottleCommand
    done: str


class Gate:
    """The limits in force, and what calls have used of them.

    Attributes
    ----------
    enforcing : bool
        False lets every call pass, whatever holds: the switch of whoever runs this gateway. Commands and
        snapshots are taken in, and spend is counted, all the same.
    """

    def __init__(self, name: str, policy: GatePolicy | None = None, clock: Clock | None = None) -> None:
        """`name`: of this gateway process, as its cost events have it. Not stale for the first `stale_after_s`."""
        self.enforcing = True
        self._name = name
        self._policy = policy or GatePolicy()
        self._clock = clock or SystemClock()
        self._monotonic = self._clock.monotonic
        self._lock = threading.Lock()
        self._throttles = Throttles(self._policy)
        self._accounts = Accounts(self._policy.processes)
        self._traces = TraceCalls(self._policy.max_traces)
        self._reserved: OrderedDict[Ticket, None] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._stale_at = self._monotonic() + self._policy.stale_after_s

    def decide(self, call: Call) -> Decision:
        """What to do with a call. One that is allowed is made, or else its ticket is settled with nothing.

        Counts the call towards its trace, takes its place in the rate of a slowed scope, and holds its estimate
        against budgets that reserve.
        """
        now = self._monotonic()
        with self._lock:
            decision = self._decide(call, now)
            self._counts[decision.action] += 1
        return decision

    def settle(self, ticket: Ticket | None, cost_nanos: int = 0, tokens: int = 0) -> bool:
        """A call has ended, or was never made: count what it spent, and give back what was held for it.

        False if there is nothing to settle, or it is done already: a second time changes nothing.
        """
        if ticket is None:
            return False
        now = self._monotonic()
        with self._lock:
            if not ticket.open:
                return False
            ticket.open = False
            self._reserved.pop(ticket, None)
            for account, held in zip(ticket.accounts, ticket.held, strict=True):
                account.settle(held, cost_nanos, tokens, now)
        return True

    def give_back(self, ticket: Ticket) -> None:
        """Return what is held for a call that may never be settled; its cost counts all the same if it is."""
        with self._lock:
            if ticket in self._reserved:
                del self._reserved[ticket]
                self._let_go(ticket)

    def obey(self, command: ThrottleCommand) -> ThrottleAck:
        """Take a command in, and say what became of it. Any order and any number of times come to the same."""
        now, wall = self._monotonic(), self._clock.now()
        with self._lock:
            answer = self._throttles.obey(command, now, wall)
            self._counts[f"command_{answer.result}"] += 1
        return self._ack(command.command_id, answer)

    def refuse(self, command_id: str, why: str) -> ThrottleAck:
        """What to answer to a command that cannot be read here: what held before it goes on."""
        with self._lock:
            self._counts["command_unsupported"] += 1
        return self._ack(command_id, Answer("unsupported", why))

    def take(self, snapshot: BudgetSnapshot) -> bool:
        """Take a budget's snapshot in. False if this one or a newer one is known, or it never refuses a call."""
        now, wall = self._monotonic(), self._clock.now()
        with self._lock:
            return self._accounts.take(snapshot, now, wall)

    def end_budget(self, budget: str) -> None:
        """The budget of this name is no more."""
        with self._lock:
            self._accounts.end(budget)

    def heard(self) -> list[ThrottleAck]:
        """The feed has been heard of: what it brought is all there is. Acks for what has expired since then."""
        now = self._monotonic()
        with self._lock:
            self._stale_at = now + self._policy.stale_after_s
            over = self._throttles.expire(now)
            self._give_up(now)
        return [self._ack(held.command.command_id, Answer("expired", held.epitaph())) for held in over]

    @property
    def stale(self) -> bool:
        """Whether the feed has not been heard of for too long."""
        return self._monotonic() >= self._stale_at

    def counts(self) -> Counter[str]:
        """How often each thing has happened, for metrics: actions, `command_*`, `stale`, `dry_run`, `given_up`."""
        with self._lock:
            return Counter(self._counts)

    def in_force(self) -> dict[str, InForce]:
        """Commands that hold, by scope key."""
        now = self._monotonic()
        with self._lock:
            return {h.key: InForce(h.command, str(h.done)) for h in self._throttles if h.until > now}

    def left(self, budget: str) -> int | None:
        """What a budget has left as far as is known here, in its unit; None if it holds nobody back."""
        now = self._monotonic()
        with self._lock:
            account = self._accounts.of(budget)
            if account is None or now >= account.valid_until:
                return None
            account.turn(now)
            return account.left

    def _decide(self, call: Call, now: float) -> Decision:
        free = not self.enforcing or call.workflow in self._policy.exempt_workflows
        stale = now >= self._stale_at
        if stale:
            self._counts["stale"] += 1
            if self._policy.on_stale == "closed" and not free:
                return _STALE
        decision = ALLOW
        if self._throttles or self._accounts:
            weighing = Weighing(call, self._traces, self._policy.max_delay_s, now)
            slowed: list[Bucket] = []
            if not free:
                slowed = weighing.weigh(self._throttles)
                if weighing.would:
                    self._counts["dry_run"] += weighing.would
            if weighing.rejection is not None:
                return Decision(rejection=weighing.rejection)
            held = self._hold(call, weighing.model, now, free=free, alone=stale)
            if isinstance(held, Rejection):
                return Decision(rejection=held)
            for bucket in slowed:
                bucket.take()
            decision = weighing.decision(held)
        if call.trace_id is not None:
            self._traces.count((call.workflow, call.trace_id))
        return decision

    def _hold(
        self, call: Call, model: str, now: float, *, free: bool, alone: bool
    ) -> Ticket | Rejection | None:
        """A ticket for the budgets that a call counts towards; None if there are none; or why it does not fit."""
        accounts = self._accounts.about(call, model)
        if not accounts:
            return None
        if self._reserved:
            self._give_up(now)
        amounts = []
        reserves = False
        for account in accounts:
            amount = account.to_hold(call.estimate_nanos, call.estimate_tokens)
            amounts.append(amount)
            if amount:
                reserves = True
            if not account.admits(amount, now, alone) and not free and not account.protects(call.workflow):
                return _unknown(account) if now >= account.valid_until else _exhausted(account)
        ticket = Ticket(accounts, amounts, now + self._policy.reservation_s)
        if reserves:
            for account, amount in zip(accounts, amounts, strict=True):
                account.held += amount
            self._reserved[ticket] = None
        return ticket

    def _give_up(self, now: float) -> None:
        """Return what is held for calls that nobody settled: a client that went away must not hold it for ever.

        What such a call spent counts all the same if it is settled after that.
        """
        while self._reserved and (ticket := next(iter(self._reserved))).until <= now:
            del self._reserved[ticket]
            self._let_go(ticket)

    def _let_go(self, ticket: Ticket) -> None:
        for account, held in zip(ticket.accounts, ticket.held, strict=True):
            account.held -= held
        ticket.held = [0] * len(ticket.held)
        self._counts["given_up"] += 1

    def _ack(self, command_id: str, answer: Answer) -> ThrottleAck:
        return ThrottleAck(
            command_id=command_id,
            gateway=self._name,
            result=answer.result,
            detail=answer.detail,
            acked_at=self._clock.now(),
        )


def _exhausted(account: Account) -> Rejection:
    snapshot = account.snapshot
    said = snapshot.message or f"The budget {snapshot.budget} of {_whose(account)} is used up."
    return Rejection("budget_exhausted", said, _whose(account), snapshot.budget)


def _unknown(account: Account) -> Rejection:
    name = account.snapshot.budget
    said = f"Nothing is known of the budget {name} of {_whose(account)} any more, so no calls are made."
    return Rejection("limits_unknown", said, _whose(account), name)


def _whose(account: Account) -> str:
    scope = account.snapshot.scope
    return f"{scope.kind}:{scope.value}" if scope.value is not None else scope.kind
