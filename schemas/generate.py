"""Writes schemas/json: a JSON Schema and a golden example per record, and the schema of YAML files of control
records. `--check` fails when they are stale."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import orjson

from schemas.base import json_schema
from schemas.catalog import EXAMPLES, SCHEMAS
from schemas.control import file
from schemas.decode import decode

FOLDER = Path(__file__).parent / "json"


def files() -> dict[str, str]:
    """File name to content of everything under schemas/json."""
    found: dict[str, str] = {}
    for name, model in SCHEMAS.items():
        found[f"{name}.schema.json"] = _written(json_schema(model))
        canonical = decode(model, orjson.dumps(EXAMPLES[name])).to_json()
        found[f"{name}.example.json"] = _written(json.loads(canonical))
    found[f"{file.NAME}.schema.json"] = _written(file.file_schema())
    return found


def _written(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def stale(folder: Path = FOLDER) -> list[str]:
    """Names of files that are missing, differ, or belong to no schema any more."""
    wanted = files()
    present = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def write(folder: Path = FOLDER) -> list[str]:
    """Write what is stale; returns the names."""
    changed = stale(folder)
    wanted = files()
    folder.mkdir(exist_ok=True)
    for name in changed:
        if name in wanted:
            (folder / name).write_text(wanted[name], encoding="utf-8")
        else:
            (folder / name).unlink()
    return changed


if __name__ == "__main__":
    if "--check" in sys.argv:
        if differing := stale():
            sys.exit(f"stale, run `make schemas`: {', '.join(differing)}")
    else:
        sys.stdout.write("".join(f"wrote {name}\n" for name in write()))
