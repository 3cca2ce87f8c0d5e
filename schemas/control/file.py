"""The JSON Schema of a YAML file of control records, by which an editor completes and checks it."""

from __future__ import annotations

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from schemas.control import CONTROL_KINDS

NAME: Final = "config-file"
_TITLE: Final = "Tidegate configuration"
_ABOUT: Final = (
    "A YAML document of `tidegate config apply`: one record, or a list of them."
    " A file may hold several documents."
)


def file_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one YAML document.

    Which record it is hangs on `kind`: an editor that has read it completes the fields of that record and of no
    other, and complains about the field that is wrong instead of about all kinds that it is not.
    """
    references, defined = models_json_schema([(model, "validation") for model in CONTROL_KINDS.values()])
    arms = [
        {
            "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
            "then": references[model, "validation"],
        }
        for kind, model in CONTROL_KINDS.items()
    ]
    record = {
        "type": "object",
        "required": ["kind"],
        "properties": {
            "kind": {"enum": list(CONTROL_KINDS), "description": "what kind of record it is"},
            "name": {"description": "unique within its kind; the record's key is KIND/NAME"},
        },
        "allOf": arms,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": _TITLE,
        "description": _ABOUT,
        # Not oneOf: of one arm that fails, a validator would only say that none fits.
        "if": {"type": "array"},
        "then": {"items": {"$ref": "#/$defs/record"}},
        "else": {"$ref": "#/$defs/record"},
        "$defs": {"record": record, **defined["$defs"]},
    }
