"""What is remembered of one workflow, and its codec: a version byte, then MessagePack of an explicit schema."""

from __future__ import annotations

from typing import Any, Final

import datasketches
import msgspec

from detectors.protocol import Detector
from detectors.registry import DETECTORS
from schemas.rollups import BUCKET_SECONDS, Rollup
from service.errors import StateTooLarge
from service.rules.config import WorkflowConfig
from service.rules.lifecycle import Incident
from service.rules.throttle import ActiveThrottle

VERSION: Final = 1
WIDE: Final = 2
"""The same schema as JSON: for money beyond 64 bits, which MessagePack has no room for."""
SOFT_BYTES: Final = 16_384
"""Beyond this an encoded state sheds evidence."""
HARD_BYTES: Final = 65_536
"""Beyond this it is refused: a value over Kafka's 1 MB would kill the worker again and again."""
RING: Final = 30
"""Buckets kept, 10 s each: late events still find theirs, and alerts find their last minutes."""
MAX_TRACES: Final = 64
MAX_VALUES: Final = 16
"""Values kept per dimension."""
TRACE_IDLE_S: Final = 300.0
"""A trace without a call for this long (event time) has ended."""
_SKETCH_LG_K: Final = 10


class Bucket(msgspec.Struct, array_like=True):
    """Sums of one 10 s bucket. Money in nano-dollars, `start` in epoch seconds."""

    start: int
    calls: int = 0
    errors: int = 0
    cost: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reference: int = 0
    reference_output: int = 0
    untraced: int = 0
    sketch: bytes = b""
    traced: float = 0.0
    closed: bool = False

    @property
    def end(self) -> int:
        return self.start + BUCKET_SECONDS

    @property
    def traces(self) -> float:
        """Distinct traces plus calls without one."""
        return self.traced + self.untraced

    def forget_names(self) -> None:
        """Drop the sketch. The traces counted so far stay counted; those that come again count twice."""
        self.untraced += round(self.traced)
        self.sketch, self.traced = b"", 0.0

    def add(self, rollup: Rollup) -> None:
        self.calls += rollup.calls
        self.errors += rollup.errors
        self.cost += rollup.cost_nanos
        self.input_tokens += rollup.input_tokens
        self.cached_tokens += rollup.cached_input_tokens
        self.output_tokens += rollup.output_tokens
        self.reference += rollup.reference_cost_nanos
        self.reference_output += rollup.reference_output_nanos
        self.untraced += rollup.untraced_calls
        if rollup.traces:
            self.sketch, self.traced = merge_sketches(self.sketch, rollup.traces)


class TraceTotals(msgspec.Struct, array_like=True):
    """Running totals of an open trace: a `detectors.protocol.Trace`. Times in epoch seconds."""

    trace_id: str
    calls: int
    cost_nanos: int
    max_input_tokens: int
    started: float
    last: float
    customer: str | None = None
    model: str | None = None


class Totals(msgspec.Struct, array_like=True):
    """Sums since the workflow was first seen: exact, late events included. They are what is billed."""

    calls: int = 0
    errors: int = 0
    cost: int = 0
    estimated_cost: int = 0
    unpriced_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    late: int = 0
    duplicates: int = 0


Shares = dict[str, dict[str, list[int]]]
"""Dimension to value to [calls, nano-dollars]."""


class WorkflowState(msgspec.Struct):
    """Everything Tidegate remembers of one workflow.

    Attributes
    ----------
    applied : dict of int to int
        Per rollups partition the offset of the last record that is contained here: the guard against applying
        one twice.
    now : float
        Latest event time seen, epoch seconds. Never goes back.
    over : dict of str to float
        Per family when its last incident was resolved: the next one begins after it.
    shares_cost, older_shares_cost : int
        All spend of the time that `shares` and `older_shares` are of, that without a label too.
    """

    workflow: str
    team: str | None = None
    applied: dict[int, int] = {}
    now: float = 0.0
    totals: Totals = msgspec.field(default_factory=Totals)
    day: int = 0
    day_cost: int = 0
    buckets: list[Bucket] = []
    traces: dict[str, TraceTotals] = {}
    ended: list[TraceTotals] = []
    shares: Shares = {}
    older_shares: Shares = {}
    shares_since: float = 0.0
    incidents: dict[str, Incident] = {}
    throttles: dict[str, ActiveThrottle] = {}
    detectors: dict[str, Detector] = {}
    over: dict[str, float] = {}
    shares_cost: int = 0
    older_shares_cost: int = 0
    tuned_by: WorkflowConfig | None = None
    """The configuration the detectors were last tuned by; not stored."""

    @classmethod
    def fresh(cls, workflow: str) -> WorkflowState:
        return cls(workflow, detectors={name: kind(None) for name, kind in DETECTORS.items()})  # type: ignore[call-arg]


class _Stored(msgspec.Struct, array_like=True):
    """Version 1 as it is written. Fields are only ever added at the end, with a default."""

    workflow: str
    team: str | None
    applied: dict[int, int]
    now: float
    totals: Totals
    day: int
    day_cost: int
    buckets: list[Bucket]
    traces: list[TraceTotals]
    ended: list[TraceTotals]
    shares: Shares
    older_shares: Shares
    shares_since: float
    incidents: dict[str, Incident]
    throttles: dict[str, ActiveThrottle]
    detectors: dict[str, Any]
    over: dict[str, float] = {}
    shares_cost: int = 0
    older_shares_cost: int = 0


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODERS: Final[dict[int, msgspec.msgpack.Decoder[_Stored] | msgspec.json.Decoder[_Stored]]] = {
    VERSION: msgspec.msgpack.Decoder(_Stored),
    WIDE: msgspec.json.Decoder(_Stored),
}
_LESS: Final = ((16, 4), (4, 1), (0, 0))
"""Traces (the culprits come on top) and values per dimension that are kept, one step of need after the other."""


