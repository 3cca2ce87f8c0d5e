"""How far figures would move on other clients: a bootstrap over clients, since a client's streams are alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from benchmarks.detection.scoring import Tally
from benchmarks.detection.stream import Floats

Interval = tuple[float, float]
_DRAWS: Final = 1000

Ratio = Callable[[Tally], tuple[float, float]]


def _material(found: Tally) -> tuple[float, float]:
    all_ = [o for o in found.outcomes if o.episode.material]
    return sum(o.page is not None for o in all_), len(all_)


def _large(found: Tally) -> tuple[float, float]:
    all_ = [o for o in found.outcomes if o.episode.large]
    return sum(o.page is not None for o in all_), len(all_)


def _lost(found: Tally) -> tuple[float, float]:
    all_ = [o for o in found.outcomes if o.episode.material]
    return sum(o.lost_nanos for o in all_), sum(o.episode.excess_nanos for o in all_)


def _false(found: Tally) -> tuple[float, float]:
    all_ = [w for w in found.watched if w.clean]
    return sum(w.pages for w in all_), sum(w.months for w in all_)


def _launches(found: Tally) -> tuple[float, float]:
    all_ = [o for o in found.outcomes if o.episode.kind == "launch"]
    return sum(o.page is not None for o in all_), len(all_)


RATIOS: Final[dict[str, Ratio]] = {
    "material_recall": _material,
    "large_recall": _large,
    "lost_share": _lost,
    "false_per_month": _false,
    "launches_paged": _launches,
}
"""Figures that are one sum over another, so that a resample is a weighted sum."""


def intervals(found: Tally, seed: int = 1) -> dict[str, Interval]:
    """From the 5th to the 95th percentile of each ratio over resampled clients; those of no case are left out."""
    names = sorted({o.client for o in found.outcomes} | {w.client for w in found.watched})
    if not names:
        return {}
    parts = [_of_client(found, name) for name in names]
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), _DRAWS)
    result: dict[str, Interval] = {}
    for key, ratio in RATIOS.items():
        sums: Floats = np.array([ratio(part) for part in parts], dtype=np.float64)
        over, under = drawn @ sums[:, 0], drawn @ sums[:, 1]
        values = over[under > 0] / under[under > 0]
        if len(values):
            low, high = np.quantile(values, [0.05, 0.95])
            result[key] = (float(low), float(high))
    return result


def _of_client(found: Tally, name: str) -> Tally:
    return Tally(
        tuple(o for o in found.outcomes if o.client == name),
        tuple(w for w in found.watched if w.client == name),
    )
