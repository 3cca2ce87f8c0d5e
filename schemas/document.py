"""Writes the tables of docs/wire-format.md from the models, between its `<!-- table: … -->` marks."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from schemas import reasons
from schemas.base import Record, json_schema
from schemas.catalog import SCHEMAS
from schemas.control import CONTROL_KINDS, Control
from schemas.events import CostEvent, Outcome
from schemas.outcomes import OutcomeRollup
from schemas.reasons import Reason
from schemas.throttles import ThrottleAck, ThrottleCommand, ThrottleEvent
from schemas.topics import DAY_MS, TOPICS, Topic

PAGE: Final = Path(__file__).parents[1] / "docs" / "wire-format.md"
_MARK: Final = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(page: str) -> str:
    """The page with every table written again. Raises KeyError for a mark that names none."""
    return _MARK.sub(lambda found: found[1] + TABLES[found["name"]]() + found[3], page)


def fields(model: type[Record]) -> str:
    """A row per field: name, what it may be, what it means."""
    schema = json_schema(model)
    required = set(schema.get("required", []))
    rows = []
    for name, declared in schema["properties"].items():
        where = {**declared, **_resolved(declared, schema)}
        kind = "**required**, " * (name in required) + _kind(declared, schema)
        rows.append(
            (f"`{name}`", kind, where.get("description", "") if name != "schema_version" else "absent = 1")
        )
    return _table(("field", "value", "meaning"), rows)


def reason_table() -> str:
    """A row per reason, with what the source says of it."""
    return _table(("reason", "when"), [(f"`{r.value}`", meanings()[r]) for r in Reason])


def meanings() -> dict[Reason, str]:
    """What each reason means: the docstring below it in the source."""
    tree = ast.parse(inspect.getsource(reasons.Reason))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found: dict[Reason, str] = {}
    for member, text in pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr):
            found[Reason(ast.literal_eval(member.value))] = " ".join(
                str(ast.literal_eval(text.value)).split()
            )
    return found


def topic_table() -> str:
    """A row per topic."""
    rows = [
        (f"`{t.name}`", _records(t), t.key, str(t.partitions or "`kafka.partitions`"), t.cleanup, _kept(t))
        for t in TOPICS
    ]
    return _table(("topic", "record", "key", "partitions", "cleanup.policy", "kept"), rows)


def _records(topic: Topic) -> str:
    names = [
        name
        for name, model in SCHEMAS.items()
        if model in topic.records or (Control in topic.records and model in CONTROL_KINDS.values())
    ]
    return ", ".join(f"[{name}](../schemas/json/{name}.schema.json)" for name in names) or "internal"


def _kept(topic: Topic) -> str:
    return "for ever" if topic.retention_ms < 0 else f"{topic.retention_ms // DAY_MS} days"


def _kind(declared: dict[str, Any], schema: dict[str, Any]) -> str:
    """One JSON Schema in a few words."""
    if "discriminator" in declared:
        tags = ", ".join(f"`{tag}`" for tag in declared["discriminator"]["mapping"])
        return f"object, one of {tags}"
    if arms := declared.get("anyOf") or declared.get("oneOf"):
        return " or ".join(_kind(arm, schema) for arm in arms)
    declared = {**declared, **_resolved(declared, schema)}
    if "const" in declared:
        return f"`{declared['const']}`"
    if "enum" in declared:
        return ", ".join(f"`{value}`" for value in declared["enum"])
    kind: str = declared["type"]
    match kind:
        case "object":
            names = ", ".join(f"`{name}`" for name in declared["properties"])
            return f"object of {names}"
        case "array":
            most = f" of at most {declared['maxItems']:,}" if "maxItems" in declared else ""
            return f"list{most}, each {_kind(declared['items'], schema)}"
        case "string":
            return _string(declared)
        case "integer" | "number":
            return "epoch seconds" if _is_time(declared) else kind + _range(declared)
        case _:
            return kind


def _is_time(declared: dict[str, Any]) -> bool:
    return declared.get("description") == "epoch seconds"


def _string(declared: dict[str, Any]) -> str:
    if declared.get("format") == "date-time":
        return "RFC 3339 with an offset"
    if "contentEncoding" in declared:
        return "base64"
    if "eE" in declared.get("pattern", ""):
        return "decimal string"
    low, high = declared.get("minLength", 0), declared.get("maxLength")
    return (
        "string" if high is None else f"string of {low} to {high:,}" if low else f"string of at most {high:,}"
    )


def _range(declared: dict[str, Any]) -> str:
    low, high = declared.get("minimum"), declared.get("maximum")
    if isinstance(high, float) and high.is_integer():
        high = int(high)
    above = f" above {declared['exclusiveMinimum']:,}" if "exclusiveMinimum" in declared else ""
    if low is not None:
        above = f" from {low:,}"
    return above + (f" to {high:,}" if high is not None and high < 2**60 else "")


def _resolved(declared: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = declared.get("$ref", "").removeprefix("#/$defs/")
    found: dict[str, Any] = schema["$defs"][name] if name else {}
    return {key: value for key, value in found.items() if key not in declared}


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


TABLES: Final[dict[str, Callable[[], str]]] = {
    "topics": topic_table,
    "reasons": reason_table,
    "cost-event": lambda: fields(CostEvent),
    "outcome": lambda: fields(Outcome),
    "outcome-rollup": lambda: fields(OutcomeRollup),
    "throttle-command": lambda: fields(ThrottleCommand),
    "throttle-ack": lambda: fields(ThrottleAck),
    "throttle-event": lambda: fields(ThrottleEvent),
}

if __name__ == "__main__":
    written = PAGE.read_text(encoding="utf-8")
    wanted = render(written)
    if "--check" in sys.argv:
        if written != wanted:
            sys.exit("docs/wire-format.md is stale, run `make schemas`")
    elif written != wanted:
        PAGE.write_text(wanted, encoding="utf-8")
        sys.stdout.write("wrote docs/wire-format.md\n")
