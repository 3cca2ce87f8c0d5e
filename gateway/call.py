"""What a gateway knows of a call before it makes it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

LABELS: Final[tuple[Literal["customer", "api_key", "feature", "workflow", "team", "environment"], ...]] = (
    "customer",
    "api_key",
    "feature",
    "workflow",
    "team",
    "environment",
)
"""Kinds of scope that are fields of a call by the same name, the narrowest first. A feature comes before the
workflow: a call has it within that, and other workflows with the same feature say nothing of this call."""


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A call that is asked about. The names are those that its cost event will have.

    Attributes
    ----------
    model : str
        The model that was asked for.
    max_output_tokens : int or None
        The caller's own limit; None: there is none.
    estimate_nanos, estimate_tokens : int or None
        The most that the call should cost, in nano-dollars (prompt tokens and `max_output_tokens` at the model's
        price) and in tokens. Held against budgets that reserve, until the call is settled. None: nobody knows.
    """

    model: str
    workflow: str = "unattributed"
    trace_id: str | None = None
    customer: str | None = None
    team: str | None = None
    api_key: str | None = None
    feature: str | None = None
    environment: str | None = None
    max_output_tokens: int | None = None
    estimate_nanos: int | None = None
    estimate_tokens: int | None = None
