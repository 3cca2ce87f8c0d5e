"""What the gate says about a call."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from gateway.ticket import Ticket

Status = Literal[403, 422]
Code = Literal["throttled", "slowed", "trace_calls_exceeded", "budget_exhausted", "limits_unknown"]

STATUS: Final[dict[Code, Status]] = {
    "throttled": 403,
    "slowed": 403,
    "trace_calls_exceeded": 422,
    "budget_exhausted": 422,
    "limits_unknown": 403,
}
"""Never 408, 409, 429 or 5xx: the OpenAI and Anthropic SDKs repeat those by themselves, which multiplies calls."""


class Rejection(msgspec.Struct, frozen=True):
    """Why a call is not made.

    Attributes
    ----------
    scope : str
        Key of the scope whose limit it is, such as `trace:run-4711@support-agent`; empty: the whole gateway.
    command_id : str or None
        The command or budget that says so.
    """

    code: Code
    message: str
    scope: str = ""
    command_id: str | None = None

    @property
    def status(self) -> Status:
        """The HTTP status to answer with: one that no SDK repeats."""
        return STATUS[self.code]

    def body(self) -> dict[str, Any]:
        """A JSON body in the form of OpenAI's errors, which its SDKs and Anthropic's show to people."""
        return {
            "error": {
                "message": self.message,
                "type": "tidegate_rejection",
                "param": None,
                "code": self.code,
                "scope": self.scope,
                "command_id": self.command_id,
            }
        }


class Decision(msgspec.Struct, frozen=True):
    """What to do with one call: all of it, for a call can be slowed, made with another model and capped at once.

    Attributes
    ----------
    delay_s : float
        Seconds to wait before the call is made.
    model : str or None
        Call this model instead; None: the one that was asked for.
    max_output_tokens : int or None
        Ask for at most so many; None: no limit but the caller's own.
    rejection : Rejection or None
        Do not make the call; nothing else matters then.
    ticket : Ticket or None
        Hand it to `Gate.settle` when the call has ended, however it ended. None: nothing counts it.
    """

    delay_s: float = 0.0
    model: str | None = None
    max_output_tokens: int | None = None
    rejection: Rejection | None = None
    ticket: Ticket | None = None

    @property
    def allowed(self) -> bool:
        """Whether the call may be made, if need be later, with another model or with fewer tokens."""
        return self.rejection is None

    @property
    def action(self) -> Literal["allow", "delay", "downgrade", "cap", "reject"]:
        """One word for metrics: the gravest of what is decided."""
        if self.rejection is not None:
            return "reject"
        if self.max_output_tokens is not None:
            return "cap"
        if self.model is not None:
            return "downgrade"
        return "delay" if self.delay_s else "allow"


ALLOW: Final = Decision()
