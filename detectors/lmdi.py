"""Which factor moved the money: the logarithmic mean Divisia index (LMDI-I), exact and additive.

It needs logarithms, and so positive factors. A stream in which one is not (output where there was none, a price
that fell to nothing) is split by Shapley values instead, which add up to the same change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from detectors.protocol import Contribution

_LEAST = 1e-150
_MOST = 1e150
"""Within these no ratio of two numbers leaves a float."""
_TINY = 1e-140
_NOISE = 1e-9
"""Share of the shares' size below which their sum is nothing but rounding."""


def logarithmic_mean(a: float, b: float) -> float:
    """L(a, b) = (a − b) / (ln a − ln b), and a where both are equal. Both must be positive."""
    if a <= 0 or b <= 0:
        raise ValueError("the logarithmic mean needs positive numbers")
    ratio = a / b
    if abs(ratio - 1.0) < 1e-8:
        return (a + b) / 2.0
    return (a - b) / math.log(ratio)


def shapley(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Each factor's share of the change of a product: what it adds, averaged over all orders of changing them.

    Parameters
    ----------
    before, after : mapping of str to float
        The same factors; any finite numbers, zero too. Work doubles with each factor: meant for a handful.

    Returns
    -------
    dict of str to float
        They add up to prod(after) - prod(before), as far as floats do.

    Notes
    -----
    Source: Shapley (1953); as a decomposition of change, Ang, Liu & Chew, "Perfect decomposition techniques in
    energy and environmental analysis", Energy Policy 31 (2003), 1561-1566.
    """
    factors = list(before)
    n = len(factors)
    shares = {}
    for factor in factors:
        others = [f for f in factors if f != factor]
        step = after[factor] - before[factor]
        share = 0.0
        for size in range(n) if step else ():
            weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
            for changed in combinations(others, size):
                share += weight * math.prod(after[f] if f in changed else before[f] for f in others)
        shares[factor] = share * step
    return shares


def decompose(
    before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]], change_nanos: int
) -> list[Contribution]:
    """Split a change in spend over the factors whose product each stream of spend is.

    Parameters
    ----------
    before, after : sequence of mapping
        One mapping of factor to value per stream (input spend, output spend); a stream's spend is the product
        of its factors, total spend the sum of its streams. A stream with a factor that is not positive on
        either side is split by `shapley`.
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
        for factor, share in _split(old, new).items():
            # Factors that faded to next to nothing have products and ratios beyond any number: nothing is said.
            shares[factor] = shares.get(factor, 0.0) + (share if math.isfinite(share) else 0.0)
            values.setdefault(factor, (old[factor], new[factor]))
    total = math.fsum(shares.values())
    # Shares that cancel each other out to nothing are told as they are: scaled, they would be rounding made large.
    scaled = abs(total) > max(_TINY, _NOISE * math.fsum(map(abs, shares.values())))
    scale = change_nanos / total if scaled else 1.0
    rounded = {f: round(part) if math.isfinite(part := share * scale) else 0 for f, share in shares.items()}
    if rounded:
        largest = max(rounded, key=lambda f: (abs(rounded[f]), f))
        rounded[largest] += change_nanos - sum(rounded.values())
    return sorted(
        (Contribution(f, rounded[f], *values[f]) for f in rounded), key=lambda c: (-c.share_nanos, c.factor)
    )


def _split(old: Mapping[str, float], new: Mapping[str, float]) -> dict[str, float]:
    least = min((*old.values(), *new.values()), default=1.0)
    was, is_ = math.prod(old.values()), math.prod(new.values())
    if least < _LEAST or not (_LEAST < was < _MOST and _LEAST < is_ < _MOST):
        return shapley(old, new)
    weight = logarithmic_mean(is_, was)
    return {factor: weight * (math.log(new[factor]) - math.log(value)) for factor, value in old.items()}
