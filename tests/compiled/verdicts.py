"""`python -m tests.compiled.verdicts`: whether detectors run compiled, and a digest of every bit they answer."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from hashlib import sha256

from detectors import COMPILED
from detectors.protocol import Window
from detectors.registry import DETECTORS


@dataclass
class Trace:
    """A trace as detectors see one."""

    trace_id: str
    calls: int
    cost_nanos: int
    max_input_tokens: int
    started: float
    last: float


def windows(count: int, seed: int) -> list[Window]:
    """Busy and quiet, with gaps, unknown list prices, charges alone and a stretch at five times the price."""
    rng = random.Random(seed)
    found: list[Window] = []
    at = 1_800_000_000.0
    for i in range(count):
        at += 10.0 if rng.random() > 0.05 else rng.choice([60.0, 3_600.0, 90_000.0])
        calls = rng.choice([0, 1, rng.randint(2, 60)])
        tokens_in, tokens_out = calls * rng.randint(0, 2_000), calls * rng.randint(0, 300)
        listed = tokens_in * 2_500 + tokens_out * 10_000 if rng.random() > 0.1 else 0
        times = 5 if count // 2 < i < count // 2 + 100 else 1
        traces = [
            Trace(f"{i}-{n}", rng.randint(1, 9), rng.randint(0, 10**8), rng.randint(0, 9_000), at, at + 5.0)
            for n in range(rng.randint(0, 5))
        ]
        found.append(
            Window(
                start=at,
                seconds=10.0,
                calls=calls,
                cost_nanos=times * (tokens_in * 2_000 + tokens_out * 9_000),
                traces=float(rng.randint(0, max(calls // 3, 1))),
                input_tokens=tokens_in,
                cached_input_tokens=rng.randint(0, tokens_in),
                output_tokens=tokens_out,
                reference_nanos=listed,
                reference_output_nanos=tokens_out * 10_000 if listed else 0,
                live=traces[:2],
                finished=traces[2:],
                begun=float(rng.randint(0, 6)),
            )
        )
    return found


def digest(count: int = 1_500, seed: int = 5) -> str:
    """Of scores, explanations and states of every detector. `repr` of a float tells all of its bits."""
    hashed = sha256()
    for kind in DETECTORS.values():
        detector = kind()
        for i, window in enumerate(windows(count, seed)):
            hashed.update(repr(detector.score(window)).encode())
            detector.learn(window, frozen=i % 50 == 3)
            if i % 100 == 0:
                hashed.update(repr((detector.explain(window), detector.dump())).encode())
                detector = kind.load(detector.dump(), None)
        hashed.update(repr(detector.dump()).encode())
    return hashed.hexdigest()


if __name__ == "__main__":
    sys.stdout.write(f"{COMPILED} {digest()}\n")
