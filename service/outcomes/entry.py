"""A record of trace-costs as the join needs it."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.decode import decode
from schemas.outcomes import TraceCosts


class TraceCost(msgspec.Struct):
    """`schemas.outcomes.TraceCost`."""

    trace_id: str
    cost_nanos: int
    calls: int = 0
    unpriced_calls: int = 0


class _TraceCosts(msgspec.Struct):
    workflow: str
    traces: list[TraceCost]


_decode: Final = msgspec.json.Decoder(_TraceCosts).decode


def read(value: bytes | None) -> tuple[str, list[TraceCost]]:
    """The workflow, and what its traces have cost.

    A tenth of the work of validating all of it. What cannot be read so is validated, for the reason.

    Raises
    ------
    Refused
    """
    try:
        found = _decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        told = decode(TraceCosts, value)
        return told.workflow, [TraceCost(**trace.model_dump()) for trace in told.traces]
    return found.workflow, found.traces
