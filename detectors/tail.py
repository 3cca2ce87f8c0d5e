"""How large the largest of many samples usually get: streaming peaks over threshold, in a few hundred bytes."""

from __future__ import annotations

import math
from bisect import insort
from typing import Any, Final, Self

from detectors.decay import LN2, number

_FADED: Final = 6.0
"""Half-lives after which a peak is let go: it weighs a 64th."""
_PRIOR_SHAPE: Final = 0.1
_PRIOR_PEAKS: Final = 10.0
_SHAPES: Final = (0.0, 0.8)
_PLOTTING: Final = 0.35


class Tail:
    """The upper tail of a stream: a generalised Pareto law over the excesses of its largest samples.

    The at most `keep` largest samples are kept; the largest that had to go is the threshold t. Of n samples N lie
    above it, and only a share q of all lies above z = t + sigma/gamma ((q n / N)^-gamma - 1). Samples and peaks
    fade by half every `half_life` samples, and a peak that weighs a 64th is let go. While more than half of the
    places are empty, t sinks by sigma ln 2 per half of a half-life, which about doubles how many come above it.

    Sigma and gamma come from weighted probability-weighted moments, which for a few dozen peaks err less than
    maximum likelihood and always exist. Gamma is shrunk towards 0.1 by ten peaks' worth and held within
    [0, 0.8]: an end of the tail is never believed in, so that nothing is called impossible.

    Does not work well below about 100 samples (`count` tells; all there are is then extrapolated from), for
    samples that come in clusters (a burst of dependent peaks counts as many), and for some thousand samples after
    t was lowered, when N is up to half too small.

    Cost: add 0.2 to 1 us; a quantile 1 us, the first after a new peak 20 us; 14 B a peak, 0.5 kB with 32.
    Measured error of a quantile (rms of the log ratio to the true one, 60 seeds), at 1e-4 after 5,000 and 20,000
    samples: exponential 0.11, 0.05; log-normal (sigma 1) 0.22, 0.13; Pareto (alpha 3) 0.30, 0.16. At 1e-5 about
    twice that.

    References
    ----------
    Siffer, Fouque, Termier, Largouet, "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017. Hosking
    and Wallis, "Parameter and Quantile Estimation for the Generalized Pareto Distribution", Technometrics 1987.
    """

    __slots__ = ("_fit", "_floor", "_mass", "_peaks", "_seen", "half_life", "keep")

    def __init__(self, keep: int = 32, half_life: float = 100_000.0) -> None:
        self.keep = keep
        self.half_life = half_life
        self._mass = 0.0
        self._seen = 0
        self._floor: float | None = None
        self._peaks: list[tuple[float, int]] = []
        self._fit: tuple[float, float, float, float, int] | None = None

    @property
    def count(self) -> float:
        """Samples, faded."""
        return self._mass

    @property
    def peaks(self) -> int:
        return len(self._peaks)

    def add(self, x: float) -> None:
        """Take in a sample. Raises ValueError unless it is finite."""
        if not math.isfinite(x):
            raise ValueError("a sample must be finite")
        self._seen += 1
        self._mass = self._mass * math.exp(-LN2 / self.half_life) + 1.0
        if self._seen % max(round(self.half_life / 2), 1) == 0:
            self._let_go()
        if self._floor is not None and x <= self._floor:
            return
        insort(self._peaks, (x, self._seen))
        if len(self._peaks) > self.keep:
            self._floor = self._peaks[0][0]
            self._peaks = [p for p in self._peaks if p[0] > self._floor]  # of equals all or none are above it
        self._fit = None

    def quantile(self, q: float) -> float:
        """The value that only a share `q` of samples exceeds; never below the threshold. Needs a sample."""
        if not 0.0 < q < 1.0:
            raise ValueError("a share lies between 0 and 1")
        threshold, sigma, gamma, above = self._fitted()
        log_ratio = math.log(above / q) if above > q else 0.0
        if gamma * log_ratio < 1e-9:
            return threshold + sigma * log_ratio
        return threshold + sigma * math.expm1(min(gamma * log_ratio, 500.0)) / gamma

    def probability(self, x: float) -> float:
        """Share of samples that exceed `x`; below the threshold, the share above that. Needs a sample."""
        threshold, sigma, gamma, above = self._fitted()
        if x <= threshold:
            return above
        if sigma <= 0.0:
            return 0.0
        scaled = (x - threshold) / sigma
        log_share = -math.log1p(gamma * scaled) / gamma if gamma > 1e-9 else -scaled
        return above * math.exp(max(log_share, -700.0))

    def dump(self) -> list[Any]:
        return [
            self._mass,
            self._seen,
            self._floor,
            [value for value, _ in self._peaks],
            [self._seen - at for _, at in self._peaks],
        ]

    @classmethod
    def load(cls, plain: Any, keep: int = 32, half_life: float = 100_000.0) -> Self:
        """The tail that was dumped. Raises ValueError if `plain` is not of its shape."""
        if not isinstance(plain, list) or len(plain) != 5:
            raise ValueError("expected 5 parts of a tail")
        mass, seen, floor, values, ages = plain
        if not isinstance(values, list) or not isinstance(ages, list) or len(values) != len(ages):
            raise ValueError("expected as many ages as peaks")
        if len(values) > keep:
            raise ValueError(f"expected at most {keep} peaks")
        loaded = cls(keep, half_life)
        loaded._mass = number(mass, least=0.0)
        loaded._seen = int(number(seen, least=0.0))
        loaded._floor = None if floor is None else number(floor)
        loaded._peaks = sorted(
            (number(v), loaded._seen - int(number(a, least=0.0))) for v, a in zip(values, ages, strict=True)
        )
        return loaded

    def _let_go(self) -> None:
        oldest = self._seen - _FADED * self.half_life
        self._peaks = [p for p in self._peaks if p[1] >= oldest]
        self._fit = None
        if self._floor is None or 2 * len(self._peaks) >= self.keep:
            return
        if self._peaks:
            self._floor -= self._refit()[1] * LN2
        else:
            self._floor, self._mass = None, 1.0  # nothing is left to be a share of: all begins anew

    def _fitted(self) -> tuple[float, float, float, float]:
        """Threshold, sigma, gamma, and the share of samples above the threshold."""
        if self._mass <= 0.0:
            raise ValueError("a tail of no samples has no quantiles")
        if self._fit is None:
            self._fit = self._refit()
        threshold, sigma, gamma, weight, newest = self._fit
        faded = weight * math.exp(-LN2 * (self._seen - newest) / self.half_life)
        return threshold, sigma, gamma, min(faded / self._mass, 1.0)

    def _refit(self) -> tuple[float, float, float, float, int]:
        """The same, and the newest peak; the share is a sum of weights still, as of that peak."""
        if not self._peaks:
            return self._floor if self._floor is not None else 0.0, 0.0, 0.0, 0.0, self._seen
        threshold = self._floor if self._floor is not None else self._peaks[0][0]
        newest = max(at for _, at in self._peaks)
        rate = LN2 / self.half_life
        weighted = [(value - threshold, math.exp(rate * (at - newest))) for value, at in self._peaks]
        total = math.fsum(w for _, w in weighted)
        mean = math.fsum(w * x for x, w in weighted) / total
        if mean <= 0.0:
            return threshold, 0.0, 0.0, total, newest
        below, second = 0.0, 0.0
        for x, w in weighted:
            second += w * x * (1.0 - (below + (1.0 - _PLOTTING) * w) / total)
            below += w
        second /= total
        spread = mean - 2.0 * second
        raw = 2.0 - mean / spread if spread > 0.0 else _SHAPES[0]
        shape = (total * raw + _PRIOR_PEAKS * _PRIOR_SHAPE) / (total + _PRIOR_PEAKS)
        gamma = min(max(shape, _SHAPES[0]), _SHAPES[1])
        return threshold, mean * (1.0 - gamma), gamma, total, newest
