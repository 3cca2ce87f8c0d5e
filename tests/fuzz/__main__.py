"""`python -m tests.fuzz`: a million hostile messages through the fold, and one JSON line of what became of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import orjson

from tests.fuzz import foreign
from tests.fuzz.corpus import mutated
from tests.fuzz.harness import Harness, Mismatch, Totals

_EVERY = 50_000


def main() -> int:
    """0 when everything adds up; 1 after the first batch that does not, which is then kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path(".cache/fuzz"), help="where a bad batch is written")
    parser.add_argument("--foreign", action="store_true", help="foreign records, through their adapters")
    given = parser.parse_args()
    if given.foreign:
        outcomes = foreign.run(given.messages, given.seed)
        sys.stdout.buffer.write(orjson.dumps({"foreign": given.messages, **outcomes}) + b"\n")
        return 0
    harness = Harness(given.seed)
    told = 0

    def progress(totals: Totals) -> None:
        nonlocal told
        if totals.messages - told >= _EVERY:
            told = totals.messages
            sys.stderr.write(f"{told:,} messages in {totals.seconds:,.0f} s\n")

    status = 0
    try:
        harness.run(mutated(given.messages, given.seed), progress)
    except Mismatch as mismatch:
        given.keep.mkdir(parents=True, exist_ok=True)
        kept = given.keep / f"batch-{given.seed}-{mismatch.batch[0].offset}.jsonl"
        kept.write_bytes(
            b"".join(orjson.dumps({"hex": (r.value or b"").hex()}) + b"\n" for r in mismatch.batch)
        )
        sys.stderr.write(f"{mismatch}\nthe batch is in {kept}\n")
        status = 1
    sys.stdout.buffer.write(orjson.dumps(harness.totals.line()) + b"\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
