"""Control records out of YAML and JSON files, checked as the workers will check them.

YAML is read as its 1.2 core schema has it: only `true` and `false` are booleans, dates stay strings. By YAML 1.1,
which PyYAML follows, `state: off` would be `false` and `12:30` the number 750. A key given twice is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import yaml

from schemas.control import Control
from schemas.reasons import Reason, Refused
from service.errors import InvalidInput
from service.rules.config import control_key, read_control

_MAX_BYTES: Final = 10_000_000
_SUFFIXES: Final = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Found:
    """One control record and where it was: `limits.yaml:14`."""

    where: str
    record: Control

    @property
    def key(self) -> str:
        return control_key(self.record)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something in a file is no control record."""

    where: str
    key: str
    """`KIND/NAME` as far as it was given."""
    refused: Refused

    def __str__(self) -> str:
        return f"{self.where}: {self.key}: {self.refused}" if self.key else f"{self.where}: {self.refused}"


def read_files(files: Sequence[Path]) -> tuple[list[Found], list[Problem]]:
    """Every record of the files, and everything that is wrong with them.

    A file holds one or several documents, each a record or a list of records; a folder, such files at any depth
    (`*.yaml`, `*.yml`, `*.json`). The same key in two places is a problem: only one of them could hold.

    Raises
    ------
    InvalidInput
        A file cannot be read, or a folder has none.
    """
    found: list[Found] = []
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    for file in _expanded(files):
        for item in _documents(file):
            if isinstance(item, Problem):
                problems.append(item)
                continue
            where, document = item
            key = _key(document)
            try:
                record = read_control(key, orjson.dumps(document))
                if key in seen:
                    raise Refused(Reason.DUPLICATE_KEY, f"also given at {seen[key]}", "name")
            except Refused as refused:
                problems.append(Problem(where, key.strip("/"), refused))
            except (TypeError, orjson.JSONEncodeError) as error:
                problems.append(Problem(where, key.strip("/"), Refused(Reason.WRONG_TYPE, str(error))))
            else:
                seen[key] = where
                found.append(Found(where, record))
    return found, problems


def _expanded(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(
            file
            for file in path.rglob("*")
            if file.suffix in _SUFFIXES
            and file.is_file()
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
        if not inside:
            # A checkout that went wrong must not pass for the wish to have no records.
            raise InvalidInput(f"{path}: no {', '.join(_SUFFIXES)} file in this folder")
        yield from inside


def _key(document: Any) -> str:
    if not isinstance(document, dict):
        return ""
    kind, name = (document.get(field) for field in ("kind", "name"))
    if name is None and kind in ("switch", "guard"):
        name = "throttles"  # the only one there is, and the default of the record
    return f"{kind if isinstance(kind, str) else ''}/{name if isinstance(name, str) else ''}"


def _documents(file: Path) -> Iterator[tuple[str, Any] | Problem]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise InvalidInput(f"{file}: larger than {_MAX_BYTES} bytes, this is no control file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        yield Problem(str(file), "", Refused(Reason.INVALID_UTF8, "not UTF-8"))
        return
    empty = True
    try:
        for line, document in _json(text) if file.suffix == ".json" else _yaml(text):
            empty = False
            if isinstance(document, list):
                for number, item in enumerate(document, 1):
                    yield f"{file}:{line} (item {number})", item
            else:
                yield f"{file}:{line}", document
    except (Refused, RecursionError) as error:
        refused = error if isinstance(error, Refused) else Refused(Reason.TOO_DEEP, "nested too deep")
        yield Problem(str(file), "", refused)
        return
    if empty:
        yield Problem(str(file), "", Refused(Reason.EMPTY, "no control record in it"))


def _json(text: str) -> Iterator[tuple[int, Any]]:
    try:
        yield 1, json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise Refused(Reason.INVALID_JSON, f"line {error.lineno}: {error.msg}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise Refused(Reason.DUPLICATE_KEY, "the key comes twice in one object", key)
        document[key] = value
    return document


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema, without aliases (a nested-alias bomb is a few bytes)."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            line = self.line + 1
            raise Refused(Reason.INVALID_VALUE, f"line {line}: aliases are not supported")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        document: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise Refused(Reason.WRONG_TYPE, f"line {line}: a key must be a string")
            if key in document:
                raise Refused(Reason.DUPLICATE_KEY, f"line {line}: the key comes twice", key)
            document[key] = self.construct_object(value_node, deep=True)
        return document


def _construct_map(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node)


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text.startswith(("0x", "0o")) else int(text)


LIKE_NUMBERS: Final = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^(?:[-+]?[0-9]{1,30}|0o[0-7]{1,30}|0x[0-9a-fA-F]{1,30})$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
)
"""What YAML 1.2 takes for no string: tag, pattern, first characters."""
for _tag, _pattern, _first in LIKE_NUMBERS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_map)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def _yaml(text: str) -> Iterator[tuple[int, Any]]:
    loader: _Loader | None = None
    try:
        loader = _Loader(text)  # raises, too: a control character is not YAML
        while loader.check_node():
            node = loader.get_node()
            assert node is not None, "check_node said so"
            document = loader.construct_document(node)
            if document is not None:  # an empty document between two separators
                yield node.start_mark.line + 1, document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise Refused(Reason.INVALID_VALUE, f"{line}not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: `!!int x`
        raise Refused(Reason.INVALID_VALUE, f"not YAML: {error}") from None
    finally:
        if loader is not None:
            loader.dispose()
