"""Labelled streams: each client's fortnight as it was, and again with episodes in it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from benchmarks.detection.clients import DAYS, Client, clients
from benchmarks.detection.incidents import BENIGN, HOUR, PLANS, Occasion, Plan, happen
from benchmarks.detection.stream import Calls, Episode, Split, Stream
from benchmarks.detection.traffic import NANOS_PER_HOUR, START, character, expand, traces

MAX_CALLS: Final = 60_000
WARM_S: Final = 3 * 86_400.0
END: Final = START + DAYS * 86_400.0
_REST_S: Final = 12 * HOUR
"""Between two episodes of a stream."""
_LAUNCHES: Final = 0.3
"""Share of episodes that are launches; as many again are other benign kinds or incidents as they come."""


def streams(
    seed: int, split: Split, *, count: int | None = None, variants: int = 2, max_calls: int = MAX_CALLS
) -> Iterator[Stream]:
    """Per client one clean stream and `variants` with episodes.

    Parameters
    ----------
    count : int or None
        So many clients, evenly from the quiet to the busy; None for all of the split.
    """
    for client in chosen(split, count):
        yield from of_client(client, seed, variants=variants, max_calls=max_calls)


def chosen(split: Split, count: int | None = None) -> list[Client]:
    """Clients of a split, evenly from the quiet to the busy."""
    of_split = [c for c in clients() if c.split == split]
    if count is None or count >= len(of_split):
        return of_split
    at = np.linspace(0, len(of_split) - 1, count).round().astype(int)
    return [of_split[i] for i in at]


def of_client(
    client: Client, seed: int, *, variants: int = 2, max_calls: int = MAX_CALLS
) -> Iterator[Stream]:
    rng = np.random.default_rng([seed, zlib.crc32(client.name.encode())])
    who = character(rng)
    calls = expand(traces(client, who, max_calls, rng), who, rng, first_id=1)
    calls = calls.take(calls.t < END)
    calls = _scaled(calls)
    yield _stream(client, "clean", calls, ())
    for variant in range(variants):
        changed, episodes = _with_episodes(
            calls, np.random.default_rng([seed, variant, zlib.crc32(client.name.encode())])
        )
        yield _stream(client, f"v{variant}", changed, tuple(episodes))


def _stream(client: Client, suffix: str, calls: Calls, episodes: tuple[Episode, ...]) -> Stream:
    return Stream(
        f"{client.name}-{suffix}", client.name, client.split, START, END, START + WARM_S, calls, episodes
    )


def _scaled(calls: Calls) -> Calls:
    """Ten dollars an hour over the whole time."""
    factor = NANOS_PER_HOUR * DAYS * 24 / max(int(calls.cost.sum()), 1)
    return replace(calls, cost=np.round(calls.cost * factor).astype(np.int64))


def _with_episodes(calls: Calls, rng: np.random.Generator) -> tuple[Calls, list[Episode]]:
    episodes: list[Episode] = []
    at = START + WARM_S + rng.uniform(0, 12) * HOUR
    original = calls
    while at < END - 2 * HOUR:
        plan = _drawn(rng)
        hours = rng.uniform(*plan.hours)
        later = original.t[(original.t >= at) & (original.t < END - HOUR)]
        if not len(later):
            break
        # Begun where there is traffic: at a call within the next day.
        soon = later[later < max(at + 12 * HOUR, later[0] + 1)]
        start = float(soon[rng.integers(len(soon))])
        what = Occasion(
            plan,
            float(rng.choice(plan.sizes)),
            float(rng.choice(plan.shares)),
            start,
            min(start + hours * HOUR, END),
        )
        calls, episode = happen(calls, what, rng)
        episodes.append(episode)
        at = episode.end + _REST_S
    return calls, episodes


def _drawn(rng: np.random.Generator) -> Plan:
    if rng.random() < _LAUNCHES:
        return BENIGN[0]
    if rng.random() < 0.15:
        return BENIGN[int(rng.integers(1, len(BENIGN)))]
    return PLANS[int(rng.integers(len(PLANS)))]
