"""Dead letters as ingest would write them, for the tests of what people do with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from schemas.dead_letters import DeadLetter
from schemas.decode import decode
from schemas.events import CostEvent
from schemas.reasons import Reason, Refused

PREFIX = "t."
AT_S = 1_769_851_800.0
GOOD: dict[str, Any] = {
    "event_id": "e-1",
    "occurred_at": AT_S,
    "provider": "openai",
    "model": "gpt-4o",
    "workflow": "support",
    "cost_usd": "0.25",
}


def event(**fields: Any) -> bytes:
    """An event with these fields; one given as None is left out."""
    return orjson.dumps({name: value for name, value in (GOOD | fields).items() if value is not None})


def letter(
    value: bytes | None,
    offset: int = 7,
    *,
    partition: int = 2,
    topic: str = "t.cost-events",
    key: bytes | None = b"support",
    headers: Sequence[tuple[str, bytes | None]] = (),
    at_s: float = AT_S,
) -> DeadLetter:
    """The dead letter of a value, for the reason for which it is refused (`wrong_type` if it is not)."""
    why = Refused(Reason.WRONG_TYPE, "refused by an older release")
    try:
        decode(CostEvent, value)
    except Refused as refused:
        why = refused
    return DeadLetter.of(
        topic,
        partition,
        offset,
        why,
        timestamp_ms=round(at_s * 1_000),
        key=key,
        value=value,
        headers=headers,
    )
