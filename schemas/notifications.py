"""What notify remembers and is told: who knows what, what it had to give up on, and who took an incident."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from schemas.alerts import Alert, Severity
from schemas.base import Count, Label, Part, Record, Text, Timestamp

MAX_TOLD: Final = 200
"""Alerts of one group that a receiver is told of at a time. The others wait, and are counted."""
MAX_RECENT: Final = 60
MAX_ENDED: Final = 50


class ToldAlert(Part):
    """One alert that a receiver believes is firing."""

    fingerprint: Label
    severity: Severity = Field(description="the most severe that it was told")
    told_at: Timestamp = Field(description="when it was first told")
    acknowledged: bool = Field(False, description="whether it was told that somebody took it")
    throttled_at: Timestamp | None = Field(None, description="up to when it was told what was done about it")


class EndedAlert(Part):
    """One alert whose end a receiver was told of: an older record of it is no news."""

    fingerprint: Label
    sequence: Count


class NotificationLogEntry(Record):
    """What a receiver knows of a group of alerts. Compacted by `RECEIVER/GROUP`, shared by all replicas.

    Written once per delivery, so that a delivery is remembered wholly or not at all.
    """

    max_bytes: ClassVar[int] = 327_680

    receiver: Label
    group: Text = Field(description="`kind=retry_loop,owner=,team=care`, `storm=…`, `daily` or `changes`")
    incident: Label = Field(description="the group's present incident, or its last one")
    sequence: Count = Field(description="of the last notification about the incident")
    first_at: Timestamp = Field(description="wall time at which the incident was told first")
    sent_at: Timestamp = Field(description="wall time of the last delivery")
    firing: Annotated[list[ToldAlert], Field(max_length=MAX_TOLD)] = Field(
        [], description="empty when the incident is over"
    )
    ended: Annotated[list[EndedAlert], Field(max_length=MAX_ENDED)] = Field([], description="the latest ones")
    recent: Annotated[list[Timestamp], Field(max_length=MAX_RECENT)] = Field(
        [], description="deliveries that may still count towards the receiver's cap"
    )
    reference: Text | None = Field(None, description="what the receiver calls the incident, where it said so")
    told_until: Timestamp | None = Field(
        None,
        description="of `changes`: when the last change happened that was told; all before it were, too",
    )


class ParkedNotification(Record):
    """A notification no receiver would take. Kept so that it can be read, mended and sent again."""

    max_bytes: ClassVar[int] = 458_752

    receiver: Label
    alert: Alert = Field(description="the alert that it speaks of first, as it was told")
    others: Annotated[list[Label], Field(max_length=2 * MAX_TOLD)] = Field(
        [], description="fingerprints of the other alerts in it"
    )
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
