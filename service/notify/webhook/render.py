"""A notification as a signed request: the alerts' own records, and what is new about them. Pure."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import orjson

from schemas.base import MAX_INT, format_timestamp
from service.notify import change_text
from service.notify.notification import Line, Notification
from service.notify.tidings import Tidings

MAX_RECORDS: Final = 20
"""Alerts whose whole records are sent; of the others the fingerprint, kind, workflow and cost."""
MAX_MEASURES: Final = 10
"""Throttle events of one alert: the newest."""


def body(said: Notification) -> bytes:
    """The request's JSON. `alerts` holds what is new first; a new field does not change the version."""
    lines = sorted((*said.firing, *said.resolved), key=lambda line: line.change is None)
    document: dict[str, Any] = {
        "schema_version": 1,
        "receiver": said.receiver,
        "group": dict(said.labels),
        "incident": said.incident,
        "sequence": said.sequence,
        "at": format_timestamp(said.at),
        "occasion": said.occasion,
        "changes": sorted(said.changes),
        "status": "resolved" if said.over else "firing",
        "severity": said.severity,
        "cost_nanos": max(-MAX_INT, min(said.cost_nanos, MAX_INT)),
        "alerts": [_line(line, whole=number < MAX_RECORDS) for number, line in enumerate(lines)],
        "omitted": said.omitted,
        "links": {"console": said.links.console, "runbook": said.links.runbook},
    }
    if said.held_back is not None:
        document["held_back"] = said.held_back.notifications
    if said.since is not None:
        document["since"] = format_timestamp(said.since)
    if said.tidings is not None:
        document |= _tidings(said.tidings)
    return orjson.dumps(document)


def _tidings(told: Tidings) -> dict[str, Any]:
    """What was applied, with the records themselves, and which launches begin or end."""
    found: dict[str, Any] = {
        "records": [
            {
                "key": edit.entry.key,
                "at": format_timestamp(edit.at),
                "action": change_text.action(edit),
                "origin": change_text.origin(edit),
                "author": edit.entry.author,
                "reason": edit.entry.reason,
                "record": None if edit.after is None else orjson.Fragment(edit.after.to_json()),
            }
            for edit in told.edits[:MAX_RECORDS]
        ],
        "omitted": max(0, len(told.edits) - MAX_RECORDS),
        "launches": [
            {
                "at": format_timestamp(phase.at),
                "step": phase.step,
                "launch": orjson.Fragment(phase.launch.to_json()),
            }
            for phase in told.phases
        ],
    }
    if (versions := told.versions) is not None:
        found["versions"] = {"before": versions[0], "after": versions[1]}
    if told.since is not None:
        found["since"] = format_timestamp(told.since)
    return found


def _line(line: Line, *, whole: bool) -> dict[str, Any]:
    alert = line.alert
    found: dict[str, Any] = {"change": line.change, "fingerprint": alert.fingerprint}
    if line.acknowledgement is not None:
        found["acknowledged_by"] = line.acknowledgement.author
    if line.measures and whole:
        newest = sorted(line.measures, key=lambda event: event.at)[-MAX_MEASURES:]
        found["measures"] = [orjson.Fragment(event.to_json()) for event in newest]
    if whole:
        found["alert"] = orjson.Fragment(alert.to_json())
    else:
        found |= {
            "status": alert.status,
            "kind": alert.kind,
            "workflow": alert.workflow,
            "cost_nanos": alert.cost_nanos,
        }
    return found


def headers(said: Notification, content: bytes, *, secret: str | None, now: datetime) -> dict[str, str]:
    """The headers that go with a body.

    `Idempotency-Key` is `RECEIVER/INCIDENT/SEQUENCE`, percent-encoded, and the same in every retry.
    With a secret, `X-Tidegate-Timestamp` (epoch seconds) and `X-Tidegate-Signature`, see `signature`.
    """
    parts = (said.receiver, said.incident, str(said.sequence))
    found = {"Idempotency-Key": "/".join(quote(part, safe="") for part in parts)}
    if secret is not None:
        timestamp = str(int(now.timestamp()))
        found["X-Tidegate-Timestamp"] = timestamp
        found["X-Tidegate-Signature"] = signature(secret, timestamp, content)
    return found


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=` and the hex HMAC-SHA256 of `TIMESTAMP.BODY`.

    The receiver computes the same, compares in constant time, and refuses a timestamp that is minutes old:
    an answer that was overheard cannot be played again.
    """
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"
