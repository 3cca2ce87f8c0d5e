"""The throttle commands in force: which one holds for a scope, for how long, and what it has done.

Of the commands for a scope the one with the highest sequence holds, in whatever order and however often they
come; one that has expired, and a release, leave the scope free and older commands without effect all the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple, get_args

from gateway.bucket import Bucket
from gateway.call import LABELS, Call
from gateway.decision import Code, Rejection
from gateway.policy import GatePolicy
from schemas.throttles import Block, Cap, Downgrade, Release, Scope, ScopeKind, Slow, ThrottleCommand

Result = Literal["applied", "ignored", "expired", "unsupported", "failed"]

NARROWEST_FIRST: Final[tuple[tuple[ScopeKind, str], ...]] = (
    ("trace", "trace_id"),
    *((kind, kind) for kind in LABELS),
)
"""Kinds of scope and the field of a call that they are about. Then comes the organisation, and the model last of
all: which one a call is made with is what the downgrades of all others decide."""

_EVERYONE: Final = ""
DRY_RUN: Final = "dry run: counted, not enforced"


class Answer(NamedTuple):
    """What a gateway answers to a command, and why."""

    result: Result
    detail: str | None = None


@dataclass(slots=True)
class Done:
    """What a command has done to calls, or in a dry run would have."""

    rejected: int = 0
    delayed: int = 0
    downgraded: int = 0
    capped: int = 0

    def __str__(self) -> str:
        held_back = f"{self.rejected} rejected, {self.delayed} delayed"
        return f"{held_back}, {self.downgraded} downgraded, {self.capped} capped"


class Held:
    """One command in force, taken apart for speed."""

    __slots__ = (
        "bucket",
        "command",
        "done",
        "enforced",
        "fallback",
        "key",
        "most_calls",
        "most_tokens",
        "rejection",
        "until",
        "workflow",
    )

    def __init__(self, command: ThrottleCommand, until: float, bucket: Bucket | None) -> None:
        action = command.action
        self.command = command
        self.key = command.scope.key
        self.workflow = command.scope.workflow if command.scope.kind != "workflow" else None
        self.until = until
        self.enforced = command.mode == "enforce"
        self.bucket = bucket
        self.done = Done()
        self.fallback = action.fallback_model if isinstance(action, Downgrade) else None
        self.most_tokens = action.max_output_tokens if isinstance(action, Cap) else None
        self.most_calls = action.max_calls_per_trace if isinstance(action, Cap) else None
        self.rejection = (
            Rejection("throttled", action.message, self.key, command.command_id)
            if isinstance(action, Block)
            else None
        )

    def reject(self, code: Code, why: str) -> Rejection:
        """A rejection for this command's sake, with its own reason first."""
        return Rejection(code, f"{self.command.reason}: {why}", self.key, self.command.command_id)

    def epitaph(self) -> str:
        """What the command has done, or would have: the last that is told of it."""
        return str(self.done) if self.enforced else f"dry run: {self.done} if it had been enforced"


class _Known(NamedTuple):
    """The newest command of a scope, and what was answered to it."""

    order: tuple[int, str]
    answer: Answer


