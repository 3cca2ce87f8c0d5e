"""Machine code of the modules that run most, used where it was made from these very sources.

Which those are, for every event and for every window, `LIBRARIES` says; docs/adr/0008-compiled-ingest.md, why.

`hatch_build.py` compiles them with mypyc, where there is a C compiler, into a directory that is named after the
sources' fingerprint. A package whose sources have changed since looks for another directory, does not find it,
and runs as the Python it is: slower, and never as it was before the change.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
_MADE: Final = "compiled/_made"


class Library(NamedTuple):
    """Modules of one package that are compiled together, so that they call each other without a detour.

    Attributes
    ----------
    folder : str
        Of the package, from the root.
    modules : tuple of str
        By their names within it.
    seen : tuple of str
        Files and folders that the compiler looks at beside them: constants of one module end up in the code of
        another.
    """

    folder: str
    modules: tuple[str, ...]
    seen: tuple[str, ...]


LIBRARIES: Final = {
    "detectors": Library(
        "detectors",
        ("decay", "expected_spend", "noise", "ratios", "steps", "unit_cost"),
        ("detectors/__init__.py", "detectors/lmdi.py", "detectors/protocol.py"),
    ),
    "service.ingest": Library(
        "service/ingest",
        (
            "call",
            "dedup",
            "delta",
            "fold",
            "instant",
            "price",
            "pulse",
            "quotes",
            "reading",
            "scopes",
            "share",
            "spelling",
            "spenders",
            "tariff",
            "wire",
        ),
        (
            "schemas",
            "service/errors.py",
            "service/settings",
            "service/ingest/adapters",
            *(
                f"service/ingest/{module}.py"
                for module in (
                    "corrections",
                    "dead_letter",
                    "pricelist",
                    "record",
                    "service_class",
                    "spelt",
                )
            ),
        ),
    ),
}
"""By the name of the package, whose `__init__` calls `put_first`."""
PURE: Final = "TIDEGATE_PURE"
"""Set to 1 in the environment, nothing compiled is used."""


def fingerprint(package: str) -> str:
    """Of everything that the machine code of a package is made from."""
    digest = sha256()
    for source in sorted(sources(package)):
        content = source.read_bytes()
        digest.update(f"{source.relative_to(ROOT)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def modules(package: str) -> list[str]:
    """The files that are compiled, from the root."""
    library = LIBRARIES[package]
    return [f"{library.folder}/{module}.py" for module in library.modules]


def sources(package: str) -> Iterator[Path]:
    """What the machine code is made from."""
    for seen in (*modules(package), *LIBRARIES[package].seen):
        path = ROOT / seen
        yield from path.rglob("*.py") if path.is_dir() else (path,)


def directory(package: str) -> Path:
    """Where the machine code of the present sources is, or would be."""
    return ROOT / _MADE / package / fingerprint(package)


def put_first(package: str, path: list[str]) -> bool:
    """Let a package, whose search path this is, find compiled modules first. False: there are none."""
    if os.environ.get(PURE) == "1":
        return False
    found = directory(package)
    suffix = EXTENSION_SUFFIXES[0]
    if not all((found / f"{module}{suffix}").is_file() for module in LIBRARIES[package].modules):
        return False
    for library in found.glob(f"*__mypyc{suffix}"):
        _load(library.name.removesuffix(suffix), library)
    path.insert(0, str(found))
    return True


def _load(name: str, library: Path) -> None:
    """What the modules share, and import by a name without any package."""
    spec = spec_from_file_location(name, library, loader=ExtensionFileLoader(name, str(library)))
    if spec is None or spec.loader is None:
        raise ImportError(f"{library} is no extension module")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module
