"""A client's fortnight as single calls: real volume and token means, modelled traces, customers, cache, models.

What is real comes from the data: calls per ten minutes, their burstiness, mean tokens. What is not in it is
drawn once per client: calls per trace, growth of context within a trace, customers, keys, models, cache hits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.detection.clients import STEP_S, Client
from benchmarks.detection.stream import Calls, Floats, Ints

START: Final = 1_782_691_200.0
"""Monday 2026-06-29, midnight UTC."""
MODELS: Final = (
    ("openai", "gpt-4o", 2.5, 1.25, 10.0),
    ("openai", "gpt-4o-mini", 0.15, 0.075, 0.6),
    ("anthropic", "claude-sonnet-4-5", 3.0, 0.3, 15.0),
    ("anthropic", "claude-haiku-4-5", 1.0, 0.1, 5.0),
    ("openai", "gpt-4.1", 2.0, 0.5, 8.0),
)
"""Provider, model, dollars per million input, cached input and output tokens."""
_PRICES: Final = np.array([row[2:] for row in MODELS])
NANOS_PER_HOUR: Final = 10_000_000_000


@dataclass(frozen=True)
class Character:
    """What is drawn once per client."""

    calls_per_trace: float
    growth: float
    trace_sigma: float
    call_sigma: float
    cache: float
    models: Ints
    model_weights: Floats
    customers: int
    keys: int
    error_rate: float
    gap_s: float


@dataclass(frozen=True)
class Traces:
    """Traces as columns of one length."""

    start: Floats
    calls: Ints
    customer: Ints
    key: Ints
    model: Ints
    input: Floats
    output: Floats

    def take(self, which: Ints) -> Traces:
        return Traces(
            self.start[which],
            self.calls[which],
            self.customer[which],
            self.key[which],
            self.model[which],
            self.input[which],
            self.output[which],
        )


def character(rng: np.random.Generator) -> Character:
    count = int(rng.integers(1, 4))
    return Character(
        calls_per_trace=float(rng.choice([1.0, 2.0, 3.0, 5.0, 8.0])),
        growth=float(rng.choice([0.0, 0.05, 0.15])),
        trace_sigma=float(rng.uniform(0.2, 0.7)),
        call_sigma=float(rng.uniform(0.2, 0.6)),
        cache=float(rng.choice([0.0, 0.3, 0.6, 0.8])),
        models=rng.permutation(len(MODELS))[:count].astype(np.int64),
        model_weights=rng.dirichlet(np.full(count, 3.0)),
        customers=int(rng.choice([3, 10, 40, 200])),
        keys=int(rng.integers(1, 5)),
        error_rate=float(rng.uniform(0.0, 0.03)),
        gap_s=float(rng.choice([2.0, 6.0, 15.0])),
    )


def traces(client: Client, who: Character, max_calls: int, rng: np.random.Generator) -> Traces:
    """The client's traces, thinned evenly when it makes more than `max_calls`."""
    keep = min(1.0, max_calls / max(int(client.calls.sum()), 1))
    wanted = client.calls * keep / who.calls_per_trace
    counts = np.floor(wanted + rng.random(len(wanted))).astype(np.int64)
    starts = [
        START + STEP_S * (step + _arrivals(int(n), float(client.gap_cv[step]), rng))
        for step, n in enumerate(counts)
        if n
    ]
    start = np.concatenate(starts) if starts else np.empty(0)
    n = len(start)
    step = np.minimum((start - START) // STEP_S, len(client.calls) - 1).astype(np.int64)
    customer = _customers(start, who.customers, rng)
    sigma = who.trace_sigma
    return Traces(
        start=start,
        calls=1 + _extra_calls(who.calls_per_trace, n, rng),
        customer=customer,
        key=customer % who.keys,
        model=who.models[rng.choice(len(who.models), size=n, p=who.model_weights)],
        input=client.input_mean[step] * rng.lognormal(-sigma * sigma / 2, sigma, n),
        output=client.output_mean[step] * rng.lognormal(-sigma * sigma / 2, sigma, n),
    )


def expand(of: Traces, who: Character, rng: np.random.Generator, first_id: int) -> Calls:
    """The calls of these traces, in order of time; trace ids count up from `first_id`."""
    n = int(of.calls.sum())
    owner = np.repeat(np.arange(len(of.calls)), of.calls)
    first = np.repeat(np.cumsum(of.calls) - of.calls, of.calls)
    position = np.arange(n) - first
    gaps = np.where(position > 0, rng.lognormal(math.log(who.gap_s), 0.8, n), 0.0)
    total = np.cumsum(gaps)
    t = of.start[owner] + total - total[first]
    sigma = who.call_sigma
    grown = 1.0 + who.growth * position
    input_ = of.input[owner] * grown * rng.lognormal(-sigma * sigma / 2, sigma, n)
    output = of.output[owner] * rng.lognormal(-sigma * sigma / 2, sigma, n)
    hit = rng.beta(8 * who.cache, 8 * (1 - who.cache), n) if who.cache else np.zeros(n)
    error = rng.random(n) < who.error_rate
    tokens_in = np.maximum(input_, 1.0).astype(np.int64)
    tokens_out = np.where(error, 0, np.maximum(output, 1.0)).astype(np.int64)
    cached = (tokens_in * np.where(position > 0, hit, hit / 2)).astype(np.int64)
    model = of.model[owner]
    return Calls(
        t=t,
        trace=first_id + owner.astype(np.int64),
        customer=of.customer[owner],
        key=of.key[owner],
        model=model,
        input=tokens_in,
        cached=cached,
        output=tokens_out,
        cost=cost_of(model, tokens_in, cached, tokens_out),
        error=error,
        injected=np.zeros(n, dtype=np.bool_),
    ).ordered()


def cost_of(model: Ints, input_: Ints, cached: Ints, output: Ints) -> Ints:
    """List price, nano-dollars."""
    price = _PRICES[model]
    nanos = 1_000.0 * ((input_ - cached) * price[:, 0] + cached * price[:, 1] + output * price[:, 2])
    rounded: Ints = np.round(nanos).astype(np.int64)
    return rounded


def _arrivals(n: int, cv: float, rng: np.random.Generator) -> Floats:
    """`n` instants in a step of length 1, whose gaps have (nearly) this coefficient of variation."""
    shape = 1.0 / min(max(cv, 0.3), 4.0) ** 2
    gaps = rng.gamma(shape, 1.0, n + 1) + 1e-9
    arrivals: Floats = np.cumsum(gaps)[:-1] / gaps.sum()
    return arrivals


def _extra_calls(mean: float, n: int, rng: np.random.Generator) -> Ints:
    if mean <= 1.0:
        return np.zeros(n, dtype=np.int64)
    extra: Ints = rng.poisson(rng.gamma(2.0, (mean - 1.0) / 2.0, n)).astype(np.int64)
    return extra


def _customers(start: Floats, count: int, rng: np.random.Generator) -> Ints:
    """Zipf over `count` customers; a tenth of them comes within the fortnight and not at its begin."""
    weights = 1.0 / np.arange(1, count + 1) ** 1.1
    drawn = rng.choice(count, size=len(start), p=weights / weights.sum()).astype(np.int64)
    since = np.where(rng.random(count) < 0.1, rng.uniform(0, 14 * 86_400, count), 0.0)
    since[0] = 0.0
    known = start - START >= since[drawn]
    return np.where(known, drawn, 0)
