"""Hypothesis strategies for every record of the contract, drawn from the models' own annotations."""

from __future__ import annotations

import types
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas.base import Record
from schemas.money import MAX_USD, decimal_usd

INT64 = 2**63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPAN = timedelta(days=365 * 900)
_SPANS = (
    ("issued_at", "expires_at"),
    ("issued_at", "valid_until"),
    ("starts_at", "ends_at"),
    ("starts_at", "expires_at"),
    ("window_start", "window_end"),
    ("effective_at", "expires_at"),
    ("effective_from", "effective_until"),
)
_ANYTHING = st.characters(exclude_categories=["Cs"])
_PRINTABLE = st.characters(exclude_categories=["Cs"], exclude_characters=[chr(c) for c in (*range(32), 127)])


def records(model: type[Record]) -> st.SearchStrategy[Record]:
    """Valid records of one model, each field from absent to its bound."""
    return _models(model).map(model.model_validate)


def _models(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {
        name: (_values(info.annotation, info.metadata), info.is_required() or _is_tag(info))
        for name, info in model.model_fields.items()
        if name != "schema_version"
    }
    drawn = st.fixed_dictionaries(
        {name: values for name, (values, required) in fields.items() if required},
        optional={name: values for name, (values, required) in fields.items() if not required},
    )
    return drawn.map(lambda found: _consistent(model, found))


def _is_tag(info: FieldInfo) -> bool:
    return get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1


def _consistent(model: type[BaseModel], found: dict[str, Any]) -> dict[str, Any]:
    """What the model's validators ask for across fields, made so."""
    if "output_tokens" in model.model_fields and "cache_write_tokens" in model.model_fields:
        written = found.get("cache_write_tokens", 0)
        found["input_tokens"] = max(
            found.get("input_tokens", 0), min(10**9, found.get("cached_input_tokens", 0) + written)
        )
        if found.get("cached_input_tokens", 0) + written > found["input_tokens"]:
            found["cache_write_tokens"] = 0
        found["cache_write_1h_tokens"] = min(
            found.get("cache_write_1h_tokens", 0), found.get("cache_write_tokens", 0)
        )
        found["output_tokens"] = max(found.get("output_tokens", 0), found.get("reasoning_tokens", 0))
        if found.get("charge") is not None and found.get("cost_usd") is None:
            found["cost_usd"] = Decimal("1.5")
    for start, end in _SPANS:
        if found.get(start) is not None and found.get(end) is not None and found[end] <= found[start]:
            found[end] = found[start] + timedelta(seconds=1)
    if found.get("steps"):
        rising = {step["above_input_tokens"]: step for step in found["steps"]}
        found["steps"] = [step for _, step in sorted(rising.items())]
    if model.__name__ == "TuningScope" and found.get("team") is not None:
        found["workflow"] = None
    if "amount_tokens" in model.model_fields:
        _one_amount(found)
    if "timezone" in found:
        found["timezone"] = "America/New_York"
    if model.__name__ == "Budget":
        _consistent_budget(found)
    if found.get("rungs"):
        found["rungs"] = [{**rung, "action": {"action": "slow", "max_rps": 1.5}} for rung in found["rungs"]]
    if found.get("ladder") is not None and found["action"]["action"] == "release":
        found["ladder"] = None
    if "max_s" in found:
        found["max_s"] = max(found["max_s"], found.get("min_s", 60.0))
    elif "min_s" in found:
        found["min_s"] = min(found["min_s"], 14_400.0)
    if model.__name__ == "BudgetScope" and found.get("value") is None:
        found["kind"] = "organisation"
    if model.__name__ == "Rollup":
        found["type"] = "rollup" if found.get("scope") is None else "scope"
    if model.__name__ == "Watch" and not found.get("min_usd_per_hour"):
        found["min_usd_per_hour"] = None
    if model.__name__ == "Interval":
        found["start"], found["end"] = "22:30", "24:00"
        found["days_of_month"] = [day or 1 for day in found.get("days_of_month") or []] or None
    if model.__name__ == "Daily" and "at" in found:
        found["at"] = "07:05"
    if found.get("runbook") is not None:
        found["runbook"] = "https://wiki.example/a"
    if model.__name__ == "Route":
        found["receivers"] = found.get("receivers") or ["slack"]
        found["parent"] = None if found.get("parent") == found["name"] else found.get("parent")
    if found.get("group_by") is not None:
        found["group_by"] = sorted(set(found["group_by"]))
    if "max_calls_per_trace" in model.model_fields and found.get("max_calls_per_trace") is None:
        found["max_output_tokens"] = found.get("max_output_tokens") or 1
    return found


def _one_amount(found: dict[str, Any]) -> None:
    if found.get("amount_tokens") is not None:
        found["amount_usd"] = None
    else:
        found["amount_usd"] = found.get("amount_usd") or Decimal("0.02")


def _consistent_budget(found: dict[str, Any]) -> None:
    if found["window"] not in ("week", "month") or found.get("rolling"):
        found["anchor_day"] = 1
    elif found["window"] == "week":
        found["anchor_day"] = min(found.get("anchor_day", 1), 7)
    if found.get("rolling"):
        found["rollover"] = 0.0
    for part in [*found.get("increases", []), *([found["reserve"]] if found.get("reserve") else [])]:
        part["amount_tokens"] = 3 if found.get("amount_tokens") is not None else None
        part["amount_usd"] = None
        _one_amount(part)


def _values(annotation: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _values(inner, [*more, *metadata])
    if origin in (Union, types.UnionType):
        return st.one_of(*(_values(arm, []) for arm in reversed(get_args(annotation))))
    if origin is Literal:
        return st.sampled_from(get_args(annotation))
    bounds = bounds_of(metadata)
    if origin is list:
        (item,) = get_args(annotation)
        return st.lists(_values(item, []), min_size=bounds.get("min_length", 0), max_size=3)
    if annotation is type(None):
        return st.none()
    if annotation is str:
        return _text(bounds)
    return _scalars(annotation, bounds)


def _scalars(annotation: Any, bounds: dict[str, Any]) -> st.SearchStrategy[Any]:
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(bounds.get("ge", -INT64), bounds.get("le", INT64 - 1))
    if annotation is float:
        return _floats(bounds)
    if annotation is bytes:
        return st.binary(max_size=min(bounds.get("max_length", 300), 300))
    if annotation is Decimal:
        return amounts()
    if annotation is datetime:
        return instants()
    if issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    if issubclass(annotation, BaseModel):
        return _models(annotation)
    raise AssertionError(f"no strategy for {annotation}")


def _floats(bounds: dict[str, Any]) -> st.SearchStrategy[float]:
    low = bounds.get("gt", bounds.get("ge"))
    high = bounds.get("lt", bounds.get("le"))
    return st.floats(
        low,
        high,
        exclude_min="gt" in bounds,
        exclude_max="lt" in bounds,
        allow_nan=False,
        allow_infinity=False,
    )


def _text(bounds: dict[str, Any]) -> st.SearchStrategy[str]:
    alphabet = _PRINTABLE if "pattern" in bounds else _ANYTHING
    return st.text(
        alphabet, min_size=bounds.get("min_length", 0), max_size=min(bounds.get("max_length", 12), 12)
    )


def instants() -> st.SearchStrategy[datetime]:
    """Aware UTC datetimes of the centuries a gateway's clock may name, to the microsecond."""
    return st.timedeltas(timedelta(0), _SPAN).map(lambda since: _EPOCH + since)


def amounts() -> st.SearchStrategy[Decimal]:
    """Dollar amounts as gateways write them, of up to 30 decimals."""
    return st.decimals(0, MAX_USD, allow_nan=False, allow_infinity=False, places=12) | st.floats(0, 1e6).map(
        decimal_usd
    )


def bounds_of(metadata: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in metadata:
        if isinstance(item, FieldInfo):
            found |= bounds_of(item.metadata)
        for kind, name in ((Ge, "ge"), (Gt, "gt"), (Le, "le"), (Lt, "lt")):
            if isinstance(item, kind):
                found[name] = getattr(item, name)
        if isinstance(item, MinLen):
            found["min_length"] = item.min_length
        if isinstance(item, MaxLen):
            found["max_length"] = item.max_length
        if getattr(item, "pattern", None):
            found["pattern"] = item.pattern
    return found
