"""Compiles the modules that run most, for hatchling and for `make`; see compiled/__init__.py.

Without a C compiler, or without mypy, it says so and Tidegate runs as pure Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from compiled import LIBRARIES, directory, modules  # noqa: E402


def machine_code(package: str) -> tuple[Path | None, str]:
    """The directory of the machine code, made if need be, and a word on it. None: there can be none here."""
    target = directory(package)
    if target.is_dir():
        return target, "up to date"
    if shutil.which(os.environ.get("CC", "cc")) is None:
        return None, "no C compiler: it runs as pure Python, at little more than half of the speed"
    if find_spec("mypyc") is None or find_spec("setuptools") is None:
        return None, "no mypyc: it runs as pure Python, at little more than half of the speed"
    with TemporaryDirectory() as scratch:
        command = [sys.executable, str(Path(__file__)), "--into", scratch, package]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
        if run.returncode:
            return None, f"cannot compile, so it runs as pure Python:\n{run.stdout}{run.stderr}"
        made = [path for path in Path(scratch, "lib").rglob("*") if path.name.endswith(EXTENSION_SUFFIXES[0])]
        if directory(package) != target:
            return None, "sources have changed while they were compiled: once more, please"
        shutil.rmtree(target.parent, ignore_errors=True)  # what other sources were compiled to
        staged = target.with_suffix(".part")
        staged.mkdir(parents=True)
        for path in made:
            shutil.copy2(path, staged)
        staged.rename(target)
    return target, "compiled"


def compile_into(scratch: Path, package: str) -> None:
    """Run mypyc and the C compiler; the libraries are left below `lib`. In a process of its own: mypyc exits."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    extensions = mypycify(
        ["--config-file=pyproject.toml", f"--cache-dir={scratch / 'mypy'}", *modules(package)],
        opt_level="3",
        debug_level="0",
        target_dir=str(scratch / "c"),
    )
    build = build_ext(Distribution({"name": "tidegate-compiled", "ext_modules": extensions}))
    build.build_lib, build.build_temp = str(scratch / "lib"), str(scratch / "o")
    build.ensure_finalized()
    build.run()


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:
    if __name__ != "__main__":
        raise
else:

    class CompileHook(BuildHookInterface[Any]):
        """Machine code for a wheel, which then is for one platform; an editable one finds it in the tree."""

        PLUGIN_NAME = "custom"

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Called by hatchling before it collects files."""
            if self.target_name != "wheel":
                return
            for package in LIBRARIES:
                found, word = machine_code(package)
                word = f"{package}: {word}"
                self.app.display_info(word) if found else self.app.display_warning(word)
                if found and version != "editable":
                    build_data["pure_python"] = False
                    build_data["infer_tag"] = True
                    build_data["artifacts"].append(f"{found.relative_to(ROOT)}/*")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--into"]:
        compile_into(Path(sys.argv[2]), sys.argv[3])
    else:
        for each in LIBRARIES:
            print(f"==> Machine code of {each}: {machine_code(each)[1]}")  # noqa: T201
