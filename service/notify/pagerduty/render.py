"""An alert as a PagerDuty event. Pure.

Incidents become `trigger` and `resolve`, keyed by the fingerprint, so that a repeated request changes nothing.
Notices (severity info, launches among them) become change events, which cannot page anybody. Limits: summary
1,024, dedup_key 255, the whole request 512 kB.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from schemas.alerts import Alert
from schemas.base import format_timestamp
from service.notify import template
from service.notify.text import clean, fit, units

MAX_SUMMARY: Final = 1_024
MAX_KEY: Final = 255
MAX_BYTES: Final = 512_000

Path = Literal["/v2/enqueue", "/v2/change/enqueue"]


@dataclass(frozen=True, slots=True)
class Request:
    path: Path
    body: bytes


def render(alert: Alert, routing_key: str, link: str | None = None) -> Request:
    """The request for one alert. `link`: where to read more, an http(s) URL."""
    if alert.severity == "info" and (alert.status != "resolved" or alert.kind == "launch"):
        return Request("/v2/change/enqueue", _dump(_change(alert, routing_key, link)))
    return Request("/v2/enqueue", _dump(_event(alert, routing_key, link)))


def dedup_key(fingerprint: str) -> str:
    """The fingerprint itself, or its hash where it is too long for PagerDuty."""
    if units(fingerprint) <= MAX_KEY:
        return fingerprint
    return hashlib.sha256(fingerprint.encode()).hexdigest()


def _event(alert: Alert, routing_key: str, link: str | None) -> dict[str, Any]:
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "resolve" if alert.status == "resolved" else "trigger",
        "dedup_key": dedup_key(alert.fingerprint),
        "client": "Tidegate",
        "payload": {
            "summary": _summary(alert),
            "source": clean(alert.workflow) or "unnamed",
            "severity": alert.severity,
            "timestamp": format_timestamp(alert.updated_at),
            "component": "ai-spend",
            "class": alert.kind,
            "custom_details": _details(alert),
        },
    }
    if alert.team is not None:
        event["payload"]["group"] = clean(alert.team)
    if link is not None:
        event["client_url"] = link
        event["links"] = [{"href": link, "text": "Open this incident"}]
    return event


def _change(alert: Alert, routing_key: str, link: str | None) -> dict[str, Any]:
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "payload": {
            "summary": _summary(alert),
            "source": clean(alert.workflow) or "unnamed",
            "timestamp": format_timestamp(alert.updated_at),
            "custom_details": _details(alert),
        },
    }
    if link is not None:
        event["links"] = [{"href": link, "text": "Open this notice"}]
    return event


def _summary(alert: Alert) -> str:
    """What is read aloud on the phone: what and where, then how much and why."""
    return fit(f"{template.headline(alert)}. {template.sentence(alert)}", MAX_SUMMARY)


def _details(alert: Alert) -> dict[str, Any]:
    return {
        **dict(template.dollars(alert)),
        "Since": template.since(alert),
        "Why": template.drivers(alert),
        "Traces": template.traces(alert),
        "Where": template.top(alert),
        "Judged by": template.provenance(alert),
    }


def _dump(event: dict[str, Any]) -> bytes:
    # Bounded by the bounds of an Alert: 10 drivers, 10 traces and 20 slices of a few hundred characters.
    body = orjson.dumps(event)
    assert len(body) <= MAX_BYTES
    return body
