"""From a record's bytes to a cost event, or the reason why not."""

from __future__ import annotations

from schemas.decode import decode
from schemas.events import CostEvent
from schemas.reasons import Reason, Refused
from service.ingest.record import RawRecord


def decode_event(raw: RawRecord, future_allowance_s: float) -> CostEvent:
    """One cost event. The answer depends on the record alone, so that reading it again decides the same.

    The future begins at the record's own broker time and not at this machine's: a record that was refused
    when it was read first is refused by whoever reads it after a crash. A record without a time has no future.

    Raises
    ------
    Refused
        With the reason, the field's path and a sentence.
    """
    event = decode(CostEvent, raw.value)
    if raw.timestamp_ms >= 0 and event.occurred_at.timestamp() > raw.timestamp_ms / 1000 + future_allowance_s:
        raise Refused(
            Reason.IN_THE_FUTURE,
            f"later than the broker's time by more than {future_allowance_s:g} s",
            "occurred_at",
        )
    return event
