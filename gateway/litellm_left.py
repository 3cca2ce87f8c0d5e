"""Streams that a client leaves and that LiteLLM 1.100.5 then does not log: of `/v1/responses` and `/v1/messages`.

Those of `/chat/completions` it does. Read as plain values: nothing here imports LiteLLM.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

UNTOLD: Final = frozenset({"aresponses", "responses", "anthropic_messages"})
"""Types of calls, as LiteLLM names them, whose left streams nobody tells of."""
LAST: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
"""Events of the Responses API that bring the usage: from then on LiteLLM logs the call, also one that is left."""
_ASKED: Final = ("instructions", "system", "input", "messages")
_TEXTS: Final = ("text", "content", "arguments", "output")
_DELTAS: Final = ("text", "thinking", "partial_json")
_GENEROUS: Final = 32


def asked(data: Mapping[str, Any]) -> str:
    """What a request says, for counting its tokens: texts of messages and parts, not images or tools."""
    return "\n".join(text for name in _ASKED for text in _texts(data.get(name), _GENEROUS))


def said(chunk: object) -> str:
    """What one chunk of an answer adds: an event of the Responses API, or server-sent events of Anthropic's."""
    delta = getattr(chunk, "delta", None)
    if isinstance(delta, str):
        return delta
    if isinstance(chunk, str):
        chunk = chunk.encode()
    if not isinstance(chunk, bytes):
        return _added(chunk)
    lines = (line[5:] for line in chunk.split(b"\n") if line.startswith(b"data:"))
    return "".join(map(_added, _parsed(lines)))


def payload(
    data: Mapping[str, Any],
    details: Mapping[str, Any],
    *,
    began: float,
    ended: float,
    input_tokens: int,
    output_tokens: int,
) -> dict[str, Any]:
    """What LiteLLM would have logged: a `StandardLoggingPayload` as for a chat that was left, without a cost.

    Parameters
    ----------
    data : mapping
        The request, as the proxy's hooks get it.
    details : mapping
        `model_call_details` of LiteLLM's logging object: what was really called.
    began, ended : float
        Epoch seconds.
    """
    known = _known(data)
    provider, model = details.get("custom_llm_provider"), str(details.get("model") or data.get("model"))
    whole = model if not provider or model.startswith(f"{provider}/") else f"{provider}/{model}"
    requester = known.get("requester_metadata")
    sent = requester if isinstance(requester, Mapping) else {}
    trace = known.get("trace_id") or sent.get("trace_id") or data.get("litellm_trace_id")
    return {
        "id": data.get("litellm_call_id"),
        "litellm_call_id": data.get("litellm_call_id"),
        "trace_id": trace,
        "call_type": details.get("call_type"),
        "status": "success",
        "stream": True,
        "startTime": began,
        "endTime": ended,
        "custom_llm_provider": provider,
        "model": whole,
        "model_group": known.get("model_group") or data.get("model"),
        "end_user": known.get("user_api_key_end_user_id"),
        "request_tags": known.get("tags") or [],
        "metadata": known,
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "error_information": {"error_code": "499", "error_class": "ClientDisconnected"},
    }


def _known(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the proxy knows of a request: under one of two names, and under the other may be the client's own."""
    for name in ("litellm_metadata", "metadata"):
        metadata = data.get(name)
        if isinstance(metadata, Mapping) and "user_api_key_hash" in metadata:
            return metadata
    return {}


def _parsed(lines: Iterable[bytes]) -> Iterator[object]:
    for line in lines:
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:  # a chunk may end anywhere: what it cuts in two is not counted
            continue


def _added(event: object) -> str:
    delta = event.get("delta") if isinstance(event, Mapping) else None
    if isinstance(delta, str):
        return delta
    if not isinstance(delta, Mapping):
        return ""
    return next((text for name in _DELTAS if isinstance(text := delta.get(name), str)), "")


def _texts(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and depth:
        for part in value:
            yield from _texts(part, depth - 1)
    elif isinstance(value, Mapping) and depth:
        for name in _TEXTS:
            yield from _texts(value.get(name), depth - 1)
