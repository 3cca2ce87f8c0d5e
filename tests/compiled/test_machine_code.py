"""Machine code is used for the sources that it was made from, and for no others."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import compiled
from compiled import LIBRARIES, ROOT, directory, fingerprint, modules, put_first

_ASK = "from service.ingest import COMPILED, wire; print(COMPILED, wire.__file__)"
EACH = pytest.mark.parametrize("package", LIBRARIES)


@EACH
def test_a_change_of_any_source_leaves_the_old_code_unused(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("schemas", "detectors", "service/ingest", "service/settings"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "service" / "errors.py", tmp_path / "service")
    before = fingerprint(package)
    monkeypatch.setattr(compiled, "ROOT", tmp_path)
    assert fingerprint(package) == before
    for source in list(compiled.sources(package)):
        text = source.read_text(encoding="utf-8")
        source.write_text(text + "\n", encoding="utf-8")
        assert fingerprint(package) != before, source
        source.write_text(text, encoding="utf-8")
    assert fingerprint(package) == before


@EACH
def test_without_its_code_a_package_is_the_python_that_it_is(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "fingerprint", lambda _: "never")
    path: list[str] = []
    assert not put_first(package, path)
    assert path == []


@EACH
def test_what_the_compiler_looks_at_is_in_the_fingerprint(package: str) -> None:
    """Constants of one module end up in the code of another: no import may lead out of what is watched."""
    watched = {source.relative_to(ROOT).as_posix() for source in compiled.sources(package)}
    ours = ("service.", "schemas.", "detectors.")
    for source in modules(package):
        for node in ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(ours):
                name = str(node.module).replace(".", "/")
                inner = {f"{name}/{alias.name}.py" for alias in node.names}
                outer = {f"{name}.py", f"{name}/__init__.py", *inner}
                assert outer & watched, (source, node.module)


def test_both_ways_can_be_asked_for() -> None:
    def ask(pure: str) -> list[str]:
        environment = {**os.environ, "TIDEGATE_PURE": pure}
        command = [sys.executable, "-c", _ASK]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.split()

    assert ask("1") == ["False", str(ROOT / "service/ingest/wire.py")]
    where = ask("0")
    made = directory("service.ingest")
    if made.is_dir():
        assert where[0] == "True"
        assert Path(where[1]).parent == made
    else:
        assert where[0] == "False"
    assert len(made.name) == 16


def test_compiled_or_not_detectors_answer_the_same_to_the_last_bit() -> None:
    def ask(pure: str) -> list[str]:
        environment = {**os.environ, "TIDEGATE_PURE": pure}
        command = [sys.executable, "-m", "tests.compiled.verdicts"]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.split()

    as_python, as_made = ask("1"), ask("0")
    assert as_python[0] == "False"
    assert as_made[0] == str(directory("detectors").is_dir())
    assert as_made[1] == as_python[1]
