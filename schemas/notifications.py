"""What notify remembers: which state of which alert reached which receiver, and what it had to give up on."""

from __future__ import annotations

from typing import ClassVar, Literal

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
