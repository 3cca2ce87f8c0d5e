"""LiteLLM: the StandardLoggingPayload that its callbacks receive as `kwargs["standard_logging_object"]`.

Source: `litellm/types/utils.py` and `litellm/litellm_core_utils/litellm_logging.py` of litellm 1.109.1. Neither
`messages` nor `response` is ever looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from schemas.reasons import Reason, Refused
from service.ingest.adapters.foreign import (
    count,
    digest,
    dollars,
    event,
    event_id,
    first_label,
    instant,
    key_name,
    label,
    part,
    pseudonym,
    required_label,
    tier,
    wholes,
)

PROVIDER_BEHIND: Final = "litellm"
"""The provider when the payload names none: pricing then goes by the model's name alone."""
MAX_TAGS: Final = 32

_OPERATIONS: Final = {
    "_aresponses_websocket": "chat",
    "_arealtime": "realtime",
    "pass_through_endpoint": "pass_through",
    "llm_passthrough_route": "pass_through",
    "allm_passthrough_route": "pass_through",
    **{
        name: operation
        for plain, operation in {
            "completion": "chat",
            "responses": "chat",
            "anthropic_messages": "chat",
            "text_completion": "text_completion",
            "embedding": "embeddings",
            "generate_content": "generate_content",
            "generate_content_stream": "generate_content",
            "image_generation": "image_generation",
            "image_edit": "image_edit",
            "transcription": "transcription",
            "speech": "speech",
            "rerank": "rerank",
            "moderation": "moderation",
            "ocr": "ocr",
        }.items()
        for name in (plain, "a" + plain)
    },
}
"""Calls of a model, by `call_type`, as `gen_ai.operation.name` has them. Each has an asynchronous twin."""
_BATCHES: Final = frozenset({"retrieve_batch", "aretrieve_batch"})
"""Reading a batch. LiteLLM prices the whole of it whenever somebody reads it after its end."""


