"""Cost events as raw records, for the tests of ingest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from schemas.decode import decode
from schemas.events import CostEvent
from service.ingest.record import RawRecord

T0 = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
T0_S = T0.timestamp()


def fields(event_id: str = "e-1", at: float = 0.0, **more: Any) -> dict[str, Any]:
    """A valid event `at` seconds after T0; a field given as None is left out."""
    document = {
        "event_id": event_id,
        "occurred_at": T0_S + at,
        "provider": "openai",
        "model": "gpt-4o",
        "workflow": "support",
        "input_tokens": 1_000,
        "output_tokens": 100,
        **more,
    }
    return {name: value for name, value in document.items() if value is not None}


def event(event_id: str = "e-1", at: float = 0.0, **more: Any) -> CostEvent:
    return decode(CostEvent, orjson.dumps(fields(event_id, at, **more)))


def raw(
    offset: int = 0, value: bytes | dict[str, Any] | None = None, *, at: float = 0.0, **more: Any
) -> RawRecord:
    """A record at T0 + `at`, of its own event id unless told otherwise."""
    if value is None:
        value = fields(more.pop("event_id", f"e-{offset}"), at, **more)
    data = orjson.dumps(value) if isinstance(value, dict) else value
    return RawRecord(0, offset, int((T0_S + at) * 1_000), None, data, ())
