"""LiteLLM's requests and logging payloads, read and changed as plain dictionaries: nothing here imports LiteLLM.

Names are taken as ingest's adapter takes them from the payload, so that a scope means the same calls in both.
Source: `litellm/proxy/litellm_pre_call_utils.py` and `litellm/types/utils.py` of litellm 1.100.5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

import orjson

from gateway.call import Call
from gateway.decision import Decision
from schemas.base import MAX_LABEL
from schemas.events import UNATTRIBUTED
from schemas.money import decimal_usd, nanos

FORMAT: Final = "litellm"
"""The adapter that ingest reads the records with."""
_NAMES: Final = ("workflow", "feature", "environment", "team", "customer")
_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_FIELDS: Final = (
    *("id", "litellm_call_id", "trace_id", "session_id", "call_type", "status", "startTime", "endTime"),
    *(
        "custom_llm_provider",
        "model",
        "model_group",
        "end_user",
        "request_tags",
        "cache_hit",
        "response_cost",
    ),
    *("prompt_tokens", "completion_tokens", "total_tokens"),
)
_METADATA: Final = (
    *("user_api_key_alias", "user_api_key_hash", "user_api_key_team_alias", "user_api_key_team_id"),
    *("user_api_key_user_id", "user_api_key_end_user_id", "usage_object"),
)


class Record(NamedTuple):
    """One try of a call as it goes onto the topic."""

    key: str
    value: bytes


class Spent(NamedTuple):
    """What a try cost, as LiteLLM says: what nobody knows is 0 here, and the next snapshot tells."""

    nanos: int
    tokens: int


def call_of(data: Mapping[str, Any], key: object) -> Call:
    """The call that a request of the proxy asks for.

    Parameters
    ----------
    data : mapping
        The request, as the pre-call hook gets it.
    key : UserAPIKeyAuth
        What the proxy knows of the virtual key.
    """
    metadata = _metadata(data)
    requester = _part(metadata, "requester_metadata")
    tags = metadata.get("tags")

    def known(name: str) -> object:
        return getattr(key, name, None)

    def named(name: str, *otherwise: object) -> str | None:
        tagged = [
            tag.partition(":")[2]
            for tag in (tags if isinstance(tags, list) else [])
            if isinstance(tag, str) and tag.startswith(f"{name}:")
        ]
        spend_logs = _part(metadata, "spend_logs_metadata")
        return _label(requester.get(name), spend_logs.get(name), *tagged[:1], *otherwise)

    limits = [limit for name in _LIMITS if isinstance(limit := data.get(name), int) and limit > 0]
    return Call(
        model=_label(data.get("model")) or "unknown",
        workflow=named("workflow") or UNATTRIBUTED,
        trace_id=_label(metadata.get("trace_id"), requester.get("trace_id"), data.get("litellm_trace_id")),
        customer=_label(data.get("user"), known("end_user_id")) or named("customer"),
        team=named("team", known("team_alias"), known("team_id")),
        api_key=_key_name(known("key_alias")) or _key_name(known("api_key")),
        feature=named("feature"),
        environment=named("environment"),
        max_output_tokens=min(limits, default=None),
    )


def apply(decision: Decision, data: dict[str, Any]) -> None:
    """Change a request as was decided. The limit goes where the caller gave one, else into `max_tokens`."""
    if decision.model is not None:
        data["model"] = decision.model
    if decision.max_output_tokens is not None:
        given = [name for name in _LIMITS if data.get(name) is not None] or ["max_tokens"]
        for name in given:
            data[name] = decision.max_output_tokens


def record(payload: Mapping[str, Any]) -> Record:
    """What is published of a `StandardLoggingPayload`: what the adapter reads, and nothing that was said.

    Neither `messages` nor `response`, nor any of the requester's own metadata but the names that spend is told by.
    """
    metadata = _part(payload, "metadata")
    kept: dict[str, Any] = {name: payload.get(name) for name in _FIELDS}
    kept["metadata"] = {name: metadata.get(name) for name in _METADATA}
    for part in ("requester_metadata", "spend_logs_metadata"):
        kept["metadata"][part] = {n: v for n in _NAMES if (v := _part(metadata, part).get(n)) is not None}
    kept["hidden_params"] = {"usage_object": _part(payload, "hidden_params").get("usage_object")}
    for part, names in (
        ("error_information", ("error_code", "error_class", "llm_provider")),
        ("cost_breakdown", ("service_tier",)),
        ("model_parameters", ("service_tier",)),
    ):
        kept[part] = {name: _part(payload, part).get(name) for name in names}
    value = orjson.dumps(kept, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    key = _label(
        kept["metadata"]["requester_metadata"].get("workflow"), payload.get("trace_id"), payload.get("id")
    )
    return Record(key or UNATTRIBUTED, value)


def spent(payload: Mapping[str, Any]) -> Spent:
    """What one try of a call cost."""
    cost, tokens = payload.get("response_cost"), payload.get("total_tokens")
    try:
        amount = nanos(decimal_usd(cost)) if cost is not None else 0
    except (TypeError, ValueError):
        amount = 0
    return Spent(amount, tokens if isinstance(tokens, int) and tokens > 0 else 0)


def _metadata(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where the proxy puts what it knows of a request: under a name of its own where `metadata` is the API's."""
    return _part(data, "litellm_metadata") or _part(data, "metadata")


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = document.get(name)
    return part if isinstance(part, Mapping) else {}


def _label(*values: object) -> str | None:
    for value in values:
        if isinstance(value, str) and 0 < len(text := value.strip(" ")) <= MAX_LABEL:
            return text
    return None


def _key_name(value: object) -> str | None:
    """A name or hash; what looks like a key itself is hashed as LiteLLM hashes its virtual keys."""
    text = _label(value)
    if text is None or not text.startswith(("sk-", "sk_", "Bearer ", "AIza")):
        return text
    return hashlib.sha256(text.removeprefix("Bearer ").encode()).hexdigest()


def _plain(value: object) -> object:
    """Usage may be an object of pydantic's, and a cost a Decimal; what else there may be is told by its text."""
    if isinstance(value, Decimal):
        return str(value)
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) else str(value)
