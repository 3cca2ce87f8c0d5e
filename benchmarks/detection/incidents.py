"""What is done to a client's calls: incidents that cost, and growth that pays for itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from benchmarks.detection.stream import Calls, Episode, Flags, Floats, Ints
from benchmarks.detection.traffic import NANOS_PER_HOUR, cost_of

HOUR: Final = 3_600.0
NEW_CUSTOMER: Final = 100_000
"""Customers from here on were never seen before an episode."""
_POOL: Final = 400


@dataclass(frozen=True)
class Plan:
    """One kind of episode: what it is called, how large, how much of the traffic, how long (hours)."""

    kind: str
    sizes: tuple[float, ...]
    shares: tuple[float, ...]
    hours: tuple[float, float]
    causes: frozenset[str]
    benign: bool = False


def _names(*causes: str) -> frozenset[str]:
    return frozenset(causes)


PLANS: Final = (
    Plan("retry_loop", (5, 15, 50), (0.05, 0.2, 1.0), (0.5, 3), _names("retry_loop", "runaway_trace")),
    Plan("context_growth", (4, 12, 50), (0.2, 1.0), (1, 4), _names("context_growth")),
    Plan("output_growth", (4, 10), (0.2, 1.0), (1, 4), _names("output_growth")),
    Plan("model_swap", (3, 5, 15), (0.5, 1.0), (2, 6), _names("dearer_calls")),
    Plan("cache_collapse", (1,), (1.0,), (2, 6), _names("cache_collapse", "dearer_calls")),
    Plan("leaked_key", (0.5, 2, 8), (1.0,), (2, 8), _names("new_customer", "new_api_key")),
    Plan("runaway_batch", (1, 4, 12), (1.0,), (0.3, 1.5), _names("runaway_trace", "retry_loop")),
    Plan("creep", (2.5, 5), (1.0,), (24, 48), _names("creep", "context_growth", "cost_per_trace")),
    Plan("price_change", (1.25, 1.5, 2), (1.0,), (12, 24), _names("dearer_calls", "creep")),
)
BENIGN: Final = (
    Plan("launch", (10, 20, 50), (1.0,), (2, 8), frozenset(), benign=True),
    Plan("growth", (1.06,), (1.0,), (72, 96), frozenset(), benign=True),
    Plan("dip", (0.1, 0.3), (1.0,), (3, 12), frozenset(), benign=True),
    Plan("backfill", (10, 30), (1.0,), (2, 6), frozenset(), benign=True),
)


@dataclass(frozen=True)
class Occasion:
    """An episode about to happen."""

    plan: Plan
    size: float
    share: float
    start: float
    end: float


def happen(calls: Calls, what: Occasion, rng: np.random.Generator) -> tuple[Calls, Episode]:
    """The calls as the episode leaves them, and its label."""
    changed, extra = _EFFECTS[what.plan.kind](calls, what, rng)
    excess_t, excess = _excess(calls, changed, extra) if not what.plan.benign else (np.empty(0), np.empty(0))
    running = np.cumsum(excess).astype(np.int64)
    joined = Calls.joined(changed, extra) if extra is not None else changed.ordered()
    return joined, Episode(
        kind=what.plan.kind,
        benign=what.plan.benign,
        size=what.size,
        share=what.share,
        start=what.start,
        end=what.end,
        excess_nanos=int(running[-1]) if len(running) else 0,
        excess_t=excess_t,
        excess_sum=running,
        causes=what.plan.causes,
    )


Effect = Callable[[Calls, Occasion, np.random.Generator], tuple[Calls, Calls | None]]


def _excess(before: Calls, after: Calls, extra: Calls | None) -> tuple[Floats, Ints]:
    """When how much more was spent. `after` has the calls of `before`, in their order, unless some are gone."""
    more = after.cost - before.cost
    t, nanos = before.t[more != 0], more[more != 0]
    if extra is not None:
        t, nanos = np.concatenate([t, extra.t]), np.concatenate([nanos, extra.cost])
    order = np.argsort(t, kind="stable")
    return t[order], nanos[order]


def _chosen(calls: Calls, what: Occasion, rng: np.random.Generator) -> Flags:
    """Calls within the episode, of the share of traces that it is about."""
    within = (calls.t >= what.start) & (calls.t < what.end)
    ids = np.unique(calls.trace[within])
    hit = ids[rng.random(len(ids)) < what.share]
    return within & np.isin(calls.trace, hit)


def _dearer(calls: Calls, at: Flags, **columns: Ints) -> Calls:
    """With these columns at these calls, and costs in proportion to list prices."""
    new = replace(calls, **{k: np.where(at, v, getattr(calls, k)) for k, v in columns.items()})
    old_list = cost_of(calls.model, calls.input, calls.cached, calls.output)
    new_list = cost_of(new.model, new.input, new.cached, new.output)
    cost = np.where(at, np.round(calls.cost * (new_list / np.maximum(old_list, 1))), calls.cost)
    return replace(new, cost=cost.astype(np.int64), injected=calls.injected | at)


def _retry_loop(calls: Calls, what: Occasion, rng: np.random.Generator) -> tuple[Calls, Calls | None]:
    at = np.flatnonzero(_chosen(calls, what, rng))
    times = np.full(len(at), round(what.size) - 1)
    again = np.repeat(at, times)
    gaps = rng.lognormal(np.log(3.0), 0.4, len(again))
    total = np.cumsum(gaps)
    first = np.repeat(np.cumsum(times) - times, times)
    extra = calls.take(again)
    t = extra.t + total - total[first] + gaps[first] if len(again) else extra.t
    jitter = rng.lognormal(0.0, 0.05, len(again))
    extra = replace(
        extra,
        t=t,
        injected=np.ones(len(again), np.bool_),
        cost=np.round(extra.cost * jitter).astype(np.int64),
    )
    return calls, extra.take(extra.t < what.end)


def _ramp(calls: Calls, what: Occasion) -> Floats:
    """From 1 to the size within the first third."""
    progress = np.clip((calls.t - what.start) / ((what.end - what.start) / 3), 0.0, 1.0)
    return 1.0 + (what.size - 1.0) * progress


def _context_growth(calls: Calls, what: Occasion, rng: np.random.Generator) -> tuple[Calls, Calls | None]:
    at = _chosen(calls, what, rng)
    return _dearer(calls, at, input=(calls.input * _ramp(calls, what)).astype(np.int64)), None


def _output_growth(calls: Calls, what: Occasion, rng: np.random.Generator) -> tuple[Calls, Calls | None]:
    at = _chosen(calls, what, rng)
    return _dearer(calls, at, output=(calls.output * what.size).astype(np.int64)), None


def _model_swap(calls: Calls, what: Occasion, rng: np.random.Generator) -> tuple[Calls, Calls | None]:
    # A model that costs `size` times as much per token: its name is new, its price is the gateway's.
    at = _chosen(calls, what, rng)
    swapped = replace(
        calls,
        model=np.where(at, (calls.model + 1) % 5, calls.model),
        cost=np.where(at, np.round(calls.cost * what.size), calls.cost).astype(np.int64),
        injected=calls.injected | at,
    )
    return swapped, None


def _cache_collapse(calls: Calls, what: Occasion, rng: np.random.Generator) -> tuple[Calls, Calls | None]:
    at = _chosen(calls, what, rng)
    return _dearer(calls, at, cached=np.zeros(len(calls), np.int64)), None


def _leaked_key(calls: Calls, what: Occasion, rng: np.random.Generator) -> tuple[Calls, Calls | None]:
    stranger = NEW_CUSTOMER + int(rng.integers(1_000_000))
    hours = (what.end - what.start) / HOUR
    extra = _cloned(
        calls,
        what,
        rng,
        np.zeros(0),
        budget=what.size * NANOS_PER_HOUR * hours,
        customers=np.array([stranger]),
    )
    return calls, replace(extra, key=np.full(len(extra), stranger), injected=np.ones(len(extra), np.bool_))


def _runaway_batch(calls: Calls, what: Occasion, rng: np.random.Generator) -> tuple[Calls, Calls | None]:
    near = _pool(calls, what.start)
    model = int(rng.integers(len(near)))
    like = near.take(np.array([model]))
    mean = float(np.median(near.cost[near.cost > 0])) if np.any(near.cost > 0) else 1e6
    n = int(np.clip(what.size * NANOS_PER_HOUR / max(mean, 1.0), 20, 4_000))
    t = np.sort(rng.uniform(what.start, what.end, n))
    cost = rng.lognormal(-0.02, 0.2, n) * what.size * NANOS_PER_HOUR / n
    source = near.take(rng.integers(len(near), size=n))
    scale = cost / np.maximum(source.cost, 1)
    return calls, replace(
        source,
        t=t,
        trace=np.full(n, calls.trace.max() + 1),
        customer=np.full(n, like.customer[0]),
        key=np.full(n, like.key[0]),
        model=np.full(n, like.model[0]),
        input=np.maximum(source.input * np.clip(scale, 1, None), 1).astype(np.int64),
        output=np.maximum(source.output * np.clip(scale, 1, None), 1).astype(np.int64),
        cost=np.round(cost).astype(np.int64),
        error=np.zeros(n, np.bool_),
        injected=np.ones(n, np.bool_),
    )


def _creep(calls: Calls, what: Occasion, rng: np.random.Generator) -> tuple[Calls, Calls | None]:
    within = (calls.t >= what.start) & (calls.t < what.end)
    progress = np.clip((calls.t - what.start) / (what.end - what.start), 0.0, 1.0)
    grown = (calls.input * what.size**progress).astype(np.int64)
    more = replace(
        _dearer(calls, within, input=grown, output=(calls.output * what.size**progress).astype(np.int64))
    )
    return more, None


def _price_change(calls: Calls, what: Occasion, rng: np.random.Generator) -> tuple[Calls, Calls | None]:
    within = (calls.t >= what.start) & (calls.t < what.end)
    cost = np.where(within, np.round(calls.cost * what.size), calls.cost).astype(np.int64)
    return replace(calls, cost=cost, injected=calls.injected | within), None


def _launch(calls: Calls, what: Occasion, rng: np.random.Generator) -> tuple[Calls, Calls | None]:
    """Ten times and more the traces of many new customers, each as cheap as before: up, on, and slowly down."""
    steps = np.arange(what.start, what.end, 600.0)
    progress = (steps - what.start) / (what.end - what.start)
    shape = np.where(progress < 0.15, progress / 0.15, np.exp(-2.0 * np.clip(progress - 0.4, 0.0, None)))
    crowd = NEW_CUSTOMER + rng.integers(0, 1_000_000, max(8, int(6 * what.size)))
    return calls, _cloned(calls, what, rng, shape, customers=crowd)


def _growth(calls: Calls, what: Occasion, rng: np.random.Generator) -> tuple[Calls, Calls | None]:
    days = (np.arange(what.start, what.end, 600.0) - what.start) / 86_400
    return calls, _cloned(calls, replace(what, size=2.0), rng, what.size**days - 1.0, own_customers=True)


def _dip(calls: Calls, what: Occasion, rng: np.random.Generator) -> tuple[Calls, Calls | None]:
    within = (calls.t >= what.start) & (calls.t < what.end)
    ids = np.unique(calls.trace[within])
    gone = ids[rng.random(len(ids)) > what.size]
    return calls.take(~(within & np.isin(calls.trace, gone))), None


def _backfill(calls: Calls, what: Occasion, rng: np.random.Generator) -> tuple[Calls, Calls | None]:
    steps = np.arange(what.start, what.end, 600.0)
    return calls, _cloned(calls, what, rng, np.ones(len(steps)), own_customers=True)


def _pool(calls: Calls, at: float) -> Calls:
    """The last calls before an instant that no incident had touched, or the first ones after it."""
    own = calls.take(~calls.injected)
    until = int(np.searchsorted(own.t, at))
    low = max(0, until - 12 * _POOL)
    return own.take(np.arange(low, max(until, min(len(own), low + 200))))


def _cloned(
    calls: Calls,
    what: Occasion,
    rng: np.random.Generator,
    shape: Floats,
    *,
    budget: float = 0.0,
    customers: Ints | None = None,
    own_customers: bool = False,
) -> Calls:
    """New traces like those of lately. Either `budget` nano-dollars of them evenly, or per ten minutes of `shape`
    (size - 1) times what was usual per ten minutes of activity."""
    near = _pool(calls, what.start)
    ids, first = np.unique(near.trace, return_index=True)
    order = np.argsort(near.trace, kind="stable")
    counts = np.bincount(np.searchsorted(ids, near.trace))
    begins = np.cumsum(counts) - counts
    mean_cost = max(float(near.cost.sum()) / len(ids), 1.0)
    if budget:
        n = int(np.clip(budget / mean_cost, 3, 20_000))
        starts = np.sort(rng.uniform(what.start, what.end, n))
    else:
        active = max(len(np.unique(near.t // 600.0)), 1)
        per_step = len(ids) / active
        wanted = per_step * (what.size - 1.0) * shape
        scale = min(1.0, 20_000 / max(float(wanted.sum()), 1.0))
        n_steps = rng.poisson(wanted * scale)
        begin = what.start + 600.0 * np.repeat(np.arange(len(shape)), n_steps)
        starts = np.sort(begin + rng.uniform(0, 600.0, len(begin)))
        n = len(starts)
    picked = rng.integers(len(ids), size=n)
    sizes = counts[picked]
    owner = np.repeat(np.arange(n), sizes)
    inner = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    source = near.take(order[begins[picked][owner] + inner])
    offset = source.t - near.t[order[begins[picked]]][owner]
    factor = rng.lognormal(-0.02, 0.2, n)[owner]
    who = (
        near.customer[first][picked][owner]
        if own_customers or customers is None
        else (customers[rng.integers(len(customers), size=n)][owner])
    )
    cloned = _dearer(
        source,
        np.ones(len(source), np.bool_),
        input=np.maximum(np.round(source.input * factor), 1).astype(np.int64),
        cached=np.round(source.cached * factor).astype(np.int64),
        output=np.round(source.output * factor).astype(np.int64),
    )
    return replace(
        cloned,
        t=starts[owner] + offset,
        trace=calls.trace.max() + 1 + owner,
        customer=who,
        injected=source.injected,
    ).take(starts[owner] + offset < what.end)


_EFFECTS: Final[dict[str, Effect]] = {
    "retry_loop": _retry_loop,
    "context_growth": _context_growth,
    "output_growth": _output_growth,
    "model_swap": _model_swap,
    "cache_collapse": _cache_collapse,
    "leaked_key": _leaked_key,
    "runaway_batch": _runaway_batch,
    "creep": _creep,
    "price_change": _price_change,
    "launch": _launch,
    "growth": _growth,
    "dip": _dip,
    "backfill": _backfill,
}
