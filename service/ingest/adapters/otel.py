"""OpenTelemetry GenAI spans as OTLP/JSON: an ExportTraceServiceRequest, as the Collector's Kafka exporter has it.

Sources: OpenTelemetry semantic conventions 1.36 and 1.41 and the newer semantic-conventions-genai; OpenLLMetry
0.5.1 for `traceloop.*` and the names of before; OTLP 1.x, JSON Protobuf encoding (64 bit integers are strings).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from schemas.reasons import Reason, Refused
from service.ingest.adapters.foreign import (
    UNKNOWN,
    count,
    dollars,
    event,
    event_id,
    first_label,
    key_name,
    label,
    part,
    pseudonym,
    tier,
    wholes,
)

Attributes = Mapping[str, Any]

CALLS: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
"""Operations that call a model, so that a span of one counts even if it reports no usage."""
NOT_CALLS: Final = frozenset(
    {"create_agent", "invoke_agent", "invoke_workflow", "execute_tool", "plan", "retrieval"}
    | {f"{verb}_memory" for verb in ("create", "update", "upsert", "delete", "search")}
    | {"create_memory_store", "delete_memory_store"}
)
"""Operations around calls. They may carry the sum of the calls below them, which have spans of their own."""

_SERVER_SIDE: Final = (2, 4, 5, "SPAN_KIND_SERVER", "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER")
_ERROR: Final = (2, "STATUS_CODE_ERROR")
_CANCELLED: Final = frozenset(
    {
        "cancelled",
        "canceled",
        "cancellederror",
        "canceledexception",
        "aborterror",
        "clientdisconnected",
        "499",
    }
)
_FORMER_PROVIDERS: Final = {
    "az.ai.inference": "azure.ai.inference",
    "az.ai.openai": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai",
    "xai": "x_ai",
}
_FORMER_OPERATIONS: Final = {"completion": "text_completion", "embedding": "embeddings"}

_IDENTITY: Final = ("gen_ai.provider.name", "gen_ai.system", "gen_ai.request.model", "gen_ai.response.model")

# Names of one meaning, the newest convention first.
_INPUT: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_CACHED: Final = ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens")
_WRITTEN: Final = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
)
_REASONING: Final = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.usage.details.reasoning_tokens",
    "llm.usage.reasoning_tokens",
)
_TOTAL: Final = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens")
_COST: Final = ("gen_ai.usage.cost", "gen_ai.cost.total_cost", "operation.cost")
_LABELS: Final = {
    "workflow": (
        "tidegate.workflow",
        "gen_ai.workflow.name",
        "traceloop.workflow.name",
        "gen_ai.agent.name",
    ),
    "team": ("tidegate.team",),
    "feature": ("tidegate.feature",),
    "customer": ("tidegate.customer", "traceloop.association.properties.customer_id"),
    "environment": ("tidegate.environment", "deployment.environment.name", "deployment.environment"),
    "gateway": ("service.name",),
    "session_id": (
        "gen_ai.conversation.id",
        "session.id",
        "traceloop.association.properties.session_id",
    ),
}
_USER: Final = (
    "enduser.pseudo.id",
    "user.hash",
    "user.id",
    "enduser.id",
    "traceloop.association.properties.user_id",
)
_TIER: Final = (  # what was billed before what was asked for
    "openai.response.service_tier",
    "gen_ai.openai.response.service_tier",
    "openai.request.service_tier",
    "gen_ai.openai.request.service_tier",
)
READ: Final = frozenset(
    {
        "error.type",
        "gen_ai.operation.name",
        "litellm.cache_hit",
        "llm.request.type",
        "tidegate.api_key",
        "traceloop.span.kind",
    }.union(
        _IDENTITY,
        _INPUT,
        _OUTPUT,
        _CACHED,
        _WRITTEN,
        _REASONING,
        _TOTAL,
        _COST,
        _USER,
        _TIER,
        *_LABELS.values(),
    )
)
"""Every attribute that is read. The others, prompts and answers among them, are not even decoded."""

_SCALARS: Final = ("stringValue", "intValue", "doubleValue", "boolValue")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NANOS: Final = re.compile(r"\d{1,20}", re.ASCII)
_MAX_NANOS: Final = 2**64 - 1
_HEX: Final = re.compile(r"[0-9a-fA-F]+", re.ASCII)


def from_otlp(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One event per span that is a call of a model, in the order of the spans.

    Raises
    ------
    Refused
        Paths are like `resourceSpans.0.scopeSpans.0.spans.3.endTimeUnixNano`, and end in the attribute's key
        for what is wrong with an attribute.
    """
    if document and "resourceSpans" not in document:
        raise Refused(Reason.MISSING_FIELD, "not an ExportTraceServiceRequest", "resourceSpans")
    found = []
    for group, at in _each(document, "resourceSpans", ""):
        resource = _attributes(part(group, "resource"), f"{at}.resource")
        for scope, below in _each(group, "scopeSpans", f"{at}."):
            for span, path in _each(scope, "spans", f"{below}."):
                own = _attributes(span, path)
                if _is_call(span, own):
                    found.append(_event(span, {**resource, **own}, path))
    return found


