"""Small budgets for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from schemas.control import Budget
from schemas.decode import decode

USD = 1_000_000_000


def a_budget(**changes: Any) -> Budget:
    """A hundred dollars a month for team care; `...` takes a field out."""
    document = {
        "kind": "budget",
        "name": "care",
        "scope": {"kind": "team", "value": "care"},
        "window": "month",
        "amount_usd": "100",
        **changes,
    }
    return decode(Budget, orjson.dumps({k: v for k, v in document.items() if v is not ...}))


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat()
