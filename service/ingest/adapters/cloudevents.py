"""CloudEvents 1.0 in JSON, with the data that OpenMeter meters: one event per call, or one per kind of token.

Sources: CloudEvents 1.0.2 (core, JSON format, Kafka binding); OpenMeter's SDK examples and `config.example.yaml`
for `data.tokens`, `data.model`, `data.type`; its Kafka serializer, which writes `data` as a JSON string, `time` as
epoch seconds and no `specversion`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import orjson

from schemas.base import format_timestamp
from schemas.reasons import Reason, Refused
from service.ingest.adapters.foreign import (
    UNKNOWN,
    count,
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

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("input", "prompt", "system"), ("input_tokens",)),
    **dict.fromkeys(
        ("cached", "cached_input", "cache_read", "input_cached"), ("input_tokens", "cached_input_tokens")
    ),
    **dict.fromkeys(
        ("cache_write", "cache_creation", "input_cache_write"), ("input_tokens", "cache_write_tokens")
    ),
    **dict.fromkeys(("output", "completion"), ("output_tokens",)),
    **dict.fromkeys(("reasoning", "output_reasoning"), ("output_tokens", "reasoning_tokens")),
}
"""`data.type`, the kind of `data.tokens`: which of an event's counts they are in."""
_COUNTS: Final[Mapping[str, tuple[str, ...]]] = {
    "input_tokens": ("input_tokens", "prompt_tokens"),
    "cached_input_tokens": ("cached_input_tokens", "cached_tokens", "cache_read_input_tokens"),
    "cache_write_tokens": ("cache_write_tokens", "cache_creation_input_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens"),
    "reasoning_tokens": ("reasoning_tokens",),
}
"""The counts of an event that tells all of one call, and what `data` may call them."""
_COSTS: Final = ("cost_usd", "cost")
_STATUS: Final = {
    "error": "error",
    "failure": "error",
    "failed": "error",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}


def from_cloudevents(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """At most one event of one CloudEvent; none for data without tokens, cost or charge (request counters).

    Data that is a cost event of the wire format already (it has an `event_id`) is passed on.

    Raises
    ------
    Refused
        Paths are those of the CloudEvent in its JSON format, whatever the content mode.
    """
    if document.get("specversion", "1.0") != "1.0":
        raise Refused(Reason.INVALID_VALUE, "only CloudEvents 1.0 are read", "specversion")
    data = _data(document)
    if "event_id" in data:
        return [_native(document, data)]
    counts = _tokens(data)
    cost = next((c for name in _COSTS if (c := dollars(data.get(name), f"data.{name}")) is not None), None)
    charge = data.get("charge")
    if counts is None and cost is None and charge is None:
        if label(data.get("model")) is None:
            return []
        raise Refused(Reason.MISSING_FIELD, "names a model but neither tokens nor cost", "data.tokens")
    source = required_label(document.get("source"), "source")
    own = required_label(document.get("id"), "id")
    model = required_label(data.get("model"), "data.model")
    labels = {name: _named(name, data, document) for name in ("workflow", "team", "feature", "environment")}
    return [
        event(
            event_id=event_id(f"{source}/{own}"),
            occurred_at=instant(document.get("time"), "time"),
            provider=_provider(data, model),
            model=model,
            **labels,
            customer=first_label(document.get("subject"), data.get("customer")),
            user=pseudonym(data.get("user")),
            api_key=key_name(data.get("api_key")),
            gateway=source,
            trace_id=first_label(data.get("trace_id"), _traceparent(document)),
            session_id=_named("session_id", data, document),
            **(counts or {}),
            cost_usd=cost,
            status=_STATUS.get(label(data.get("status")) or ""),
            latency_ms=_latency(data.get("latency_ms")),
            operation=label(data.get("operation")),
            service_tier=tier(data.get("service_tier")),
            charge=charge,
        )
    ]


def from_binary(attributes: Mapping[str, str], data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same for a record in binary content mode: attributes from its `ce_` headers, data from its value."""
    return from_cloudevents({**attributes, "data": data})


def _data(document: Mapping[str, Any]) -> Mapping[str, Any]:
    data, path = document.get("data"), "data"
    if data is None and document.get("data_base64") is not None:
        path = "data_base64"
        try:
            data = base64.b64decode(document[path], validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise Refused(Reason.INVALID_VALUE, "not base64", path) from None
    if data is None:
        return {}
    if isinstance(data, (str, bytes)):
        try:
            data = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise Refused(Reason.INVALID_JSON, "expected an object in JSON", path) from None
    if not isinstance(data, Mapping):
        raise Refused(Reason.NOT_AN_OBJECT, "expected an object", path)
    return data


def _native(document: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    if data.get("occurred_at") is None:
        return {**data, "occurred_at": format_timestamp(instant(document.get("time"), "time"))}
    return dict(data)


def _tokens(data: Mapping[str, Any]) -> dict[str, int] | None:
    """The counts of an event, None if the data has none."""
    if data.get("tokens") is not None:
        kind = label(data.get("type"))
        if kind is None:
            raise Refused(Reason.MISSING_FIELD, "which tokens? input, output, …", "data.type")
        if kind.lower() not in KINDS:
            raise Refused(Reason.INVALID_VALUE, f"expected one of {', '.join(KINDS)}", "data.type")
        number = count(data["tokens"], "data.tokens") or 0
        return dict.fromkeys(KINDS[kind.lower()], number)
    found = {
        ours: next((n for name in names if (n := count(data.get(name), f"data.{name}")) is not None), None)
        for ours, names in _COUNTS.items()
    }
    if not any(number is not None for number in found.values()):
        return None
    counts = {ours: number or 0 for ours, number in found.items()}
    counts["input_tokens"], counts["output_tokens"] = wholes(
        counts["input_tokens"],
        counts["cached_input_tokens"] + counts["cache_write_tokens"],
        counts["output_tokens"],
        counts["reasoning_tokens"],
        count(data.get("total_tokens"), "data.total_tokens"),
    )
    return counts


def _provider(data: Mapping[str, Any], model: str) -> str:
    # Routers put it before the model: `openai/gpt-4o`.
    prefix, slash, _ = model.partition("/")
    return (first_label(data.get("provider"), prefix if slash else None) or UNKNOWN).lower()


def _named(name: str, data: Mapping[str, Any], document: Mapping[str, Any]) -> str | None:
    # Extension attributes have no underscores (CloudEvents 1.0, section 3.1).
    return first_label(data.get(name), document.get(name.replace("_", "")), part(data, "metadata").get(name))


def _latency(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= 604_800_000 else None


def _traceparent(document: Mapping[str, Any]) -> str | None:
    parts = (label(document.get("traceparent")) or "").split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 else None
