"""Machine code of the modules that every event passes through, used where it was made from these very sources.

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
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = "service/ingest"
MODULES: Final = (
    "call",
    "dedup",
    "delta",
    "fold",
    "price",
    "quotes",
    "reading",
    "spelling",
    "tariff",
    "wire",
)
"""What is compiled, together and as one library, so that they call each other without a detour."""
_SEEN: Final = (
    "schemas",
    "service/errors.py",
    "service/settings.py",
    f"{PACKAGE}/adapters",
    *(f"{PACKAGE}/{module}.py" for module in MODULES),
    *(
        f"{PACKAGE}/{module}.py"
        for module in ("corrections", "dead_letter", "pricelist", "record", "service_class", "spelt")
    ),
)
"""What the compiler looks at: constants of one module end up in the code of another."""
PURE: Final = "TIDEGATE_PURE"
"""Set to 1 in the environment, nothing compiled is used."""


def fingerprint() -> str:
    """Of everything that the machine code is made from."""
    digest = sha256()
    for source in sorted(sources()):
        content = source.read_bytes()
        digest.update(f"{source.relative_to(ROOT)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def sources() -> Iterator[Path]:
    """What the machine code is made from."""
    for seen in _SEEN:
        path = ROOT / seen
        yield from path.rglob("*.py") if path.is_dir() else (path,)


def directory() -> Path:
    """Where the machine code of the present sources is, or would be."""
    return ROOT / "service" / "_compiled" / fingerprint()


def put_first(path: list[str]) -> bool:
    """Let a package, whose search path this is, find compiled modules first. False: there are none."""
    if os.environ.get(PURE) == "1":
        return False
    found = directory()
    suffix = EXTENSION_SUFFIXES[0]
    if not all((found / f"{module}{suffix}").is_file() for module in MODULES):
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
