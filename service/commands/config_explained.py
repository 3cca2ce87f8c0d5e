"""An explanation of what holds for a workflow, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import yaml
from pydantic import BaseModel

from schemas.control import Control
from service.rules.config import control_key
from service.rules.config_explain import Explanation, Value
from service.rules.feedback import reason

_PLURALS: Final = {"launch": "launches"}
_NOT_SAID: Final = ("kind", "name", "author", "reason", "managed_by")


def as_text(found: Explanation) -> Iterator[str]:
    """Lines: each value, what it is, the record that set it, and those that it overrides."""
    of_team = f" of team {found.team}" if found.team else ""
    yield f"{found.workflow}{of_team}, version {found.version}"
    if found.team is None:
        yield "without --team: records of teams are not looked at"
    width = max(len(value.name) for value in found.values)
    shown = max(len(_shown(value.value)) for value in found.values)
    for value in found.values:
        over = "".join(f", over {_shown(v)} of {control_key(r)}" for r, v in value.overridden)
        yield f"  {value.name:<{width}}  {_shown(value.value):<{shown}}  {_from(value)}{over}"
        for answer in value.value if value.name == "answers" else ():
            yield f"    {reason([answer])} (of {answer.fingerprint})"
    for kind, records in found.about.items():
        yield f"{_PLURALS.get(kind, f'{kind}s')}: {len(records) or 'none'}"
        for record in records:
            yield f"  {control_key(record)}  {in_short(record)}"


def as_json(found: Explanation) -> dict[str, Any]:
    """The same as one JSON object. Money is a string."""
    return {
        "workflow": found.workflow,
        "team": found.team,
        "version": found.version,
        "values": {
            value.name: {
                "value": _plain(value.value),
                "level": value.level,
                "record": None if value.source is None else control_key(value.source),
                "overrides": [control_key(record) for record, _ in value.overridden],
            }
            for value in found.values
        },
        **{
            _PLURALS.get(kind, f"{kind}s"): [_document(record) for record in records]
            for kind, records in found.about.items()
        },
    }


def _from(value: Value) -> str:
    return "default" if value.source is None else f"{value.level}: {control_key(value.source)}"


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [item.model_dump(mode="json", exclude_none=True) for item in value]
    return str(value) if isinstance(value, Decimal) else value


def _shown(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"${value:f}"
    if isinstance(value, (tuple, list)):
        return str(len(value) or "none")
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def in_short(record: Control) -> str:
    """What it says beyond its defaults, and without who brought it."""
    said = {name: value for name, value in _said(record).items() if name not in _NOT_SAID}
    text = yaml.safe_dump(said, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return str(text).strip()[1:-1]


def _said(model: BaseModel) -> dict[str, Any]:
    plain, found = model.model_dump(mode="json"), {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        # Which action it is, is a default of its own kind of action, and what matters most.
        if name == "action" or value != field.get_default(call_default_factory=True):
            found[name] = _shortened(value, plain.get(name))
    return found


def _shortened(value: Any, plain: Any) -> Any:
    if isinstance(value, BaseModel):
        return _said(value)
    if isinstance(value, list):
        both = zip(value, plain, strict=True)
        return [_said(item) if isinstance(item, BaseModel) else shown for item, shown in both]
    return plain


def _document(record: Control) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude_none=True, exclude={"schema_version"})