def from_litellm(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """At most one event of one payload.

    None for what costs nothing and is no call of a model (listing files, reading a response again) and for a
    request that failed before it was routed to a model.

    Raises
    ------
    Refused
        Paths are those of the payload.
    """
    ended = instant(document.get("endTime"), "endTime")
    call_type = label(document.get("call_type")) or ""
    failed = _failed(document)
    tokens = _tokens(document)
    spent = any(tokens.values())
    cost = _cost(document)
    model = first_label(document.get("model"), document.get("model_group"))
    if not spent and not cost and (call_type not in _OPERATIONS or (failed and model is None)):
        return []
    if model is None:
        raise Refused(Reason.MISSING_FIELD, "names no model", "model")
    metadata = part(document, "metadata")
    hung_up = _hung_up(document)
    # Providers report usage at a stream's end: of one that failed on the way, LiteLLM counts the tokens itself.
    broken_off = failed and spent
    return [
        event(
            event_id=_id(document, failed=failed),
            occurred_at=ended,
            provider=_provider(document, model),
            model=model,
            workflow=_named("workflow", document),
            team=_named("team", document, "user_api_key_team_alias", "user_api_key_team_id"),
            feature=_named("feature", document),
            customer=first_label(document.get("end_user"), metadata.get("user_api_key_end_user_id"))
            or _named("customer", document),
            user=pseudonym(metadata.get("user_api_key_user_id")),
            api_key=key_name(metadata.get("user_api_key_alias"))
            or key_name(metadata.get("user_api_key_hash")),
            environment=_named("environment", document),
            trace_id=label(document.get("trace_id")),
            session_id=label(document.get("session_id")),
            request_tags=_tags(document)[:MAX_TAGS],
            **tokens,
            cost_usd=cost,
            status="cancelled" if hung_up else "error" if failed else None,
            latency_ms=_latency(document, ended),
            operation=_operation(call_type),
            service_tier=_tier(document, call_type),
            usage_source="estimated" if hung_up or broken_off else None,
        )
    ]


def _operation(call_type: str) -> str | None:
    if call_type in _BATCHES:
        return "batch"
    return _OPERATIONS.get(call_type) or label(call_type.lstrip("_"))


def _failed(document: Mapping[str, Any]) -> bool:
    status = document.get("status")
    if status not in ("success", "failure"):
        reason = Reason.MISSING_FIELD if status is None else Reason.INVALID_VALUE
        raise Refused(reason, "expected success or failure", "status")
    return bool(status == "failure")


def _hung_up(document: Mapping[str, Any]) -> bool:
    # The client left in mid-stream. LiteLLM says `success` and counts the tokens itself.
    error = part(document, "error_information")
    return label(error.get("error_code")) == "499" or label(error.get("error_class")) == "ClientDisconnected"


def _id(document: Mapping[str, Any], *, failed: bool) -> str:
    """`litellm_call_id`, and not `id`: providers' ids repeat.

    All tries of one request share it: a failed one must not make the paid one that follows a duplicate, so
    it is told apart by when it ended. A batch that is read again is the same batch, though another call.
    """
    if not failed and label(document.get("call_type")) in _BATCHES:
        return event_id(f"batch/{required_label(document.get('id'), 'id')}")
    call = document.get("litellm_call_id")
    if call is None:
        known = [document.get(name) for name in ("id", "trace_id", "model", "startTime", "endTime")]
        call = f"{required_label(document.get('id'), 'litellm_call_id')}/{digest(repr(known))[:16]}"
    own = required_label(call, "litellm_call_id")
    return event_id(f"{own}/failed/{document.get('endTime')}" if failed else own)


def _provider(document: Mapping[str, Any], model: str) -> str:
    prefix, slash, _ = model.partition("/")
    return (
        first_label(
            document.get("custom_llm_provider"),
            part(document, "error_information").get("llm_provider"),
            prefix if slash else None,
        )
        or PROVIDER_BEHIND
    )


def _cost(document: Mapping[str, Any]) -> Decimal | None:
    """What LiteLLM worked out; None where its 0 only says that it could not.

    A 0 is believed for an answer from LiteLLM's own cache and for nothing else. Its price list fills 0 in for
    a rate that is not there, and `zero_cost_diagnostic` is null for a model without any rate.
    """
    cost = dollars(document.get("response_cost"), "response_cost")
    return None if cost == 0 and document.get("cache_hit") is not True else cost


def _tokens(document: Mapping[str, Any]) -> dict[str, int]:
    where = "metadata" if part(document, "metadata", "usage_object") else "hidden_params"
    usage = part(document, where, "usage_object")
    path = f"{where}.usage_object"
    prompt, completion = part(usage, "prompt_tokens_details"), part(usage, "completion_tokens_details")

    def tokens(fields: Mapping[str, Any], below: str, *names: str) -> int:
        return next((n for name in names if (n := count(fields.get(name), f"{below}.{name}"))), 0)

    details = f"{path}.prompt_tokens_details"
    cached = tokens(prompt, details, "cached_tokens") or tokens(usage, path, "cache_read_input_tokens")
    written = tokens(prompt, details, "cache_creation_tokens", "cache_write_tokens") or tokens(
        usage, path, "cache_creation_input_tokens"
    )
    hour = tokens(
        part(prompt, "cache_creation_token_details"),
        f"{details}.cache_creation_token_details",
        "ephemeral_1h_input_tokens",
    )
    written = max(written, hour)
    reasoning = tokens(completion, f"{path}.completion_tokens_details", "reasoning_tokens")
    inputs, output = wholes(
        count(document.get("prompt_tokens"), "prompt_tokens") or 0,
        cached + written,
        count(document.get("completion_tokens"), "completion_tokens") or 0,
        reasoning,
        count(document.get("total_tokens"), "total_tokens"),
    )
    return {
        "input_tokens": inputs,
        "cached_input_tokens": cached,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": hour,
        "output_tokens": output,
        "reasoning_tokens": reasoning,
    }


def _named(field: str, document: Mapping[str, Any], *else_metadata: str) -> str | None:
    """What the caller said of its request, then what LiteLLM knows of its key."""
    metadata = part(document, "metadata")
    return first_label(
        part(metadata, "requester_metadata").get(field),
        part(metadata, "spend_logs_metadata").get(field),
        next((tag.partition(":")[2] for tag in _tags(document) if tag.startswith(field + ":")), None),
        *(metadata.get(name) for name in else_metadata),
    )


def _tags(document: Mapping[str, Any]) -> list[str]:
    tags = document.get("request_tags")
    return [tag for value in tags if (tag := label(value)) is not None] if isinstance(tags, list) else []


def _latency(document: Mapping[str, Any], ended: datetime) -> float | None:
    # Not `response_time`, which is the time to the first token of a stream.
    try:
        began = instant(document.get("startTime"), "startTime")
    except Refused:  # it decides no money
        return None
    taken = (ended - began).total_seconds() * 1000
    return round(taken, 3) if 0 <= taken <= 604_800_000 else None


def _tier(document: Mapping[str, Any], call_type: str) -> str | None:
    if call_type in _BATCHES:
        return "batch"
    billed = part(document, "cost_breakdown").get("service_tier")
    return tier(billed if billed is not None else part(document, "model_parameters").get("service_tier"))
