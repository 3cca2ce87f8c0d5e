"""What may be said of receivers without their secrets, and who owns what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Label
from schemas.budgets import TimeZone
from schemas.control.quiet import Hour
from schemas.control.record import Control, Match, Spec


class Cap(Spec):
    """At most so many notifications; then one digest that says what was held back."""

    notifications: Annotated[int, Field(ge=1, le=50)] = 30
    within_s: Annotated[float, Field(ge=10, le=86_400)] = 600.0


class Daily(Spec):
    """One digest a day of what fires and what ended."""

    at: Hour = "09:00"
    timezone: TimeZone = "UTC"
    even_if_quiet: bool = Field(False, description="also when nothing happened")


class ReceiverPolicy(Control):
    """How much one receiver is told. Its name is the receiver's in the settings; `*` is for all without one."""

    kind: Literal["receiver_policy"] = "receiver_policy"
    cap: Cap | None = Field(None, description="absent = 30 notifications in 10 minutes")
    daily: Daily | None = Field(None, description="absent = none")


class Owner(Control):
    """Who owns what matching alerts are about: a label to group and route by, and where to read what to do."""

    kind: Literal["owner"] = "owner"
    match: Match
    owner: Label
    runbook: Annotated[str, Field(pattern=r"^https?://", max_length=500)] | None = None