class UnreadableState(ValueError):
    """Bytes that no version of the codec wrote."""


def encode(state: WorkflowState, *, soft: int = SOFT_BYTES, hard: int = HARD_BYTES) -> bytes:
    """State to bytes: one version byte, then MessagePack.

    A state larger than `soft` bytes is made smaller first, as far as that helps: see `shed`.

    Raises
    ------
    StateTooLarge
        It is larger than `hard` all the same.
    """
    data = _encoded(state)
    for traces, values in _LESS:
        if len(data) <= soft:
            return data
        shed(state, traces, values)
        data = _encoded(state)
    if len(data) > hard:
        raise StateTooLarge(f"{state.workflow}: {len(data)} bytes of state, at most {hard} are kept")
    return data


def supersedes(old: WorkflowState, new: WorkflowState) -> bool:
    """Whether `new`, which comes later in the changelog, is the later state.

    It is not when a worker that was suspended beyond its session wakes up and writes once more: what its
    successor wrote contains more of the rollups, or has come further in time.
    """
    return new.now >= old.now and all(new.applied.get(p, -1) >= offset for p, offset in old.applied.items())


def shed(state: WorkflowState, traces: int = _LESS[0][0], values: int = _LESS[0][1]) -> None:
    """Drop the least valuable evidence: cheap traces, small shares, names in buckets that wait long.

    Money, counts, incidents, throttles and what the detectors learnt stay as they are.
    """
    culprits = {culprit for incident in state.incidents.values() for culprit in incident.culprits}
    ranked = sorted(state.traces.values(), key=lambda t: (-t.cost_nanos, t.trace_id))
    kept = {t.trace_id for t in ranked[:traces]} | culprits
    state.traces = {t.trace_id: t for t in state.traces.values() if t.trace_id in kept}
    state.ended = state.ended[:traces]
    for shares in (state.shares, state.older_shares):
        for dimension, found in shares.items():
            ranking = sorted(found.items(), key=lambda item: (-item[1][1], item[0]))
            shares[dimension] = dict(ranking[:values])
    for bucket in state.buckets[:-3]:
        if bucket.sketch:
            bucket.forget_names()
    if not traces:
        for trace in state.traces.values():
            trace.customer = trace.model = None


def _encoded(state: WorkflowState) -> bytes:
    stored = _Stored(
        state.workflow,
        state.team,
        state.applied,
        state.now,
        state.totals,
        state.day,
        state.day_cost,
        state.buckets,
        list(state.traces.values()),
        state.ended,
        state.shares,
        state.older_shares,
        state.shares_since,
        state.incidents,
        state.throttles,
        {name: detector.dump() for name, detector in state.detectors.items()},
        state.over,
        state.shares_cost,
        state.older_shares_cost,
    )
    try:
        return bytes((VERSION,)) + _ENCODER.encode(stored)
    except OverflowError:
        return bytes((WIDE,)) + msgspec.json.encode(stored)


def decode(data: bytes) -> WorkflowState:
    """Bytes to state.

    A detector that is new since the bytes were written starts fresh; one that is gone is forgotten.

    Raises
    ------
    UnreadableState
        Unknown version, or not of the schema.
    """
    decoder = _DECODERS.get(data[0]) if data else None
    if decoder is None:
        raise UnreadableState(f"state version {data[0] if data else 'none'}, this release reads {VERSION}")
    try:
        stored = decoder.decode(memoryview(data)[1:])
        detectors = {
            name: kind.load(stored.detectors[name], None) if name in stored.detectors else kind(None)  # type: ignore[call-arg]
            for name, kind in DETECTORS.items()
        }
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UnreadableState(str(error)) from None
    return WorkflowState(
        workflow=stored.workflow,
        team=stored.team,
        applied=stored.applied,
        now=stored.now,
        totals=stored.totals,
        day=stored.day,
        day_cost=stored.day_cost,
        buckets=stored.buckets,
        traces={trace.trace_id: trace for trace in stored.traces},
        ended=stored.ended,
        shares=stored.shares,
        older_shares=stored.older_shares,
        shares_since=stored.shares_since,
        incidents=stored.incidents,
        throttles=stored.throttles,
        detectors=detectors,
        over=stored.over,
        shares_cost=stored.shares_cost,
        older_shares_cost=stored.older_shares_cost,
    )


def merge_sketches(left: bytes, right: bytes) -> tuple[bytes, float]:
    """Union of two HyperLogLog images and its estimate. Order does not matter: registers take the maximum."""
    if not left:
        return right, float(datasketches.hll_sketch.deserialize(right).get_estimate())
    union = datasketches.hll_union(_SKETCH_LG_K)
    union.update(datasketches.hll_sketch.deserialize(left))
    union.update(datasketches.hll_sketch.deserialize(right))
    merged = union.get_result(datasketches.tgt_hll_type.HLL_4)
    return bytes(merged.serialize_compact()), float(merged.get_estimate())
