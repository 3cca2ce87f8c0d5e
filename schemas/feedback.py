"""What people say an alert was worth."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from schemas.alerts import Kind
from schemas.base import Label, Record, Text, Timestamp

Worth = Literal["real", "planned", "expected", "not_worth_it"]
WORTH: Final[tuple[Worth, ...]] = ("real", "planned", "expected", "not_worth_it")


class Feedback(Record):
    """What somebody says of an alert: the last word on it counts. Compacted by `fingerprint`."""

    fingerprint: Label
    workflow: Label = Field(description="as the alert named it")
    kind: Kind = Field(description="of the alert")
    worth: Worth = Field(
        description="real = good that it was told; planned = we meant it; expected = it is always like that; "
        "not_worth_it = too little money to tell anybody"
    )
    author: Label
    at: Timestamp
    via: Literal["cli", "console", "slack", "api"]
    note: Text | None = None
