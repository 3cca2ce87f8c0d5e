"""What Slack, PagerDuty, Alertmanager and a careful webhook refuse, as their documents say.

Pure: a request in, complaints out.

Written from the vendors' documents and not from service.notify, which must stand up to it.
Sources: docs.slack.dev "Blocks" and "Sending messages using incoming webhooks"; developer.pagerduty.com "Send an
Alert Event" and "Send a Change Event"; prometheus/alertmanager, api/v2/openapi.yaml; RFC 2104 for the signature.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson

_SLACK_TYPES: Final = {"header", "section", "context", "divider", "actions", "image"}
_TRUSTED_MARKUP: Final = re.compile(r"<https?://[^<>|]+(\|[^<>]*)?>")
_ENTITY: Final = re.compile(r"&(?!amp;|lt;|gt;)")
MAX_SLACK_CHARACTERS: Final = 13_000
MAX_PAGERDUTY_BYTES: Final = 512_000
MAX_CLOCK_SKEW_S: Final = 300


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def slack(body: bytes, content_type: str) -> list[str]:
    """Everything wrong with a message to an incoming webhook."""
    wrong: list[str] = []
    if content_type.split(";")[0].strip().lower() != "application/json":
        wrong.append(f"content type {content_type!r}")
    message = _object(body)
    if message is None:
        return [*wrong, "not a JSON object"]
    if not isinstance(message.get("text"), str) or not message["text"]:
        wrong.append("no top-level text: the notification would be empty")
    elif _ENTITY.search(message["text"]) or re.search(r"[<>]", _TRUSTED_MARKUP.sub("", message["text"])):
        wrong.append("text: & < > not escaped")
    blocks = message.get("blocks", [])
    if not isinstance(blocks, list) or len(blocks) > 50:
        return [*wrong, "blocks: expected a list of at most 50"]
    names = [block["block_id"] for block in blocks if isinstance(block, dict) and "block_id" in block]
    if len(set(names)) != len(names) or any(len(name) > 255 for name in names):
        wrong.append("block_id: expected at most 255 characters, each once")
    if _length(body.decode()) > MAX_SLACK_CHARACTERS:
        wrong.append(f"{_length(body.decode())} characters in all")
    for number, block in enumerate(blocks):
        wrong += [f"blocks[{number}]: {complaint}" for complaint in _slack_block(block)]
    return wrong


def _slack_block(block: Any) -> list[str]:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind not in _SLACK_TYPES:
        return [f"type {kind!r}"]
    if kind == "header":
        return _slack_text(block.get("text"), 150, only="plain_text")
    if kind == "context":
        elements = block.get("elements")
        if not isinstance(elements, list) or not 1 <= len(elements) <= 10:
            return ["expected 1 to 10 elements"]
        return [complaint for element in elements for complaint in _slack_text(element, 3_000)]
    if kind == "section":
        fields = block.get("fields", [])
        if "text" not in block and not fields:
            return ["a section needs text or fields"]
        wrong = _slack_text(block["text"], 3_000) if "text" in block else []
        if not isinstance(fields, list) or len(fields) > 10:
            return [*wrong, "at most 10 fields"]
        return wrong + [complaint for field in fields for complaint in _slack_text(field, 2_000)]
    if kind == "actions":
        elements = block.get("elements")
        if not isinstance(elements, list) or not 1 <= len(elements) <= 25:
            return ["expected 1 to 25 elements"]
        names = [element.get("action_id") for element in elements]
        wrong = [] if len(set(names)) == len(names) else ["an action_id twice"]
        return wrong + [complaint for element in elements for complaint in _slack_button(element)]
    return []


def _slack_button(element: Any) -> list[str]:
    if not isinstance(element, dict) or element.get("type") != "button":
        return ["expected a button"]
    wrong = _slack_text(element.get("text"), 75, only="plain_text")
    action, value = element.get("action_id"), element.get("value", "")
    if not isinstance(action, str) or not 1 <= len(action) <= 255:
        wrong.append("action_id: expected 1 to 255 characters")
    if not isinstance(value, str) or _length(value) > 2_000:
        wrong.append(f"value: {_length(str(value))} characters, at most 2000")
    if element.get("style", "primary") not in ("primary", "danger"):
        wrong.append("style")
    if (dialogue := element.get("confirm")) is not None:
        for part, limit in (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)):
            wrong += _slack_text(dialogue.get(part), limit, only=None if part == "text" else "plain_text")
    return wrong


def _slack_text(text: Any, limit: int, only: str | None = None) -> list[str]:
    if not isinstance(text, dict) or text.get("type") not in ("plain_text", "mrkdwn"):
        return ["expected a text object"]
    if only is not None and text["type"] != only:
        return [f"expected {only}"]
    if not isinstance(text.get("text"), str) or not text["text"]:
        return ["empty text"]
    wrong = []
    if _length(text["text"]) > limit:
        wrong.append(f"{_length(text['text'])} characters, at most {limit}")
    bare = _TRUSTED_MARKUP.sub("", text["text"])
    if _ENTITY.search(bare) or "<" in bare or ">" in bare:
        wrong.append("& < > not escaped: somebody else's text could mention everyone")
    return wrong


_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def alertmanager(body: bytes, content_type: str) -> list[str]:
    """Everything wrong with a list of alerts (postableAlerts of the OpenAPI document, and Alert.Validate)."""
    if content_type.split(";")[0].strip().lower() != "application/json":
        return [f"unsupported media type {content_type!r}"]
    try:
        alerts = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ["not JSON"]
    if not isinstance(alerts, list):
        return ["expected a list of alerts"]
    return [f"[{number}]: {what}" for number, one in enumerate(alerts) for what in _posted_alert(one)]


def _posted_alert(alert: Any) -> list[str]:
    if not isinstance(alert, dict) or not isinstance(alert.get("labels"), dict):
        return ["labels in body is required"]
    wrong = []
    for name in ("labels", "annotations"):
        for key, value in alert.get(name, {}).items():
            if not _LABEL.fullmatch(key):
                wrong.append(f"{name}: invalid name {key!r}")
            if not isinstance(value, str):
                wrong.append(f"{name}.{key}: expected a string")
    if not any(alert["labels"].values()):
        wrong.append("at least one label pair required")
    times = [alert[name] for name in ("startsAt", "endsAt") if name in alert]
    if any(not isinstance(time, str) or not _RFC3339.fullmatch(time) for time in times):
        return [*wrong, "expected RFC 3339"]
    if len(times) == 2 and datetime.fromisoformat(times[0]) > datetime.fromisoformat(times[1]):
        wrong.append("start time must be before end time")
    if not re.match(r"https?://", alert.get("generatorURL", "http://")):
        wrong.append("generatorURL must be of type uri")
    return wrong


def pagerduty(path: str, body: bytes, routing_key: str) -> list[str]:
    """Everything wrong with an event; PagerDuty answers 400 with these as `errors`."""
    if len(body) > MAX_PAGERDUTY_BYTES:
        return [f"{len(body)} bytes, at most {MAX_PAGERDUTY_BYTES}"]
    event = _object(body)
    if event is None:
        return ["JSON parse error"]
    wrong = []
    key = event.get("routing_key")
    if not isinstance(key, str) or len(key) != 32:
        wrong.append("'routing_key' must be 32 characters")
    elif key != routing_key:
        wrong.append("'routing_key' is invalid")
    payload = event.get("payload")
    if path == "/v2/change/enqueue":
        wrong += _pagerduty_change(event, payload)
    else:
        wrong += _pagerduty_alert(event, payload)
    if isinstance(payload, dict):
        summary = payload.get("summary")
        if isinstance(summary, str) and _length(summary) > 1_024:
            wrong.append("'payload.summary' is longer than 1024")
        if not isinstance(payload.get("custom_details", {}), (dict, str)):
            wrong.append("'payload.custom_details' must be an object")
    for link in event.get("links", []):
        if not isinstance(link, dict) or not str(link.get("href", "")).startswith(("http://", "https://")):
            wrong.append("'links' must have an http(s) 'href'")
    return wrong


def _pagerduty_change(event: dict[str, Any], payload: Any) -> list[str]:
    if not isinstance(payload, dict):
        return ["'payload' is missing"]
    wrong = _present(payload, "summary")
    # PagerDuty takes and forgets what only alerts have: whoever sends it means something else.
    wrong += [f"'{name}' is no field of a change" for name in ("event_action", "dedup_key") if name in event]
    if "severity" in payload:
        wrong.append("'payload.severity' is no field of a change")
    if not isinstance(payload.get("source", ""), str):
        wrong.append("'payload.source' must be a string")
    try:
        datetime.fromisoformat(str(payload.get("timestamp", "2026-01-31T14:09:00Z")))
    except ValueError:
        wrong.append("'payload.timestamp' must be ISO 8601")
    return wrong


def _pagerduty_alert(event: dict[str, Any], payload: Any) -> list[str]:
    action, dedup_key = event.get("event_action"), event.get("dedup_key")
    wrong = []
    if action not in ("trigger", "acknowledge", "resolve"):
        wrong.append("'event_action' must be trigger, acknowledge or resolve")
    if action != "trigger" and not dedup_key:
        wrong.append("'dedup_key' is missing")
    if dedup_key is not None and (not isinstance(dedup_key, str) or _length(dedup_key) > 255):
        wrong.append("'dedup_key' is longer than 255")
    if payload is None and action != "trigger":
        return wrong
    if not isinstance(payload, dict):
        return [*wrong, "'payload' is missing"]
    wrong += _present(payload, "summary", "source")
    if payload.get("severity") not in ("critical", "error", "warning", "info"):
        wrong.append("'payload.severity' must be critical, error, warning or info")
    return wrong


def _present(payload: dict[str, Any], *names: str) -> list[str]:
    return [
        f"'payload.{name}' is missing or blank"
        for name in names
        if not isinstance(payload.get(name), str) or not payload[name].strip()
    ]


def webhook(body: bytes, headers: Mapping[str, str], secret: str, now_s: float) -> list[str]:
    """Everything wrong with a signed request. `headers` by lower-case name; `now_s` in epoch seconds."""
    wrong = []
    stamp = headers.get("x-tidegate-timestamp", "")
    if not (stamp.isascii() and stamp.isdigit()):
        return ["no timestamp"]
    if abs(now_s - int(stamp)) > MAX_CLOCK_SKEW_S:
        wrong.append("timestamp too old: a replayed request")
    expected = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(f"sha256={expected}", headers.get("x-tidegate-signature", "")):
        wrong.append("wrong signature")
    if not headers.get("idempotency-key"):
        wrong.append("no idempotency key")
    if _object(body) is None:
        wrong.append("not a JSON object")
    return wrong
