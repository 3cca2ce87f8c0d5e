"""Machine code is used for the sources that it was made from, and for no others."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service import compiled
from service.compiled import MODULES, PACKAGE, ROOT, directory, fingerprint, put_first

_ASK = "from service.ingest import COMPILED, wire; print(COMPILED, wire.__file__)"


def test_a_change_of_any_source_leaves_the_old_code_unused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas")
    shutil.copytree(ROOT / PACKAGE, tmp_path / PACKAGE)
    for name in ("errors", "settings"):
        shutil.copy(ROOT / "service" / f"{name}.py", tmp_path / "service")
    before = directory().name
    monkeypatch.setattr(compiled, "ROOT", tmp_path)
    assert directory().name == before
    for name in ("schemas/money.py", f"{PACKAGE}/wire.py", "service/errors.py", f"{PACKAGE}/spelt.py"):
        source = tmp_path / name
        text = source.read_text(encoding="utf-8")
        source.write_text(text + "\n", encoding="utf-8")
        assert directory().name != before, name
        source.write_text(text, encoding="utf-8")
        assert directory().name == before


def test_without_its_code_a_package_is_the_python_that_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "fingerprint", lambda: "never")
    path: list[str] = []
    assert not put_first(path)
    assert path == []


def test_what_the_compiler_looks_at_is_in_the_fingerprint() -> None:
    """Constants of one module end up in the code of another: no import may lead out of what is watched."""
    watched = {source.relative_to(ROOT).as_posix() for source in compiled.sources()}
    for module in MODULES:
        source = f"{PACKAGE}/{module}.py"
        for node in ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("service.", "schemas.")):
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

    assert ask("1") == ["False", str(ROOT / PACKAGE / "wire.py")]
    where = ask("0")
    if directory().is_dir():
        assert where[0] == "True"
        assert Path(where[1]).parent == directory()
    else:
        assert where[0] == "False"
    assert len(fingerprint()) == 16
