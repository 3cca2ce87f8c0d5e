"""Everybody on the same streams: thresholds from the clients of the train split, pages on those held out."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Final

from benchmarks.detection import stage
from benchmarks.detection.kept import Kept
from benchmarks.detection.labelled import MAX_CALLS, chosen, of_client
from benchmarks.detection.paging import pages_of, threshold_for
from benchmarks.detection.peers import PEERS, Scores, minutes_of
from benchmarks.detection.scoring import Tally, sufficient_traffic, tally
from benchmarks.detection.stream import Page, Split, Stream
from service.rules.config import WorkflowConfig

OURS: Final = "tidegate"
DEFAULTS: Final = "defaults"
SHIPPED: Final = "shipped"

Entry = tuple[str, str]
"""Who, and how it was set: a page budget such as `0.25`, `defaults`, or `shipped`."""


@dataclass(frozen=True)
class Terms:
    """What a match is about.

    Attributes
    ----------
    count : int or None
        Clients of each split; None for all.
    budgets : tuple of float
        False pages per workflow and month that a threshold may cost.
    tuned : bool
        Ours at each of the budgets too, not only at the defaults.
    """

    seed: int
    count: int | None
    variants: int
    budgets: tuple[float, ...]
    ours: bool = True
    tuned: bool = True
    max_calls: int = MAX_CALLS


@dataclass(frozen=True)
class Played:
    """What came of the held-out clients, and the CPU seconds each entry took for it."""

    tallies: dict[Entry, Tally]
    cpu_s: dict[str, float]
    calls: int


def thresholds(terms: Terms, processes: int, kept: Kept | None = None) -> dict[Entry, float]:
    """For each peer and budget, fitted on clean streams of the train split; and those that are shipped."""
    clean: dict[str, list[tuple[Scores, float]]] = defaultdict(list)
    for scores, warm in _spread(_train, terms, "train", processes, kept):
        for name, each in scores.items():
            clean[name].append((each, warm))
    fitted = {
        (peer.name, f"{budget:g}"): threshold_for(clean[peer.name], budget)
        for peer in PEERS
        for budget in terms.budgets
    }
    return fitted | {(p.name, SHIPPED): p.shipped for p in PEERS if p.shipped is not None}


def play(terms: Terms, limits: dict[Entry, float], processes: int, kept: Kept | None = None) -> Played:
    """Pages of everybody on the held-out clients, scored."""
    tallies: dict[Entry, list[Tally]] = defaultdict(list)
    cpu_s: dict[str, float] = defaultdict(float)
    calls = 0
    for found, took, n in _spread(_held_out, terms, "held_out", processes, kept, limits):
        calls += n
        for entry, part in found.items():
            tallies[entry].append(part)
        for name, seconds in took.items():
            cpu_s[name] += seconds
    return Played({entry: Tally.joined(parts) for entry, parts in tallies.items()}, dict(cpu_s), calls)


def _train(terms: Terms, split: Split, index: int, _: object) -> tuple[dict[str, Scores], float]:
    client = chosen(split, terms.count)[index]
    stream = next(of_client(client, terms.seed, variants=0, max_calls=terms.max_calls))
    minutes = minutes_of(stream)
    return {peer.name: peer.score(minutes) for peer in PEERS}, stream.warm_until


def _held_out(
    terms: Terms, split: Split, index: int, limits: dict[Entry, float]
) -> tuple[dict[Entry, Tally], dict[str, float], int]:
    client = chosen(split, terms.count)[index]
    found: dict[Entry, list[Tally]] = defaultdict(list)
    cpu_s: dict[str, float] = defaultdict(float)
    calls = 0
    for stream in of_client(client, terms.seed, variants=terms.variants, max_calls=terms.max_calls):
        calls += len(stream.calls)
        sufficient = sufficient_traffic(stream)
        for entry, pages in _everybody(stream, terms, limits, cpu_s):
            found[entry].append(tally(stream, pages, sufficient))
    return {entry: Tally.joined(parts) for entry, parts in found.items()}, dict(cpu_s), calls


def _everybody(
    stream: Stream, terms: Terms, limits: dict[Entry, float], cpu_s: dict[str, float]
) -> Iterator[tuple[Entry, list[Page]]]:
    minutes = minutes_of(stream)
    for peer in PEERS:
        begun = time.process_time()
        scores = peer.score(minutes)
        cpu_s[peer.name] += time.process_time() - begun
        for (name, setting), limit in limits.items():
            if name == peer.name:
                yield (name, setting), pages_of(scores, limit)
    if not terms.ours:
        return
    # The page budget that is shipped needs no second look.
    others = [b for b in terms.budgets if b != WorkflowConfig().page_budget] if terms.tuned else []
    begun = time.process_time()
    shipped, *tuned = stage.alerts_at(stream, [None, *others])
    cpu_s[OURS] += (time.process_time() - begun) / (1 + len(others))
    yield (OURS, DEFAULTS), shipped
    at = dict(zip(others, tuned, strict=True))
    for budget in terms.budgets if terms.tuned else ():
        yield (OURS, f"{budget:g}"), at.get(budget, shipped)


def _spread(
    work: Callable[..., Any],
    terms: Terms,
    split: Split,
    processes: int,
    kept: Kept | None,
    extra: object = None,
) -> Iterable[Any]:
    """The work of each client of a split, in processes (one is this one), with a line of progress on stderr."""
    n = len(chosen(split, terms.count))
    begun = time.perf_counter()
    # Spawned: a child must not inherit the threads of whatever runs this.
    with get_context("spawn").Pool(processes) if processes > 1 else nullcontext() as pool:
        tasks = [(kept, work, terms, split, i, extra) for i in range(n)]
        results = pool.imap_unordered(_call, tasks) if pool is not None else map(_call, tasks)
        for done, result in enumerate(results, 1):
            yield result
            if done == n or done % max(n // 10, 1) == 0:
                spent = time.perf_counter() - begun
                print(
                    f"seed {terms.seed}, {split}: {done}/{n} clients, {spent:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )


def _call(task: tuple[Kept | None, Callable[..., Any], Terms, Split, int, object]) -> Any:
    kept, work, *rest = task
    if kept is None:
        return work(*rest)
    return kept.once(f"{work.__name__} {rest!r}", lambda: work(*rest))
