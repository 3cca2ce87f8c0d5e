"""A notification as a PagerDuty event. Pure.

Incidents become `trigger`, `acknowledge` and `resolve`, keyed by the incident, so that a repeated request changes
nothing.
Notices (severity info, launches among them), changes of the configuration and announced launches become change
events, which cannot page anybody. Limits: summary 1,024, dedup_key 255, the whole request 512 kB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from schemas.alerts import Alert
from schemas.base import format_timestamp
from service.notify import change_text, template
from service.notify.notification import Change, Links, Notification
from service.notify.text import clean, fit
from service.notify.tidings import Tidings

MAX_SUMMARY: Final = 1_024
MAX_OTHERS: Final = 100
MAX_DONE: Final = 20
MAX_LINE: Final = 500
MAX_LAUNCHES: Final = 50
MAX_PEOPLE: Final = 20
MAX_BYTES: Final = 512_000

Path = Literal["/v2/enqueue", "/v2/change/enqueue"]


@dataclass(frozen=True, slots=True)
class Request:
    path: Path
    body: bytes


def render(said: Notification, routing_key: str) -> Request:
    """The request for one notification."""
    if said.tidings is not None:
        return Request("/v2/change/enqueue", _dump(_tidings(said, said.tidings, routing_key)))
    if said.occasion == "daily" or (said.notice and (not said.over or _is_launch(said))):
        return Request("/v2/change/enqueue", _dump(_change(said, routing_key)))
    return Request("/v2/enqueue", _dump(_event(said, routing_key)))


def _is_launch(said: Notification) -> bool:
    return said.lead is not None and said.lead.kind == "launch"


def _event(said: Notification, routing_key: str) -> dict[str, Any]:
    alert = said.lead
    assert alert is not None
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": _action(said),
        "dedup_key": said.incident,
        "client": "Tidegate",
        "payload": {
            "summary": _summary(said),
            "source": clean(alert.workflow) or "unnamed",
            "severity": said.severity,
            "timestamp": format_timestamp(alert.updated_at),
            "component": "ai-spend",
            "class": alert.kind,
            "custom_details": _details(said, alert),
        },
    }
    if alert.team is not None:
        event["payload"]["group"] = clean(alert.team)
    if said.links.console is not None:
        event["client_url"] = said.links.console
    if links := _links(said.links):
        event["links"] = links
    return event


def _action(said: Notification) -> Literal["trigger", "acknowledge", "resolve"]:
    if said.over:
        return "resolve"
    if said.why is Change.ACKNOWLEDGED and said.acknowledgement is not None:
        return "acknowledge"
    return "trigger"


def _change(said: Notification, routing_key: str) -> dict[str, Any]:
    alert = said.lead
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "payload": {
            "summary": _summary(said),
            "source": (clean(alert.workflow) if alert is not None else "") or "unnamed",
            "timestamp": format_timestamp(alert.updated_at if alert is not None else said.at),
            "custom_details": {"Also": template.others(said)[:MAX_OTHERS]}
            if alert is None or said.occasion == "daily"
            else _details(said, alert),
        },
    }
    if links := _links(said.links):
        event["links"] = links
    return event


def _tidings(said: Notification, told: Tidings, routing_key: str) -> dict[str, Any]:
    parts = {
        "Launches": _lines(change_text.launches(told), MAX_LAUNCHES),
        "Records": _lines(change_text.records(told), MAX_OTHERS),
        "Who": _lines(change_text.people(told), MAX_PEOPLE),
        "Why": _lines(change_text.reasons(told), MAX_PEOPLE),
        "Version": " → ".join(told.versions or ()),
    }
    return {
        "routing_key": routing_key,
        "payload": {
            "summary": _summary(said),
            "source": "tidegate config",
            "timestamp": format_timestamp(told.until),
            "custom_details": {name: part for name, part in parts.items() if part},
        },
    }


def _lines(lines: list[str], most: int) -> list[str]:
    shown = [fit(line, MAX_LINE) for line in lines[:most]]
    return [*shown, f"and {len(lines) - most} more"] if len(lines) > most else shown


def _links(links: Links) -> list[dict[str, str]]:
    named = ((links.console, "Open this incident"), (links.runbook, "What to do"))
    return [{"href": url, "text": name} for url, name in named if url is not None]


def _summary(said: Notification) -> str:
    """What is read aloud on the phone: what and where, then how much and why."""
    return fit(f"{template.title(said)}. {template.opening(said)}", MAX_SUMMARY)


def _details(said: Notification, alert: Alert) -> dict[str, Any]:
    also = template.others(said)[:MAX_OTHERS]
    done = [fit(line, MAX_LINE) for line in template.done(said.measures)[:MAX_DONE]]
    return {
        **dict(template.dollars(alert)),
        "Since": template.since(alert),
        **({"Done about it": done} if done else {}),
        "Why": template.drivers(alert),
        "Traces": template.traces(alert),
        "Where": template.top(alert),
        **({"Also": also} if also else {}),
        "Judged by": template.provenance(alert),
    }


def _dump(event: dict[str, Any]) -> bytes:
    # Bounded by the bounds of an Alert: 10 drivers, 10 traces and 20 slices of a few hundred characters; and by
    # how many others, records and launches are named.
    body = orjson.dumps(event)
    assert len(body) <= MAX_BYTES
    return body
