"""What is asked and what is answered, as JSON: the calls of `gateway.Call`, the decisions of `gateway.Decision`."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from gateway import Call
from gateway.decision import Code, Decision
from schemas.base import MAX_INT, MAX_LABEL, MAX_TOKENS

MAX_BATCH: Final = 500
"""Calls or settlements of one request."""
MAX_TICKET: Final = 64

Label = Annotated[str, Meta(min_length=1, max_length=MAX_LABEL)]
Tokens = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
Nanos = Annotated[int, Meta(ge=0, le=MAX_INT)]
_Body = TypeVar("_Body")


class Malformed(Exception):
    """Not JSON."""


class Invalid(Exception):
    """JSON, and not what was expected; the message says where and why."""


class AskedCall(Call, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """A call that is asked about. The names are those that its cost event will have.

    A field that is not known is refused: a limit must not pass a call by because of a typo.
    """

    call_id: (
        Annotated[
            Label,
            Meta(
                description="yours, of this one call: a question that is sent again with the same id, because its "
                "answer was lost, is answered as it was and counts once; null or absent: it counts again"
            ),
        ]
        | None
    ) = None
    model: Annotated[Label, Meta(description="the model that was asked for")]
    workflow: Label = "unattributed"
    trace_id: Label | None = None
    customer: Label | None = None
    team: Label | None = None
    api_key: Label | None = None
    feature: Label | None = None
    environment: Label | None = None
    max_output_tokens: (
        Annotated[
            int,
            Meta(ge=1, le=MAX_TOKENS, description="the caller's own limit; null or absent: there is none"),
        ]
        | None
    ) = None
    estimate_nanos: (
        Annotated[
            Nanos,
            Meta(
                description="the most the call should cost, in nano-dollars; held against budgets that reserve "
                "until it is settled; null or absent: nobody knows"
            ),
        ]
        | None
    ) = None
    estimate_tokens: (
        Annotated[Tokens, Meta(description="the same in tokens, for budgets that count tokens")] | None
    ) = None


class Questions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Calls to decide about. They are decided about one by one, in this order."""

    calls: Annotated[list[AskedCall], Meta(min_length=1, max_length=MAX_BATCH)]


class ErrorBody(msgspec.Struct, frozen=True):
    """In the form of OpenAI's errors, which its SDKs and Anthropic's show to people."""

    message: str
    type: str
    param: str | None
    code: Code
    scope: Annotated[
        str, Meta(description="whose limit it is, such as `workflow:support`; empty: everybody's")
    ]
    command_id: Annotated[str | None, Meta(description="the command or budget that says so")]


class RejectionBody(msgspec.Struct, frozen=True):
    """What to answer the caller with."""

    error: ErrorBody


class Refusal(msgspec.Struct, frozen=True):
    """Why a call is not made."""

    status: Annotated[
        int, Meta(description="the HTTP status to answer the caller with: 403 or 422, which no SDK repeats")
    ]
    code: Code
    body: RejectionBody


class Verdict(msgspec.Struct, frozen=True):
    """What to do with one call: all of it, for a call can be slowed, made with another model and capped at once."""

    action: Annotated[
        Literal["allow", "delay", "downgrade", "cap", "reject"],
        Meta(description="one word for metrics: the gravest of what is decided"),
    ]
    delay_s: Annotated[float, Meta(ge=0, description="seconds to wait before the call is made")]
    model: Annotated[
        str | None, Meta(description="call this model instead; null: the one that was asked for")
    ]
    max_output_tokens: Annotated[
        int | None, Meta(description="ask for at most so many; null: no limit but the caller's own")
    ]
    rejection: Annotated[Refusal | None, Meta(description="do not make the call; nothing else matters then")]
    ticket: Annotated[
        str | None,
        Meta(
            description="settle it when the call has ended, however it ended; null: nothing counts the call"
        ),
    ]


class Verdicts(msgspec.Struct, frozen=True):
    """A decision for each call, in the order of the calls."""

    decisions: list[Verdict]


class Settlement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call has ended, or was never made (then with nothing spent)."""

    ticket: Annotated[str, Meta(min_length=1, max_length=MAX_TICKET)]
    cost_nanos: Annotated[Nanos, Meta(description="what it cost, in nano-dollars (1e-9 USD)")] = 0
    tokens: Annotated[Tokens, Meta(description="input and output tokens together")] = 0


class Settlements(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Calls that have ended."""

    settlements: Annotated[list[Settlement], Meta(min_length=1, max_length=MAX_BATCH)]


class Settled(msgspec.Struct, frozen=True):
    """For each settlement, in their order: true if it counted, false if its ticket is settled or not known here."""

    settled: list[bool]


_DECODERS: Final[dict[type, msgspec.json.Decoder[Any]]] = {
    kind: msgspec.json.Decoder(kind) for kind in (Questions, Settlements)
}


def read(kind: type[_Body], body: bytes) -> _Body:
    """A body as what it should be. Raises Malformed or Invalid."""
    try:
        try:
            decoded: _Body = _DECODERS[kind].decode(body)
        except msgspec.ValidationError as error:
            # 5.0 is an integer to JSON Schema, and some languages write it so; seldom enough to read it twice.
            if b"." not in body and b"e" not in body and b"E" not in body:
                raise Invalid(str(error)) from None
            decoded = msgspec.convert(_whole(msgspec.json.decode(body)), kind)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Malformed(why) from None
    return decoded


def _whole(document: Any) -> Any:
    """A body with floats that are whole as integers, at the depth where it has numbers."""
    if not isinstance(document, dict):
        return document
    return {
        name: [_whole_fields(each) for each in value] if isinstance(value, list) else value
        for name, value in document.items()
    }


def _whole_fields(each: Any) -> Any:
    if not isinstance(each, dict):
        return each
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in each.items()
    }


def verdict(decision: Decision, ticket: str | None) -> Verdict:
    """A decision as it is told. `ticket`: the name that its ticket goes by."""
    rejection = decision.rejection
    return Verdict(
        action=decision.action,
        delay_s=decision.delay_s,
        model=decision.model,
        max_output_tokens=decision.max_output_tokens,
        rejection=None
        if rejection is None
        else Refusal(rejection.status, rejection.code, RejectionBody(ErrorBody(**rejection.body()["error"]))),
        ticket=ticket,
    )
