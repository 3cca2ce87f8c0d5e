"""A spool for each process of a gateway, under one folder, and what processes that died have left there."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from gateway.spool import MAX_BYTES, Fsync, Spool, Taken

_NUMBER: Final = re.compile(r"\d{1,6}")


class Slots(NamedTuple):
    """Spools that belong to this process now.

    Attributes
    ----------
    own : Spool
        To append to.
    left : list of Spool
        What others have left behind, to be read up and closed.
    """

    own: Spool
    left: list[Spool]


def claim(folder: Path, *, max_bytes: int = MAX_BYTES, fsync: Fsync = "never") -> Slots:
    """Take the first slot that no living process has, and all others of which that is true and that hold something.

    Slots are numbered folders; whoever holds the lock in one has it, and the kernel lets go of a lock when its
    process dies. Raises OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = None
    for number in count():
        own = _try(folder / str(number), max_bytes, fsync)
        if own is not None:
            break
    assert own is not None
    left = []
    for path in sorted(folder.iterdir()):
        if _NUMBER.fullmatch(path.name) and any(path.glob("*.segment")):
            spool = _try(path, max_bytes, fsync)
            if spool is not None:
                left.append(spool)
    return Slots(own, left)


def _try(folder: Path, max_bytes: int, fsync: Fsync) -> Spool | None:
    try:
        return Spool(folder, max_bytes=max_bytes, fsync=fsync)
    except Taken:
        return None
