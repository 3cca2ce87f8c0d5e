"""What people say an alert was worth."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from schemas.alerts import Kind
from schemas.base import Label, Record, Text, Timestamp, Usd

Worth = Literal["real", "planned", "expected", "not_worth_it"]
WORTH: Final[tuple[Worth, ...]] = ("real", "planned", "expected", "not_worth_it")

Loudness = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class Feedback(Record):
    """What somebody says of an alert: the last word on it counts. Compacted by `fingerprint`."""

    fingerprint: Label
    workflow: Label = Field(description="as the alert named it")
    kind: Kind = Field(description="of the alert")
    worth: Worth = Field(
        description="real = good that it was told, never learn it; planned = we meant it this once; "
        "expected = it is always like that; not_worth_it = too little money to tell anybody"
    )
    author: Label
    at: Timestamp
    via: Literal["cli", "console", "slack", "api"]
    note: Text | None = None
    loudness: Loudness = Field(
        1.0, description="score over threshold, as the alert said; 1 if that is not known"
    )
    cap_usd: Usd | None = Field(
        None, description="planned: the dollars over the usual that were meant; absent = nobody said"
    )
