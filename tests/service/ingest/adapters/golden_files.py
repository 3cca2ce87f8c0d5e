"""The golden files: a foreign record, and beside it the events or the refusal that it must become."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

FOLDER: Final = Path(__file__).parent / "golden"


class Golden(NamedTuple):
    """One case. Exactly one of `events` and `refusal` is there."""

    format: str
    name: str
    record: dict[str, Any]
    events: list[dict[str, Any]] | None
    refusal: dict[str, str] | None


def _read(path: Path) -> Golden:
    events, refusal = path.with_suffix(".events.json"), path.with_suffix(".refused.json")
    return Golden(
        path.parent.name,
        path.stem,
        orjson.loads(path.read_bytes()),
        orjson.loads(events.read_bytes()) if events.exists() else None,
        orjson.loads(refusal.read_bytes()) if refusal.exists() else None,
    )


GOLDEN: Final = [
    _read(path)
    for path in sorted(FOLDER.glob("*/*.json"))
    if not path.name.endswith((".events.json", ".refused.json"))
]


def record(form: str, name: str) -> dict[str, Any]:
    """The record of one case, by its format and the name of its file."""
    return next(case.record for case in GOLDEN if (case.format, case.name) == (form, name))


def but(whole: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A copy of a record with some of its fields replaced."""
    return {**deepcopy(whole), **more}


def ids(events: list[dict[str, Any]]) -> list[str]:
    """The ids of events, in their order."""
    return [event["event_id"] for event in events]
