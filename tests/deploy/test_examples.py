"""deploy/examples: what people copy is valid, by the JSON Schema that editors use and by what workers take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from schemas.catalog import EXAMPLES
from schemas.control import CONTROL_KINDS
from schemas.control.file import file_schema
from schemas.generate import FOLDER
from service.commands.control_files import _Loader, read_files
from service.commands.control_yaml import MODELINE

ROOT = Path(__file__).parents[2]
EXAMPLE_FOLDERS = sorted(path for path in (ROOT / "deploy" / "examples").iterdir() if path.is_dir())
FILES = sorted((ROOT / "deploy" / "examples").rglob("*.yaml"))
SCHEMA = file_schema()
EDITOR = Draft202012Validator(SCHEMA)


def documents(text: str) -> list[Any]:
    return [document for document in yaml.load_all(text, _Loader) if document is not None]


def test_there_is_one_for_each_size() -> None:
    assert [folder.name for folder in EXAMPLE_FOLDERS] == ["medium", "regulated", "small"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_an_editor_finds_the_schema_and_nothing_to_complain_of(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    first = text.splitlines()[0]
    assert first.startswith(MODELINE)
    assert (file.parent / first.removeprefix(MODELINE)).resolve() == (FOLDER / "config-file.schema.json")
    for document in documents(text):
        EDITOR.validate(document)


@pytest.mark.parametrize("folder", EXAMPLE_FOLDERS, ids=lambda folder: folder.name)
def test_workers_take_every_record(folder: Path) -> None:
    found, problems = read_files([folder])
    assert [str(problem) for problem in problems] == []
    assert len(found) >= 4


def test_where_each_change_needs_a_name_and_a_reason_each_has_them() -> None:
    found, _ = read_files([ROOT / "deploy" / "examples" / "regulated"])
    assert all(item.record.author and item.record.reason for item in found)


def test_every_file_says_why() -> None:
    for file in FILES:
        assert re.search(r"^\s*(# [A-Z]|reason:)", file.read_text(encoding="utf-8"), re.MULTILINE), file


@pytest.mark.parametrize("kind", CONTROL_KINDS)
def test_the_schema_takes_every_kind_and_sees_its_faults(kind: str) -> None:
    good = EXAMPLES[f"config-{kind}"]
    EDITOR.validate(good)
    EDITOR.validate([good, good])
    for bad, path in (({**good, "typo": 1}, []), ({**good, "author": 5}, ["author"])):
        (error,) = EDITOR.iter_errors(bad)
        assert list(error.path) == path, "one complaint, at its place"
    assert not EDITOR.is_valid({key: value for key, value in good.items() if key != "kind"})


def test_the_schema_is_one_itself() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert not EDITOR.is_valid({"kind": "tunin", "name": "a"})
    assert not EDITOR.is_valid("kind: tuning")
