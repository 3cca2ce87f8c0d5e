"""Seeded traffic of many gateways in the wire format, and what every sum over it must be.

The sums are made from the numbers that the events are written from, with prices stated here as integers:
nothing of the service takes part, so that a run can be held against them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from aiokafka.partitioner import DefaultPartitioner

START_MS: Final = 1_769_817_600_000  # 2026-01-31T00:00:00Z
WINDOW_MS: Final = 10_000
LATE_MS: Final = (6_000, 25_000)
"""How far a late event lies behind the newest one: always behind the watermark, which is 5 s behind."""
CLOSING: Final = "closing"
CLOSING_MS: Final = 120_000
_CHUNK: Final = 10_000
_RECENT: Final = 8_192
"""A duplicate repeats one of so many records before it, well within what ingest remembers."""

Ints = npt.NDArray[np.int64]


class Model(NamedTuple):
    """A model and its public list price, nano-dollars a token, as of January 2026."""

    provider: str
    name: str
    input: int
    cached: int
    output: int


MODELS: Final = (
    Model("openai", "gpt-4o", 2_500, 1_250, 10_000),
    Model("openai", "gpt-4o-mini", 150, 75, 600),
    Model("anthropic", "claude-sonnet-4-5", 3_000, 300, 15_000),
    Model("google", "gemini-2.5-flash", 300, 30, 2_500),
    Model("openai", "gpt-5-mini", 250, 25, 2_000),
    Model("anthropic", "claude-haiku-4-5", 1_000, 100, 5_000),
)
BAD: Final = (
    "invalid_json",
    "invalid_utf8",
    "missing_field",
    "negative",
    "cached_exceeds_input",
    "bad_timestamp",
)
"""The reasons for which bad events are refused, in turn."""
_SUMMED_ALL_THE_SAME: Final = frozenset({"missing_field", "negative", "cached_exceeds_input"})
"""Bad events that are JSON with a workflow, a time and a cost: a plain sum has no reason to refuse them."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What traffic to make. Equal specs make equal bytes.

    Attributes
    ----------
    rate : float
        Calls per second of event time.
    bad, duplicates, late, errors : float
        Shares of all records.
    """

    events: int
    workflows: int = 5_000
    rate: float = 25_000.0
    partitions: int = 4
    zipf: float = 1.0
    bad: float = 0.01
    duplicates: float = 0.02
    late: float = 0.05
    errors: float = 0.01
    seed: int = 3


class Sent(NamedTuple):
    """One record to publish."""

    partition: int
    key: bytes
    value: bytes


@dataclass
class Expected:
    """What must come of the traffic.

    Attributes
    ----------
    calls, nanos : Counter of (workflow, window)
        Of valid events, each counted once; `window` is epoch seconds // 10.
    plain_nanos : Counter of (workflow, window)
        What a plain sum of `cost_usd` makes: duplicates count twice, an event without `cost_usd` counts 0, a
        record that is no JSON or has no workflow or time is skipped.
    """

    records: int = 0
    duplicates: int = 0
    late: int = 0
    value_bytes: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    calls: Counter[tuple[str, int]] = field(default_factory=Counter)
    nanos: Counter[tuple[str, int]] = field(default_factory=Counter)
    plain_nanos: Counter[tuple[str, int]] = field(default_factory=Counter)


class _Workflow(NamedTuple):
    name: str
    key: bytes
    partition: int
    model: Model
    head: str
    rfc3339: bool
    priced: str
    """How the gateway reports the cost: `string`, `number` or `not`."""


class _Draws(NamedTuple):
    """The random numbers of one chunk of records."""

    who: list[int]
    roll: list[float]
    gap_ms: list[float]
    late_ms: list[int]
    tokens_in: list[int]
    cached: list[float]
    tokens_out: list[int]
    error: list[float]
    customer: list[int]
    pick: list[int]
    latency: list[int]


class Traffic:
    """The records of `spec`, one after the other; `expected` grows with what was taken.

    Workflow n calls 1/n^zipf as often as the first. Six workflows in ten report `cost_usd` as a decimal string,
    two as a JSON number, two not at all; half write RFC 3339 times, half epoch seconds.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.expected = Expected()
        self._workflows = [_workflow(n, spec) for n in range(spec.workflows)]
        self._chance = np.random.Generator(np.random.PCG64(spec.seed))
        weights = 1.0 / np.arange(1, spec.workflows + 1) ** spec.zipf
        self._ladder = np.cumsum(weights / weights.sum())
        self._trace_calls = [0] * spec.workflows

    def records(self) -> Iterator[Sent]:
        """All records, then a closing event on each partition, far ahead, that ends every window."""
        spec, expected = self.spec, self.expected
        recent: deque[tuple[_Workflow, bytes, int, int]] = deque(maxlen=_RECENT)
        now, made, number = float(START_MS), 0, 0
        bad_below, duplicate_below = spec.bad, spec.bad + spec.duplicates
        late_below = duplicate_below + spec.late
        while made < spec.events:
            count = min(_CHUNK, spec.events - made)
            for draw in zip(*self._draw(count), strict=True):
                who, roll, gap, behind, tokens_in, cached, tokens_out, error, customer, pick, latency = draw
                now += gap
                if bad_below <= roll < duplicate_below and recent:
                    workflow, value, window, plain = recent[pick % len(recent)]
                    expected.duplicates += 1
                    expected.plain_nanos[workflow.name, window] += plain
                    expected.value_bytes += len(value)
                    yield Sent(workflow.partition, workflow.key, value)
                    continue
                workflow = self._workflows[who]
                at = int(now)
                if duplicate_below <= roll < late_below:
                    at -= behind
                    expected.late += 1
                if error < spec.errors:
                    tokens_in = tokens_out = 0
                read = int(tokens_in * cached)
                model = workflow.model
                nanos = (tokens_in - read) * model.input + read * model.cached + tokens_out * model.output
                calls = self._trace_calls[who]
                self._trace_calls[who] = calls + 1
                value = _value(
                    workflow,
                    number,
                    at,
                    f"{who:x}-{(calls >> 6) * 4 + pick % 4}",
                    customer,
                    (tokens_in, read, tokens_out),
                    nanos,
                    "error" if error < spec.errors else "success",
                    latency,
                )
                number += 1
                window = at // WINDOW_MS
                plain = 0 if workflow.priced == "not" else nanos
                if roll < bad_below:
                    reason = BAD[number % len(BAD)]
                    value = _spoilt(value, reason)
                    expected.bad[reason] += 1
                    if reason in _SUMMED_ALL_THE_SAME:
                        expected.plain_nanos[workflow.name, window] += plain
                else:
                    expected.calls[workflow.name, window] += 1
                    expected.nanos[workflow.name, window] += nanos
                    expected.plain_nanos[workflow.name, window] += plain
                    recent.append((workflow, value, window, plain))
                expected.value_bytes += len(value)
                yield Sent(workflow.partition, workflow.key, value)
            made += count
            expected.records = made
        yield from self._closing(int(now) + CLOSING_MS)

    def _draw(self, count: int) -> _Draws:
        chance = self._chance
        who = np.searchsorted(self._ladder, chance.random(count)).clip(max=self.spec.workflows - 1)
        # Each workflow has 16 times as many calls of its first customers as of its last.
        customer = (64 * chance.random(count) ** 2).astype(np.int64)
        return _Draws(
            who.tolist(),
            chance.random(count).tolist(),
            chance.exponential(1_000 / self.spec.rate, count).tolist(),
            chance.integers(*LATE_MS, count).tolist(),
            chance.lognormal(7, 1, count).astype(np.int64).clip(1, 100_000).tolist(),
            (chance.random(count) * 0.8).tolist(),
            chance.lognormal(5, 1, count).astype(np.int64).clip(1, 16_000).tolist(),
            chance.random(count).tolist(),
            customer.tolist(),
            chance.integers(0, 1 << 30, count).tolist(),
            chance.integers(200, 30_000, count).tolist(),
        )

    def _closing(self, at: int) -> Iterator[Sent]:
        waiting = set(range(self.spec.partitions))
        n = self.spec.workflows
        while waiting:
            workflow = _workflow(n, self.spec, CLOSING)
            n += 1
            if workflow.partition not in waiting:
                continue
            waiting.remove(workflow.partition)
            value = _value(
                workflow, self.spec.events + n, at, "closing", 0, (1_000, 0, 100), 1_000, "success", 1
            )
            expected = self.expected
            expected.records += 1
            expected.value_bytes += len(value)
            expected.calls[workflow.name, at // WINDOW_MS] += 1
            expected.nanos[workflow.name, at // WINDOW_MS] += 1_000
            expected.plain_nanos[workflow.name, at // WINDOW_MS] += 1_000
            yield Sent(workflow.partition, workflow.key, value)


_partition_of = DefaultPartitioner()


def _workflow(n: int, spec: Spec, name: str = "workflow") -> _Workflow:
    name = f"{name}-{n:04d}"
    model = MODELS[n % len(MODELS)]
    partitions = list(range(spec.partitions))
    head = (
        f'"provider":"{model.provider}","model":"{model.name}","workflow":"{name}","team":"team-{n % 23}",'
        f'"feature":"feature-{n % 211}","api_key":"key-{n % 97:02x}","environment":"production",'
        f'"gateway":"litellm-{n % 12}",'
    )
    priced = "string" if name.startswith(CLOSING) else ("string", "string", "number", "string", "not")[n % 5]
    return _Workflow(
        name,
        name.encode(),
        _partition_of(name.encode(), partitions, partitions),
        model,
        head,
        n % 4 < 2,
        priced,
    )


def _value(
    workflow: _Workflow,
    number: int,
    at_ms: int,
    trace: str,
    customer: int,
    tokens: tuple[int, int, int],
    nanos: int,
    status: str,
    latency_ms: int,
) -> bytes:
    tokens_in, cached, tokens_out = tokens
    if workflow.rfc3339:
        time = f'"{_second(at_ms // 1_000)}.{at_ms % 1_000:03d}Z"'
    else:
        time = f"{at_ms // 1_000}.{at_ms % 1_000:03d}"
    if workflow.priced == "not":
        cost = ""
    else:
        quote = '"' if workflow.priced == "string" else ""
        cost = f'"cost_usd":{quote}{nanos // 1_000_000_000}.{nanos % 1_000_000_000:09d}{quote},'
    return (
        f'{{"event_id":"chatcmpl-{number:012x}","occurred_at":{time},{workflow.head}'
        f'"customer":"customer-{customer}","trace_id":"run-{trace}","input_tokens":{tokens_in},'
        f'"cached_input_tokens":{cached},"output_tokens":{tokens_out},{cost}'
        f'"status":"{status}","attempt":1,"latency_ms":{latency_ms},"operation":"chat"}}'
    ).encode()


_seconds: dict[int, str] = {}


def _second(second: int) -> str:
    text = _seconds.get(second)
    if text is None:
        text = _seconds[second] = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return text


def _spoilt(value: bytes, reason: str) -> bytes:
    if reason == "invalid_json":
        return value[: len(value) // 2]
    if reason == "invalid_utf8":
        return value.replace(b'"customer":"c', b'"customer":"\xe9')
    if reason == "missing_field":
        return value.replace(b'"provider":', b'"vendor":', 1)
    if reason == "negative":
        return value.replace(b'"latency_ms":', b'"latency_ms":-', 1)
    if reason == "cached_exceeds_input":
        return value.replace(b'"cached_input_tokens":', b'"cached_input_tokens":9', 1).replace(
            b'"input_tokens":', b'"input_tokens":0,"spare":', 1
        )
    start = value.index(b'"occurred_at":') + len(b'"occurred_at":')
    end = value.index(b',"provider"')
    return value[:start] + b'"just now"' + value[end:]
