"""A webhook of PagerDuty, version 3: who took an incident, or takes it no more. Pure.

Only people count: an acknowledgement that Tidegate itself sent there comes back as one of the integration's.
Source: developer.pagerduty.com, "Webhooks overview".
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson
from pydantic import ValidationError

from schemas.notifications import Acknowledgement
from service.rules.press import Unreadable

_STATES: Final = {"incident.acknowledged": "acknowledged", "incident.unacknowledged": "withdrawn"}
_INCIDENT: Final = re.compile(r"[a-z0-9-]{1,64}")
_MAX_NAME: Final = 200


def read(body: bytes) -> Acknowledgement | None:
    """What it amounts to; None: nothing to us. Raises Unreadable."""
    event = _event(body)
    state = _STATES.get(str(event.get("event_type")))
    data, agent = event.get("data"), event.get("agent")
    if state is None or not isinstance(data, dict) or not isinstance(agent, dict):
        return None
    # The `dedup_key` of the event that opened it, which is our incident's key.
    incident = data.get("incident_key")
    if not isinstance(incident, str) or not _INCIDENT.fullmatch(incident):
        return None
    if agent.get("type") not in ("user_reference", "user"):
        return None
    author = str(agent.get("summary") or agent.get("id") or "")
    try:
        return Acknowledgement.model_validate(
            {
                "fingerprint": incident,
                "state": state,
                "author": " ".join(author.split())[:_MAX_NAME],
                "at": event.get("occurred_at"),
                "via": "pagerduty",
            }
        )
    except ValidationError:
        raise Unreadable("an acknowledgement without a name or a time") from None


def _event(body: bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(body)["event"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        raise Unreadable("expected a JSON object with an event") from None
    if not isinstance(event, dict):
        raise Unreadable("the event is no object")
    return event
