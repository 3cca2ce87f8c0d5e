"""Real clients of a model service: how much they call, in bursts or evenly, and with how many tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.detection.stream import Floats, Ints, Split

STEP_S: Final = 600
DAYS: Final = 14
_DATA: Final = Path(__file__).parent / "data" / "servegen.npz"


@dataclass(frozen=True)
class Client:
    """One client's fortnight in steps of ten minutes; token means are per call."""

    name: str
    calls: Ints
    gap_cv: Floats
    input_mean: Floats
    output_mean: Floats
    split: Split


@cache
def clients() -> tuple[Client, ...]:
    """All of them: every other one, in order of their calls, is held out."""
    with np.load(_DATA) as data:
        columns = {name: data[name] for name in data.files}
    order = np.argsort(columns["calls"].sum(axis=1), kind="stable")
    return tuple(
        Client(
            name=str(columns["names"][i]),
            calls=columns["calls"][i].astype(np.int64),
            gap_cv=columns["iat_cv"][i].astype(np.float64),
            input_mean=columns["input_mean"][i].astype(np.float64),
            output_mean=columns["output_mean"][i].astype(np.float64),
            split="held_out" if rank % 2 else "train",
        )
        for rank, i in enumerate(order)
    )
