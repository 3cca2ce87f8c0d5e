"""What notify remembers and is told: who knows what, what it had to give up on, and who took an incident."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from schemas.alerts import Alert, Severity, Status
from schemas.base import Count, Label, Record, Text, Timestamp


class NotificationLogEntry(Record):
    """The last delivery for (receiver, fingerprint). Compacted by that key, shared by all replicas."""

    receiver: Label
    fingerprint: Label
    status: Status
    severity: Severity
    sequence: Count
    delivered_at: Timestamp


class ParkedNotification(Record):
    """A notification no receiver would take. Kept so that it can be read, mended and sent again."""

    max_bytes: ClassVar[int] = 196_608

    receiver: Label
    alert: Alert
    outcome: Literal["final_error", "retries_exhausted"]
    detail: Text
    attempts: Count
    parked_at: Timestamp


class Acknowledgement(Record):
    """Somebody takes an incident: it is not repeated and not escalated any more. Compacted by `fingerprint`."""

    fingerprint: Label = Field(
        description="of an alert; or the key of an incident, then of all alerts that are part of it by `at`"
    )
    state: Literal["acknowledged", "withdrawn"] = "acknowledged"
    author: Label
    at: Timestamp
    via: Literal["cli", "console", "slack", "pagerduty", "api"]
    note: Text | None = None
