"""What is asked of the proxy: one call, and the mix of five thousand."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

STOPPED_WORKFLOW: Final = "w-stopped"
"""The mix has calls of it, which a command is to stop."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One call. `call` says how the upstream behaves, and is found again in its bill and in the event's trace."""

    call: str
    kind: Literal["chat", "stream", "embedding"] = "chat"
    model: str = "gpt-4o"
    workflow: str = "w"
    trace: str | None = None
    """None: a trace of its own, named like the call."""
    words: int = 20
    """Of the prompt."""
    include_usage: bool = False
    leave_after_chunks: int | None = None
    leave_after_s: float | None = None

    def wire(self) -> dict[str, Any]:
        """As the client's program reads it."""
        return {
            "call": self.call,
            "kind": self.kind,
            "model": self.model,
            "words": self.words,
            "metadata": {"workflow": self.workflow, "trace_id": self.trace or self.call},
            "include_usage": self.include_usage,
            "leave_after_chunks": self.leave_after_chunks,
            "leave_after_s": self.leave_after_s,
        }


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a call, as the client saw it."""

    call: str
    outcome: str
    """`ok`, `left`, the status of an error, or its name."""
    requests: int
    """How many the client sent for it."""
    model: str | None = None
    error: dict[str, Any] | str | None = None


def mixed(number: int) -> Ask:
    """The call with this number: every fifty hold one or more of each kind."""
    at = number % 50
    for until, ask in (
        (15, Ask("plain")),
        (23, Ask("plain", kind="stream")),
        (26, Ask("plain", kind="stream", include_usage=True)),
        (28, Ask("plain", kind="embedding", model="embeddings")),
        (31, Ask("fails")),
        (33, Ask("fails", kind="stream")),
        (35, Ask("limits")),
        (38, Ask("breaks")),
        (39, Ask("breaks", kind="stream")),
        (41, Ask("bad")),
        (42, Ask("down")),
        (43, Ask("hangs", model="hasty")),
        (44, Ask("cut", kind="stream")),
        (46, Ask("long", kind="stream", leave_after_chunks=4)),
        (47, Ask("plain", kind="stream", leave_after_chunks=4)),
        (48, Ask("slow", leave_after_s=0.3)),
        (49, Ask("slow", kind="stream", leave_after_s=0.3)),
    ):
        if at < until:
            words = random.Random(number).randint(1, 2_000)
            return replace(ask, call=f"{ask.call}-{number}", workflow=f"w-{number % 7}", words=words)
    return Ask(f"plain-{number}", workflow=STOPPED_WORKFLOW)
