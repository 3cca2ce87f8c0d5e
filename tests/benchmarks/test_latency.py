"""Latencies are taken from the batch an event was published in."""

from __future__ import annotations

import numpy as np

from benchmarks.latency import WARM_UP_S, latencies


def test_each_rollup_is_held_against_the_batches_of_its_newest_and_oldest_event() -> None:
    start = 1_000.0
    batches = np.array(
        [
            (0, 0, 10, start),
            (0, 10, 5, start + WARM_UP_S),
            (0, 15, 5, start + WARM_UP_S + 0.1),
            (1, 0, 4, start + WARM_UP_S),
        ]
    )
    arrivals = np.array(
        [
            (0, 0, 9, start + 1),  # within the warm-up: left out
            (0, 12, 19, start + WARM_UP_S + 0.3),
            (1, 3, 3, start + WARM_UP_S + 0.4),
        ]
    )
    newest, oldest = latencies(batches, arrivals)
    assert newest.round(3).tolist() == [200.0, 400.0]
    assert oldest.round(3).tolist() == [300.0, 400.0]
