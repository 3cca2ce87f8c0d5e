"""Which factor moved the money: the logarithmic mean Divisia index (LMDI-I), exact and additive."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from detectors.protocol import Contribution

_TINY = 1e-12


def logarithmic_mean(a: float, b: float) -> float:
    """L(a, b) = (a − b) / (ln a − ln b), and a where both are equal. Both must be positive."""
    if a <= 0 or b <= 0:
        raise ValueError("the logarithmic mean needs positive numbers")
    ratio = a / b
    if abs(ratio - 1.0) < 1e-8:
        return (a + b) / 2.0
    return (a - b) / math.log(ratio)


def decompose(
    before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]], change_nanos: int
) -> list[Contribution]:
    """Split a change in spend over the factors whose product each stream of spend is.

    Parameters
    ----------
    before, after : sequence of mapping
        One mapping of factor to value per stream (input spend, output spend); a stream's spend is the product
        of its factors, total spend the sum of its streams. Zero or negative values are taken as tiny.
    change_nanos : int
        The change to be explained; shares are scaled and rounded so that they add up to it exactly.

    Returns
    -------
    list of Contribution
        One per factor, the largest share first.

    Notes
    -----
    Source: Ang, "LMDI decomposition approach: a guide for implementation", Energy Policy 86 (2015), 233-238.
    """
    shares: dict[str, float] = {}
    values: dict[str, tuple[float, float]] = {}
    for old, new in zip(before, after, strict=True):
        old = {f: max(v, _TINY) for f, v in old.items()}
        new = {f: max(v, _TINY) for f, v in new.items()}
        weight = logarithmic_mean(math.prod(new.values()), math.prod(old.values()))
        for factor in old:
            shares[factor] = shares.get(factor, 0.0) + weight * math.log(new[factor] / old[factor])
            values.setdefault(factor, (old[factor], new[factor]))
    total = math.fsum(shares.values())
    scale = change_nanos / total if abs(total) > _TINY else 0.0
    rounded = {factor: round(share * scale) for factor, share in shares.items()}
    if rounded:
        largest = max(rounded, key=lambda f: (abs(rounded[f]), f))
        rounded[largest] += change_nanos - sum(rounded.values())
    return sorted(
        (Contribution(f, rounded[f], *values[f]) for f in rounded), key=lambda c: (-c.share_nanos, c.factor)
    )
