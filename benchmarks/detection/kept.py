"""What was played already: the work of a client is done once for the same code, data and terms.

So a run of hours can be made seed by seed, or go on after it was stopped, and be joined into one table at the end.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.process import ROOT

FOLDER: Final = ROOT / ".cache" / "detection"
_DECIDES: Final = (
    "benchmarks/detection",
    "detectors",
    "schemas",
    "service/detect",
    "service/ingest",
    "service/rules",
    "service/errors.py",
    "service/replay.py",
    "service/settings",
    "requirements.lock",
)
"""Where what is played is decided, and how."""
_TELLS: Final = frozenset({"__main__.py", "kept.py", "pictures.py", "spread.py", "table.py"})
"""Of the benchmark: what only tells of it."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Kept:
    """Results in a folder of their own for each state of the code.

    Attributes
    ----------
    folder : Path
        Made when something is first kept. What other code left beside it stays: `make clean` removes all.
    """

    folder: Path

    @classmethod
    def of_present_code(cls, folder: Path = FOLDER) -> Kept:
        """For the sources as they are on disk now."""
        digest = sha256()
        for path in sorted(_sources()):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(ROOT)} {len(content)}\n".encode())
            digest.update(content)
        return cls(folder / digest.hexdigest()[:16])

    def once(self, what: str, work: Callable[[], Result]) -> Result:
        """The result of some work, done now unless it was before. `what` must say all that it depends on."""
        path = self.folder / sha256(what.encode()).hexdigest()[:32]
        if path.exists():
            found: Result = pickle.loads(path.read_bytes())
            return found
        result = work()
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(pickle.dumps(result))
        part.replace(path)  # whole or not at all
        return result


def _sources() -> Iterator[Path]:
    for name in _DECIDES:
        path = ROOT / name
        found = path.rglob("*") if path.is_dir() else [path]
        yield from (
            file
            for file in found
            if file.suffix in (".py", ".npz", ".lock")
            and not (file.parent == ROOT / "benchmarks" / "detection" and file.name in _TELLS)
        )