def _each(holder: Mapping[str, Any], key: str, path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    items = holder.get(key)
    if items is None:
        return
    if not isinstance(items, list):
        raise Refused(Reason.WRONG_TYPE, "expected a list", path + key)
    for index, item in enumerate(items):
        at = f"{path}{key}.{index}"
        if not isinstance(item, Mapping):
            raise Refused(Reason.WRONG_TYPE, "expected an object", at)
        yield item, at


def _attributes(holder: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Key to plain value of those attributes that are read; of one that comes twice, the first."""
    items = holder.get("attributes")
    if items is not None and not isinstance(items, list):
        raise Refused(Reason.WRONG_TYPE, "expected a list", f"{path}.attributes")
    found: dict[str, Any] = {}
    for index, item in enumerate(items or ()):
        key = item.get("key") if isinstance(item, dict) else None
        if not isinstance(key, str):
            raise Refused(Reason.WRONG_TYPE, "expected an attribute's name", f"{path}.attributes.{index}.key")
        if key in READ and key not in found:
            value = part(item, "value")
            for kind in _SCALARS:
                if value.get(kind) is not None:
                    found[key] = value[kind]
                    break
    return found


def _is_call(span: Mapping[str, Any], own: Attributes) -> bool:
    if span.get("kind") in _SERVER_SIDE or own.get("traceloop.span.kind") is not None:
        return False
    operation = _operation(own)
    if operation in NOT_CALLS or not any(name in own for name in _IDENTITY):
        return False
    return operation in CALLS or any(name in own for name in (*_INPUT, *_OUTPUT))


def _operation(own: Attributes) -> str | None:
    operation = first_label(own.get("gen_ai.operation.name"), own.get("llm.request.type"))
    return None if operation is None else _FORMER_OPERATIONS.get(operation, operation)


def _event(span: Mapping[str, Any], known: Attributes, path: str) -> dict[str, Any]:
    ended = _nanos(span, "endTimeUnixNano", path)
    if not ended:
        raise Refused(Reason.MISSING_FIELD, "a span that has not ended", f"{path}.endTimeUnixNano")
    began = _nanos(span, "startTimeUnixNano", path)
    trace = _hex_id(span, "traceId", path)
    tokens = _tokens(known, f"{path}.attributes")
    provider = (first_label(known.get("gen_ai.provider.name"), known.get("gen_ai.system")) or UNKNOWN).lower()
    model = first_label(known.get("gen_ai.response.model"), known.get("gen_ai.request.model"))
    labels = {field: first_label(*map(known.get, names)) for field, names in _LABELS.items()}
    return event(
        event_id=event_id(f"{trace}/{_hex_id(span, 'spanId', path)}"),
        occurred_at=_EPOCH + timedelta(microseconds=ended // 1000),
        provider=_FORMER_PROVIDERS.get(provider, provider),
        model=model or UNKNOWN,
        **labels,
        user=pseudonym(first_label(*map(known.get, _USER))),
        api_key=key_name(known.get("tidegate.api_key")),
        trace_id=label(trace),
        **tokens,
        cost_usd=_cost(known, f"{path}.attributes"),
        status=_status(span, known),
        latency_ms=round((ended - began) / 1e6, 3) if began and 0 <= ended - began <= 6048 * 10**14 else None,
        operation=_operation(known),
        service_tier=tier(first_label(*map(known.get, _TIER))),
    )


def _nanos(span: Mapping[str, Any], name: str, path: str) -> int:
    """A fixed64, as the string that OTLP/JSON asks for or as the number that some write. 0 is unset."""
    value = span.get(name)
    if value is None:
        return 0
    if isinstance(value, str) and _NANOS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(Reason.WRONG_TYPE, "expected nanoseconds since 1970, as a string", f"{path}.{name}")
    if not 0 <= value <= _MAX_NANOS:
        raise Refused(Reason.BAD_TIMESTAMP, "nanoseconds since 1970 out of range", f"{path}.{name}")
    return value


def _hex_id(span: Mapping[str, Any], name: str, path: str) -> str:
    value = span.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(Reason.MISSING_FIELD, "a span without its id", f"{path}.{name}")
    # Hex in either case is one id. Whoever writes base64 all the same has ids whose case matters.
    return value.lower() if _HEX.fullmatch(value) else value


def _tokens(known: Attributes, path: str) -> dict[str, int]:
    def tokens(names: tuple[str, ...]) -> int:
        return next((n for name in names if (n := count(known.get(name), f"{path}.{name}"))), 0)

    cached, written, reasoning = tokens(_CACHED), tokens(_WRITTEN), tokens(_REASONING)
    inputs, output = wholes(
        tokens(_INPUT), cached + written, tokens(_OUTPUT), reasoning, tokens(_TOTAL) or None
    )
    return {
        "input_tokens": inputs,
        "cached_input_tokens": cached,
        "cache_write_tokens": written,
        "output_tokens": output,
        "reasoning_tokens": reasoning,
    }


def _cost(known: Attributes, path: str) -> Decimal | None:
    """What the instrumentation worked out, which no convention has. 0 is what several write for "unknown"."""
    cost = next((c for name in _COST if (c := dollars(known.get(name), f"{path}.{name}")) is not None), None)
    return None if cost == 0 and known.get("litellm.cache_hit") is not True else cost


def _status(span: Mapping[str, Any], known: Attributes) -> str | None:
    error = label(known.get("error.type"))
    if error is not None and error.rpartition(".")[2].lower() in _CANCELLED:
        return "cancelled"
    return "error" if error is not None or part(span, "status").get("code") in _ERROR else None
