"""Control records as YAML: what `config get` prints, `config diff` compares and `config export` writes.

PyYAML writes for readers of YAML 1.1 and leaves unquoted what YAML 1.2 takes for a number (`1e5`, `0o17`); this
quotes what either version would take for something else, so that `control_files` reads back what was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import yaml

from schemas.control import CONTROL_KINDS, Control
from service.commands.control_files import LIKE_NUMBERS
from service.errors import InvalidInput
from service.rules.config import control_key

MODELINE: Final = "# yaml-language-server: $schema="
_SAFE: Final = "@+=,"
_MAX_STEM: Final = 200


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True  # they are not read

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


for _tag, _pattern, _first in LIKE_NUMBERS:
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def as_yaml(record: Control) -> str:
    """One YAML document, ending in a newline; what is absent is left out, defaults are said."""
    body = record.model_dump(mode="json", exclude_none=True, exclude={"schema_version"})
    head = {"kind": body.pop("kind"), "name": body.pop("name")}
    return str(yaml.dump(head | body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


def export(records: Mapping[str, Control], folder: Path, *, replace: bool, schema: str | None) -> list[Path]:
    """Write `FOLDER/KIND/NAME.yaml` for each record; the files, in the order of their keys.

    Parameters
    ----------
    replace : bool
        First remove every YAML file from the folders of kinds: what is not there any more must not come back.
    schema : str or None
        Where editors find the JSON Schema: a path or URL for the first line.

    Raises
    ------
    InvalidInput
        The folder holds something and may not be replaced, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        old = [file for kind in CONTROL_KINDS for file in sorted((folder / kind).glob("*.yaml"))]
        if old and not replace:
            raise InvalidInput(f"{folder} holds {len(old)} records already; --replace writes them anew")
        for file in old:
            file.unlink()
        written = []
        for key in sorted(records):
            file = folder / _file(records[key])
            file.parent.mkdir(exist_ok=True)
            head = f"{MODELINE}{schema}\n" if schema else ""
            file.write_text(head + as_yaml(records[key]), encoding="utf-8")
            written.append(file)
    except OSError as error:
        raise InvalidInput(f"{error.filename or folder}: {error.strerror}") from None
    return written


def _file(record: Control) -> str:
    kind, _, name = control_key(record).partition("/")
    # A name may hold a slash, or be `..`; the record says its name itself, so that the file's need not be read.
    stem = quote(name, safe=_SAFE)
    if stem.startswith("."):  # a hidden file would not be read back
        stem = stem.replace(".", "%2E", 1)
    if len(stem) > _MAX_STEM:
        stem = f"{stem[: _MAX_STEM - 13]}-{sha256(name.encode()).hexdigest()[:12]}"
    return f"{kind}/{stem}.yaml"
