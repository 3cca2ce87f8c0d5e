"""How the demo's gateway obeys throttle commands: pure, in event time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from schemas.throttles import Block, Cap, Downgrade, Release, ScopeKind, Slow, ThrottleCommand
from service.demo.call import ENVIRONMENT, Call

Answer = Literal["applied", "ignored", "expired", "unsupported"]

_VALUE: Final[Mapping[ScopeKind, Callable[[Call], str]]] = {
    "workflow": lambda call: call.workflow,
    "trace": lambda call: call.trace_id,
    "customer": lambda call: call.customer,
    "team": lambda call: call.team,
    "api_key": lambda call: call.api_key,
    "model": lambda call: call.model,
    "feature": lambda call: call.feature,
    "environment": lambda _: ENVIRONMENT,
}
_PROVIDER_OF: Final = {"gpt": "openai", "claude": "anthropic", "gemini": "google"}


@dataclass(slots=True)
class _Held:
    """A command that is in force, and what was let through under it."""

    command: ThrottleCommand
    budget: float = 1.0
    refilled: float | None = None
    calls: dict[str, int] = field(default_factory=dict)


class Gateway:
    """Keeps the newest command of each scope, and decides about every call before it is made.

    Times are epoch seconds of event time. Of two commands for a scope the higher sequence wins, whatever the
    order of their arrival; a command that has expired binds nobody.
    """

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._sequences: dict[str, int] = {}

    def obey(self, command: ThrottleCommand, now: float) -> tuple[Answer, str | None]:
        """Take a command in. Returns what to answer on throttle-acks, and why."""
        if command.mode == "dry_run":
            return "ignored", "dry run"
        key = command.scope.key
        newest = self._sequences.get(key)
        if newest is not None and command.sequence <= newest:
            return "ignored", f"sequence {newest} is newer"
        if command.expires_at.timestamp() <= now:
            return "expired", None
        if isinstance(command.action, Downgrade) and _provider(command.action.fallback_model) is None:
            return "unsupported", f"no such model here: {command.action.fallback_model}"
        self._sequences[key] = command.sequence
        if isinstance(command.action, Release):
            self._held.pop(key, None)
        else:
            self._held[key] = _Held(command)
        return "applied", None

    def admit(self, call: Call) -> bool:
        """Whether the call may be made; its model or output may have been changed to allow it."""
        return all(self._allows(held, call) for held in self._about(call))

    @property
    def active(self) -> list[ThrottleCommand]:
        """Commands that are held, expired ones included until a call meets them."""
        return [held.command for held in self._held.values()]

    def _about(self, call: Call) -> list[_Held]:
        if not self._held:
            return []
        for key in [k for k, h in self._held.items() if h.command.expires_at.timestamp() <= call.at]:
            del self._held[key]
        return [held for held in self._held.values() if _concerns(held.command, call)]

    def _allows(self, held: _Held, call: Call) -> bool:
        match held.command.action:
            case Slow(max_rps=rate):
                return _let_through(held, call.at, rate)
            case Cap(max_output_tokens=tokens, max_calls_per_trace=most):
                if tokens is not None:
                    call.tokens_out = min(call.tokens_out, tokens)
                made = held.calls[call.trace_id] = held.calls.get(call.trace_id, 0) + 1
                return most is None or made <= most
            case Downgrade(fallback_model=model):
                call.provider, call.model = _provider(model) or call.provider, model
                return True
            case Block():
                return False
            case _:
                return True


def _concerns(command: ThrottleCommand, call: Call) -> bool:
    scope = command.scope
    return scope.workflow in (None, call.workflow) and (
        scope.kind == "organisation" or _VALUE[scope.kind](call) == scope.value
    )


def _let_through(held: _Held, at: float, rate: float) -> bool:
    """A token bucket that holds one second's worth, at least one call."""
    elapsed = 0.0 if held.refilled is None else max(0.0, at - held.refilled)
    held.refilled = at
    held.budget = min(max(rate, 1.0), held.budget + elapsed * rate)
    if held.budget < 1.0:
        return False
    held.budget -= 1.0
    return True


def _provider(model: str) -> str | None:
    return _PROVIDER_OF.get(model.split("-", 1)[0])
