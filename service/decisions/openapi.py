"""The OpenAPI 3.1 document of the decision API, made of the very types that requests are read with.

`python -m service.decisions.openapi` writes it; `--check` fails when what is written is not what it would write.
"""

from __future__ import annotations

import json
import sys
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.budgets import BudgetSnapshot
from schemas.throttles import ThrottleCommand
from service.decisions.board import PARTS
from service.decisions.desk import DECISIONS, DOCUMENT, JSON, MAX_WAIT_S, SETTLEMENTS, SNAPSHOT
from service.decisions.question import Questions, Settled, Settlements, Verdicts
from service.http.problem import MEDIA_TYPE, Kind

FILE: Final = Path(__file__).with_name("openapi.json")
_REF: Final = "#/components/schemas/{name}"

_PROBLEM: Final = {
    "type": "object",
    "description": "RFC 9457. Match on `type`; the others are for people.",
    "properties": {
        "type": {"type": "string", "pattern": "^urn:tidegate:decisions:"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
}
_SNAPSHOT: Final = {
    "type": "object",
    "description": "Limits in force. A part that was not asked for is left out.",
    "properties": {
        "stale": {
            "type": "boolean",
            "description": "the process that answers has not heard of the broker for too long",
        },
        "commands": {
            "type": "array",
            "items": {"$ref": _REF.format(name="ThrottleCommand")},
            "description": "by scope; one whose `expires_at` is over does not hold, listed or not",
        },
        "budgets": {
            "type": "array",
            "items": {"$ref": _REF.format(name="BudgetSnapshot")},
            "description": "the newest snapshot of every budget that may refuse calls",
        },
    },
    "required": ["stale"],
    "additionalProperties": False,
}
_CALLS: Final = {
    "calls": [
        {
            "call_id": "5d1f0c3e-91",
            "model": "gpt-4o",
            "workflow": "support",
            "trace_id": "run-4711",
            "estimate_nanos": 12_000_000,
        }
    ]
}
_ALLOWED: Final = {
    "action": "cap",
    "delay_s": 0.0,
    "model": None,
    "max_output_tokens": 500,
    "rejection": None,
    "ticket": "6vJtWxZ0Zc9r1nBqk3hT2w",
}
_SETTLEMENTS: Final = {
    "settlements": [{"ticket": "6vJtWxZ0Zc9r1nBqk3hT2w", "cost_nanos": 9_310_000, "tokens": 1_862}]
}


def document() -> dict[str, Any]:
    """The whole document."""
    _, schemas = msgspec.json.schema_components(
        (Questions, Verdicts, Settlements, Settled), ref_template=_REF
    )
    for record in (ThrottleCommand, BudgetSnapshot):
        schema = record.model_json_schema(
            mode="serialization", ref_template=_REF.replace("{name}", "{model}")
        )
        schemas |= schema.pop("$defs", {})
        schemas[record.__name__] = schema
    schemas |= {"Snapshot": _SNAPSHOT, "Problem": _PROBLEM}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate decisions",
            "version": "1",
            "description": "May this call be made? For gateways in any language, asked before each call.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            DECISIONS: {
                "post": {
                    "operationId": "decide",
                    "summary": "Decide about calls that are to be made",
                    "description": "All calls are read before the first is decided about. A decision counts "
                    "the call: sent again because the answer was lost, it counts twice unless it has a `call_id`.",
                    "security": [{"token": ["decide"]}],
                    "requestBody": _body("Questions", _CALLS),
                    "responses": {
                        "200": _answer("Verdicts", {"decisions": [_ALLOWED]}),
                        **_problems(*_POSTED),
                    },
                }
            },
            SETTLEMENTS: {
                "post": {
                    "operationId": "settle",
                    "summary": "Say what calls have cost that have ended",
                    "description": "A ticket counts once: it is safe to send this again.",
                    "security": [{"token": ["settle"]}],
                    "requestBody": _body("Settlements", _SETTLEMENTS),
                    "responses": {"200": _answer("Settled", {"settled": [True]}), **_problems(*_POSTED)},
                }
            },
            SNAPSHOT: {"get": _get_snapshot()},
            DOCUMENT: {
                "get": {
                    "operationId": "describe",
                    "summary": "This document",
                    "security": [],
                    "responses": {
                        "200": {
                            "description": "OpenAPI 3.1",
                            "content": {JSON: {"schema": {"type": "object"}}},
                        },
                        **_problems(Kind.BUG, Kind.UNAVAILABLE),
                    },
                }
            },
        },
        "components": {
            "schemas": _clean(dict(sorted(schemas.items()))),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Scopes of a token: decide, settle, snapshot.",
                }
            },
        },
    }


_ALWAYS: Final = (Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.BUSY, Kind.BUG, Kind.UNAVAILABLE)
_POSTED: Final = (
    Kind.BAD_REQUEST,
    Kind.TOO_SLOW,
    Kind.TOO_LARGE,
    Kind.UNSUPPORTED,
    Kind.EXPECTATION_FAILED,
    Kind.INVALID,
    *_ALWAYS,
)


def _get_snapshot() -> dict[str, Any]:
    tag = {"description": "of this content; other processes have the same", "schema": {"type": "string"}}
    return {
        "operationId": "snapshot",
        "summary": "All limits in force",
        "description": "With `If-None-Match` and `wait_s` the answer comes as soon as the limits are others.",
        "security": [{"token": ["snapshot"]}],
        "parameters": [
            {
                "name": "include",
                "in": "query",
                "description": "which part; each has a tag of its own",
                "schema": {"type": "string", "enum": list(PARTS), "default": "all"},
            },
            {
                "name": "wait_s",
                "in": "query",
                "description": "seconds to wait for a change",
                "schema": {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S, "default": 0},
            },
            {
                "name": "If-None-Match",
                "in": "header",
                "description": "the `ETag` of what the client has",
                "schema": {"type": "string"},
            },
        ],
        "responses": {
            "200": {
                **_answer("Snapshot", {"stale": False, "commands": [], "budgets": []}),
                "headers": {"ETag": tag},
            },
            "304": {"description": "The client has it", "headers": {"ETag": tag}},
            **_problems(Kind.BAD_REQUEST, *_ALWAYS),
        },
    }


def _clean(schema: Any) -> Any:
    """Descriptions that were docstrings, without the indentation of their source."""
    if isinstance(schema, list):
        return [_clean(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: cleandoc(value) if key == "description" and isinstance(value, str) else _clean(value)
        for key, value in schema.items()
    }


def _body(name: str, example: dict[str, Any]) -> dict[str, Any]:
    return {
        "required": True,
        "content": {JSON: {"schema": {"$ref": _REF.format(name=name)}, "example": example}},
    }


def _answer(name: str, example: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": "Done",
        "content": {JSON: {"schema": {"$ref": _REF.format(name=name)}, "example": example}},
    }


def _problems(*kinds: Kind) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name="Problem")}
    return {
        str(kind.status): {"description": kind.title, "content": {MEDIA_TYPE: {"schema": schema}}}
        for kind in sorted(kinds, key=lambda kind: kind.status)
    }


def text() -> str:
    """The document as its file has it."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def written() -> bytes:
    """The file, which is what is served."""
    return FILE.read_bytes()


if __name__ == "__main__":
    if "--check" not in sys.argv:
        FILE.write_text(text(), encoding="utf-8")
    elif not FILE.exists() or FILE.read_text(encoding="utf-8") != text():
        sys.exit("service/decisions/openapi.json is stale, run `make schemas`")
