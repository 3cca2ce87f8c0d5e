"""The recorded calls that the demo plays. Where they come from: `data/README.md`."""

from __future__ import annotations

import csv
import gzip
import io
from functools import lru_cache
from importlib.resources import files
from typing import Literal, NamedTuple

TraceName = Literal["azure2023_code", "mooncake_conversation"]


class Row(NamedTuple):
    """One recorded call: seconds from the trace's start, and tokens. `tokens_in` includes `cached`."""

    at: float
    tokens_in: int
    tokens_out: int
    cached: int


@lru_cache(maxsize=2)
def load_trace(name: TraceName) -> tuple[Row, ...]:
    """All calls of a trace, in order of time."""
    packed = (files("service.demo") / "data" / f"{name}.csv.gz").read_bytes()
    text = io.StringIO(gzip.decompress(packed).decode("ascii"))
    return tuple(
        Row(
            int(line["t_ms"]) / 1000,
            int(line["tok_in"]),
            int(line["tok_out"]),
            int(line.get("tok_cached", 0)),
        )
        for line in csv.DictReader(text)
    )


def calls_with_context(name: TraceName, least: int, most: int) -> tuple[Row, ...]:
    """The calls of a trace whose input has `least` to `most` tokens, both included."""
    return tuple(row for row in load_trace(name) if least <= row.tokens_in <= most)
