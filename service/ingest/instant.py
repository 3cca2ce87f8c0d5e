"""Event time as ingest counts it, whole microseconds, written as records have it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1_024)
def _second(seconds: int) -> str:
    return (EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat(timespec="seconds")


def instant(micros: int) -> str:
    """As `schemas.base.format_timestamp` writes it; there are many in a second."""
    seconds, rest = divmod(micros, 1_000_000)
    if not rest:
        return f"{_second(seconds)}Z"
    return f"{_second(seconds)}.{rest:06d}Z" if rest % 1_000 else f"{_second(seconds)}.{rest // 1_000:03d}Z"
