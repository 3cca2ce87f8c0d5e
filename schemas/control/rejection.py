"""A refusal, on a topic of its own."""

from __future__ import annotations

from typing import ClassVar

from schemas.base import Count, Label, Record, Text, Timestamp


class ConfigRejection(Record):
    """A control record that was refused: nothing changed, and this says which field was wrong."""

    max_bytes: ClassVar[int] = 131_072

    key: Text
    offset: Count
    reason: Label
    path: Text
    detail: Text
    rejected_by: Label
    rejected_at: Timestamp
