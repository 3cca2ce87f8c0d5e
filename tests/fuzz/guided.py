"""Coverage-guided fuzzing with Atheris: `python -m tests.fuzz.guided SECONDS [FOLDER]`.

Each input is one message. It is folded alone and between two good events, twice: as a record that could be
checked for lying in the future, and as one without a time; each time it must be accounted for as the ledger says.
What reaches new code under `schemas` and `service.ingest` is kept in FOLDER, by default `.cache/fuzz/guided`, and
begun with next time; `seeds/` has the most interesting ones.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

SEEDS = Path(__file__).parent / "seeds"
MAX_LENGTH = 8_192
"""Bytes. What is larger is met by the other corpus; small inputs are fast and easy to read."""


def main(seconds: int, folder: Path) -> None:
    """Fuzz until the time is over or something is found, which ends the process with status 77 and a traceback."""
    atheris: Any = import_module("atheris")  # optional, and without types
    with atheris.instrument_imports(include=["schemas", "service.ingest"]):
        from tests.fuzz.alone import account_for

    folder.mkdir(parents=True, exist_ok=True)
    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-max_len={MAX_LENGTH}",
        f"-artifact_prefix={folder.parent}/found-",
        "-print_final_stats=1",
        "-timeout=10",
        "-rss_limit_mb=1500",
        str(folder),
        str(SEEDS),
    ]
    atheris.Setup(
        arguments, account_for, custom_mutator=mutator(lambda data, size: atheris.Mutate(data, size))
    )
    atheris.Fuzz()


def mutator(blind: Callable[[bytes, int], bytes]) -> Callable[[bytes, int, int], bytes]:
    """libFuzzer's own mutations by turns with those that know what an event looks like."""
    from tests.fuzz.corpus import MUTATIONS, event, written
    from tests.fuzz.edits import EDITS
    from tests.fuzz.hostile import ANY

    recent = [seed.read_bytes() for seed in sorted(SEEDS.glob("*"))] or [b"{}"]

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        dice = random.Random(seed)
        roll = dice.random()
        if roll < 0.4:
            return bytes(blind(data, max_size))
        if roll < 0.7:
            return dice.choice(EDITS)(dice, data, recent)[:max_size]
        if roll < 0.8:
            at = dice.randrange(len(data) + 1)
            return (data[:at] + dice.choice(ANY) + data[at:])[:max_size]
        pairs = event(dice, dice.randrange(1_000), b"m")
        for _ in range(dice.choice((1, 2, 3))):
            dice.choice(MUTATIONS)(dice, pairs)
        return written(dice, pairs)[:max_size]

    return mutate


if __name__ == "__main__":
    arguments: list[Any] = sys.argv[1:]
    main(int(arguments[0]), Path(arguments[1] if len(arguments) > 1 else ".cache/fuzz/guided"))
