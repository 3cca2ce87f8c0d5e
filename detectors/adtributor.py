"""Whose doing it is: the smallest set of labels that explains a change in spend and would surprise anybody."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

ENOUGH: Final = 0.67
"""Share of the change that a set must explain."""
LEAST: Final = 0.1
"""Share of the change below which a value is not worth a name."""
SURPRISING: Final = 0.01
"""Nats of surprise below which a set only tells what is always so: the largest customer grew with all others."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """One value that belongs to the explanation.

    Attributes
    ----------
    explains : float
        Its share of the change. Above 1 where others moved the other way.
    usual_share, share : float
        Its share of all spend, as it usually is and as it is now; 0 to 1.
    """

    value: str
    explains: float
    usual_share: float
    share: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """One dimension's smallest set, the value that explains most first. `surprise` in nats, up to ln 2."""

    dimension: str
    suspects: tuple[Suspect, ...]
    explains: float
    surprise: float


def attribute(
    usual: Mapping[str, Mapping[str, float]],
    now: Mapping[str, Mapping[str, float]],
    usual_total: float,
    total: float,
    *,
    enough: float = ENOUGH,
    least: float = LEAST,
    surprising: float = SURPRISING,
) -> list[Explanation]:
    """Explain the change from `usual_total` to `total` in each dimension that can.

    Parameters
    ----------
    usual, now : mapping of str to mapping
        Dimension to value to spend, in any one unit; negative spend is taken as none. A value that `usual` lacks
        is new. What the values of a dimension leave of a total is spend without a label or of unnamed values:
        it is nobody's, and no set.
    usual_total, total : float
        All spend. They differ, and neither is negative; else nothing is explained.

    Returns
    -------
    list of Explanation
        The most surprising dimension first. Empty where nobody in particular is to blame.

    Notes
    -----
    Explanatory power EP = (A_ij - F_ij) / (A - F) and surprise S = (p ln(2p/(p+q)) + q ln(2q/(p+q))) / 2 with
    p = F_ij/F, q = A_ij/A, the terms of a Jensen-Shannon divergence. Values are taken by falling surprise if each
    explains at least `least`, until the set explains `enough`; then those it can do without are taken out again,
    which the source leaves in.

    Does not work well where one label stands for another (a customer with one key of its own): both are told.

    Cost: about 1 us per value.

    References
    ----------
    Bhagwan et al., "Adtributor: Revenue Debugging in Advertising Systems", NSDI 2014, 43-55.
    """
    change = total - usual_total
    if total < 0 or usual_total < 0 or not math.isfinite(change) or change == 0:
        return []
    found = []
    for dimension, values in now.items():
        set_ = _smallest(usual.get(dimension, {}), values, usual_total, total, enough, least)
        if set_ and (surprise := math.fsum(s for s, _ in set_)) >= surprising:
            suspects = sorted((s for _, s in set_), key=lambda s: (-s.explains, s.value))
            found.append(
                Explanation(dimension, tuple(suspects), math.fsum(s.explains for s in suspects), surprise)
            )
    return sorted(found, key=lambda e: (-e.surprise, e.dimension))


def surprise(p: float, q: float) -> float:
    """What going from share p to share q adds to a Jensen-Shannon divergence, in nats. Never negative in a sum."""
    both = p + q
    if both <= 0:
        return 0.0
    before = p * math.log(2 * p / both) if p > 0 else 0.0
    after = q * math.log(2 * q / both) if q > 0 else 0.0
    return (before + after) / 2


def _smallest(
    usual: Mapping[str, float],
    now: Mapping[str, float],
    usual_total: float,
    total: float,
    enough: float,
    least: float,
) -> list[tuple[float, Suspect]]:
    change = total - usual_total
    ranked = []
    for value in {**usual, **now}:
        before, after = max(usual.get(value, 0.0), 0.0), max(now.get(value, 0.0), 0.0)
        explains = (after - before) / change
        if explains >= least:
            p = min(before / usual_total, 1.0) if usual_total > 0 else 0.0
            q = min(after / total, 1.0) if total > 0 else 0.0
            ranked.append((surprise(p, q), Suspect(value, explains, p, q)))
    ranked.sort(key=lambda item: (-item[0], -item[1].explains, item[1].value))
    explained = 0.0
    taken: list[tuple[float, Suspect]] = []
    for item in ranked:
        taken.append(item)
        explained += item[1].explains
        if explained > enough:
            break
    else:
        return []
    for item in sorted(taken, key=lambda item: (item[1].explains, item[1].value)):
        if explained - item[1].explains > enough:
            explained -= item[1].explains
            taken.remove(item)
    return taken