class Throttles:
    """Commands by scope. Not locked: the gate is. Times are seconds of the gate's monotonic clock."""

    def __init__(self, policy: GatePolicy) -> None:
        self._policy = policy
        self._held: dict[str, Held] = {}
        self._tables: dict[ScopeKind, dict[str, list[Held]]] = {kind: {} for kind in get_args(ScopeKind)}
        self._models = self._tables["model"]
        self._organisation: list[Held] = []
        self._active: list[tuple[str, dict[str, list[Held]]]] = []
        """Fields of a call that any command is about, narrowest first, and the commands by its value."""
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._next_expiry = float("inf")

    def obey(self, command: ThrottleCommand, now: float, wall: datetime) -> Answer:
        """Take a command in.

        How long it holds is what its `expires_at` leaves by the wall clock as of now, and never longer than from
        `issued_at`: a clock here that is behind does not make it longer. From then on only the monotonic clock
        counts.
        """
        key = command.scope.key
        order = (command.sequence, command.command_id)
        known = self._known.get(key)
        if known is not None and order <= known.order:
            if order == known.order:
                return known.answer
            return Answer("ignored", f"sequence {known.order[0]} is newer")
        if isinstance(command.action, Downgrade) and not self._has(command.action.fallback_model):
            return Answer("unsupported", f"no such model here: {command.action.fallback_model}")
        left = min(command.expires_at - wall, command.expires_at - command.issued_at).total_seconds()
        free = left <= 0 or isinstance(command.action, Release)
        if not free and key not in self._held and len(self._held) >= self._policy.max_scopes:
            return Answer("failed", f"{len(self._held)} scopes are under commands already")
        before = self._drop(key)
        if not free:
            self._hold(command, now, now + left, before)
        answer = _answer(command, left)
        self._remember(key, _Known(order, answer))
        return answer

    def about(self, call: Call, now: float) -> list[Held]:
        """Commands about a call, whatever its model, the narrowest scope first."""
        found: list[Held] = []
        for field, table in self._active:
            row = table.get(getattr(call, field))
            if row is not None:
                for held in row:
                    if held.until > now and (held.workflow is None or held.workflow == call.workflow):
                        found.append(held)
        for held in self._organisation:
            if held.until > now and (held.workflow is None or held.workflow == call.workflow):
                found.append(held)
        return found

    def about_model(self, model: str, workflow: str, now: float) -> list[Held]:
        """Commands about a model."""
        row = self._models.get(model)
        if row is None:
            return []
        return [h for h in row if h.until > now and (h.workflow is None or h.workflow == workflow)]

    def expire(self, now: float) -> list[Held]:
        """Drop what has expired, and return it."""
        if now < self._next_expiry:
            return []
        over = [held for held in self._held.values() if held.until <= now]
        for held in over:
            self._drop(held.key)
        self._next_expiry = min((held.until for held in self._held.values()), default=float("inf"))
        return over

    def __iter__(self) -> Iterator[Held]:
        return iter(self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def _has(self, model: str) -> bool:
        return self._policy.models is None or model in self._policy.models

    def _hold(self, command: ThrottleCommand, now: float, until: float, before: Held | None) -> None:
        bucket = None
        if isinstance(command.action, Slow):
            rate = command.action.max_rps / self._policy.processes
            bucket = before.bucket if before is not None else None
            if bucket is None:
                bucket = Bucket(rate, now)
            else:
                bucket.change(rate, now)
        held = Held(command, until, bucket)
        self._held[held.key] = held
        row = self._tables[command.scope.kind].setdefault(_place(command.scope), [])
        # Within one value the scope that names a workflow is the narrower.
        row.insert(0 if held.workflow is not None else len(row), held)
        self._next_expiry = min(self._next_expiry, until)
        self._index()

    def _index(self) -> None:
        self._active = [(field, table) for kind, field in NARROWEST_FIRST if (table := self._tables[kind])]
        self._organisation = self._tables["organisation"].get(_EVERYONE, [])

    def _drop(self, key: str) -> Held | None:
        held = self._held.pop(key, None)
        if held is not None:
            scope = held.command.scope
            table, place = self._tables[scope.kind], _place(scope)
            table[place].remove(held)
            if not table[place]:
                del table[place]
                self._index()
        return held

    def _remember(self, key: str, known: _Known) -> None:
        """So that an older command that comes later revives nothing. Bounded, at five times what can be held."""
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > 5 * self._policy.max_scopes:
            oldest = next(k for k in self._known if k not in self._held)
            del self._known[oldest]


def _place(scope: Scope) -> str:
    """In the table of its kind. There is one organisation, whatever it is called."""
    return _EVERYONE if scope.kind == "organisation" else scope.value


def _answer(command: ThrottleCommand, left: float) -> Answer:
    if left <= 0:
        return Answer("expired")
    if command.mode == "dry_run":
        return Answer("ignored", DRY_RUN)
    return Answer("applied")
