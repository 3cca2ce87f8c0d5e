"""The largest record of each model that its fields' bounds allow, and how many bytes it is on the wire."""

from __future__ import annotations

import types
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
from pydantic import BaseModel

from schemas.base import Record, format_timestamp
from tests.schemas.strategies import bounds_of

_WIDE = "😀"  # four bytes of UTF-8
_ESCAPED = "\x00"  # six bytes of JSON


def largest(model: type[Record]) -> dict[str, Any]:
    """The document of a valid record with every field at its longest, before JSON."""
    return _model(model)


def _model(model: type[BaseModel]) -> dict[str, Any]:
    found = {name: _value(info.annotation, info.metadata) for name, info in model.model_fields.items()}
    found.pop("schema_version", None)
    for start in ("issued_at", "starts_at", "effective_at", "effective_from", "window_start"):
        if start in found:
            found[start] = format_timestamp(datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC))
    for below, step in enumerate(reversed(found.get("steps", []))):
        step["above_input_tokens"] -= below
    if model.__name__ == "Rollup":
        found["type"] = "scope"
    if model.__name__ == "TuningScope":
        found["workflow"] = None
    if "amount_tokens" in found:
        found["amount_tokens"] = None
    if "timezone" in found:
        found["timezone"] = "America/Argentina/ComodRivadavia"
    if "rollover" in found:
        found["rollover"] = 0.5
    if model.__name__ == "Interval":
        found["start"], found["end"] = "23:59", "24:00"
    if model.__name__ == "Daily":
        found["at"] = "24:00"
    if "runbook" in found:
        found["runbook"] = "https://" + "x" * 492
    if model.__name__ == "Route":
        found["group_by"], found["parent"] = None, "p" + found["parent"][1:]
    if "cache_write_tokens" in model.model_fields and "customer" in model.model_fields:
        found["cache_write_tokens"] = found["cache_write_1h_tokens"] = 0
    return found


def _value(annotation: Any, metadata: list[Any]) -> Any:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _value(inner, [*more, *metadata])
    if origin in (Union, types.UnionType):
        return max((_value(arm, []) for arm in get_args(annotation)), key=lambda v: len(orjson.dumps(v)))
    if origin is Literal:
        return max(get_args(annotation), key=lambda v: len(str(v)))
    bounds = bounds_of(metadata)
    if origin is list:
        (item,) = get_args(annotation)
        return [_value(item, []) for _ in range(bounds["max_length"])]
    if annotation is str:
        return (_WIDE if "pattern" in bounds else _ESCAPED) * bounds["max_length"]
    return _scalar(annotation, bounds)


def _scalar(annotation: Any, bounds: dict[str, Any]) -> Any:
    if annotation is type(None):
        return None
    if annotation is bool:
        return False
    if annotation is int:
        return bounds["le"]
    if annotation is float:
        return bounds.get("le", 2.2250738585072014e-308 if "ge" in bounds else -2.2250738585072014e-308)
    if annotation is bytes:
        return "A" * (4 * (bounds["max_length"] // 3))
    if annotation is Decimal:
        return "9" * 5 + "." + "9" * 30
    if annotation is datetime:
        return format_timestamp(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    if issubclass(annotation, Enum):
        return max((arm.value for arm in annotation), key=len)
    return _model(annotation)
