"""What is remembered of one workflow, and its codec: a version byte, then MessagePack of an explicit schema."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from detectors.protocol import Detector
from detectors.registry import DETECTORS, OF_GATEWAYS
from schemas.rollups import SEPARATOR, Watched, WatchKind, scope_key
from service.detect.bucket import Bucket, Crowd
from service.detect.quality import Quality
from service.detect.recent import NOTHING_SEEN, Dumped, RecentTraces
from service.detect.traces import LeftOut, TraceTotals, drop
from service.detect.usual_shares import UsualShares
from service.errors import StateTooLarge
from service.rules.config import WorkflowConfig
from service.rules.launches import Running
from service.rules.lifecycle import Heard, Incident

VERSION: Final = 1
WIDE: Final = 2
"""The same schema as JSON: for money beyond 64 bits, which MessagePack has no room for."""
SOFT_BYTES: Final = 16_384
"""Beyond this an encoded state sheds evidence."""
HARD_BYTES: Final = 65_536
"""Beyond this it is refused: a value over Kafka's 1 MB would kill the worker again and again."""
RING: Final = 30
"""Buckets kept, 10 s each: late events still find theirs, and alerts find their last minutes."""
_GATEWAY: Final = scope_key("gateway", "")
MAX_VALUES: Final = 16
"""Values kept per dimension."""


class Totals(msgspec.Struct, array_like=True):
    """Sums since the workflow was first seen: exact, late events included. They are what is billed.

    `cost` is of calls and charges; `charge_cost` is the share of it that is charges, and `call_cost` the rest.
    """

    calls: int = 0
    errors: int = 0
    cost: int = 0
    estimated_cost: int = 0
    unpriced_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    late: int = 0
    duplicates: int = 0
    charges: int = 0
    charge_cost: int = 0

    @property
    def call_cost(self) -> int:
        return self.cost - self.charge_cost


Shares = dict[str, dict[str, list[int]]]
"""Dimension to value to [calls, nano-dollars, share of these that is known to be charges]."""


class WorkflowState(msgspec.Struct):
    """Everything Tidegate remembers of one workflow.

    Or of one scope, whose key stands for the workflow then: what is said of a workflow holds for it.

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
    shares_charges, older_shares_charges : int
        The share of it that is charges.
    month : int
        Months of UTC since the year 0. `month_cost` is its spend so far with charges, as `day_cost` is the day's.
    left_out : LeftOut
        What the traces that are not in `traces` can have cost.
    launch : Running or None
        The announced launch that runs.
    launched_until : float
        Until when the last one ran, epoch seconds: neither it nor what comes soon after teaches anything.
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
    detectors: dict[str, Detector] = {}
    over: dict[str, float] = {}
    shares_cost: int = 0
    older_shares_cost: int = 0
    shares_charges: int = 0
    older_shares_charges: int = 0
    left_out: LeftOut = msgspec.field(default_factory=LeftOut)
    quality: Quality = msgspec.field(default_factory=Quality)
    older_quality: Quality = msgspec.field(default_factory=Quality)
    crowd: Crowd = msgspec.field(default_factory=Crowd)
    usual_shares: UsualShares = msgspec.field(default_factory=UsualShares)
    month: int = 0
    month_cost: int = 0
    recent_traces: RecentTraces = msgspec.field(default_factory=RecentTraces)
    heard: dict[str, Heard] = {}
    launch: Running | None = None
    launched_until: float = 0.0
    tuned_by: WorkflowConfig | None = None
    """The configuration the detectors were last tuned by; not stored."""

    @property
    def scope(self) -> Watched | None:
        """What this is about when it is not one workflow."""
        kind, separator, value = self.workflow.partition(SEPARATOR)
        return Watched(kind=cast(WatchKind, kind), value=value) if separator else None

    @classmethod
    def fresh(cls, workflow: str) -> WorkflowState:
        return cls(workflow, detectors={name: kind(None) for name, kind in _kinds(workflow).items()})  # type: ignore[call-arg]


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
    reserved: dict[str, Any]
    """Its place in what earlier versions wrote."""
    detectors: dict[str, Any]
    over: dict[str, float] = {}
    shares_cost: int = 0
    older_shares_cost: int = 0
    shares_charges: int = 0
    older_shares_charges: int = 0
    left_out: LeftOut = msgspec.field(default_factory=LeftOut)
    quality: Quality = msgspec.field(default_factory=Quality)
    older_quality: Quality = msgspec.field(default_factory=Quality)
    crowd: Crowd = msgspec.field(default_factory=Crowd)
    usual_shares: UsualShares = msgspec.field(default_factory=UsualShares)
    month: int = 0
    month_cost: int = 0
    recent_traces: Dumped = NOTHING_SEEN
    heard: dict[str, Heard] = {}
    launch: Running | None = None
    launched_until: float = 0.0


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
    """Drop the least valuable evidence: cheap traces, small shares, names in buckets, what was seen lately.

    Money, counts, incidents and what the detectors learnt stay as they are.
    """
    culprits = {culprit for incident in state.incidents.values() for culprit in incident.culprits}
    drop(state.traces, state.left_out, traces, culprits)
    state.ended = state.ended[:traces]
    for shares in (state.shares, state.older_shares):
        for dimension, found in shares.items():
            ranking = sorted(found.items(), key=lambda item: (-item[1][1], item[0]))
            shares[dimension] = dict(ranking[:values])
    for quality in (state.quality, state.older_quality):
        quality.keep(values)
    for bucket in state.buckets[:-3]:
        if bucket.sketch or bucket.customer_sketch or bucket.by_customer or bucket.by_api_key:
            bucket.forget_names()
    for bucket in state.buckets[-3:]:
        bucket.keep_names(values)
    state.recent_traces.forget(all_of_them=not traces)
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
        {},
        {_key(type(detector)): detector.dump() for detector in state.detectors.values()},
        state.over,
        state.shares_cost,
        state.older_shares_cost,
        state.shares_charges,
        state.older_shares_charges,
        state.left_out,
        state.quality,
        state.older_quality,
        state.crowd,
        state.usual_shares,
        state.month,
        state.month_cost,
        state.recent_traces.dump(),
        state.heard,
        state.launch,
        state.launched_until,
    )
    try:
        return bytes((VERSION,)) + _ENCODER.encode(stored)
    except OverflowError:
        return bytes((WIDE,)) + msgspec.json.encode(stored)


def decode(data: bytes) -> WorkflowState:
    """Bytes to state.

    A detector that is new since the bytes were written, or dumps another format, starts fresh; one that is gone
    is forgotten.

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
            name: kind.load(stored.detectors[_key(kind)], None)
            if _key(kind) in stored.detectors
            else kind(None)  # type: ignore[call-arg]
            for name, kind in _kinds(stored.workflow).items()
        }
        recent_traces = RecentTraces.load(stored.recent_traces)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UnreadableState(str(error)) from None
    for shares in (stored.shares, stored.older_shares):
        for share in (s for values in shares.values() for s in values.values()):
            share.extend([0] * (3 - len(share)))  # written before charges were told apart
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
        detectors=detectors,
        over=stored.over,
        shares_cost=stored.shares_cost,
        older_shares_cost=stored.older_shares_cost,
        shares_charges=stored.shares_charges,
        older_shares_charges=stored.older_shares_charges,
        left_out=stored.left_out,
        quality=stored.quality,
        older_quality=stored.older_quality,
        crowd=stored.crowd,
        usual_shares=stored.usual_shares,
        month=stored.month,
        month_cost=stored.month_cost,
        recent_traces=recent_traces,
        heard=stored.heard,
        launch=stored.launch,
        launched_until=stored.launched_until,
    )


def _kinds(workflow: str) -> dict[str, type[Detector]]:
    return DETECTORS | OF_GATEWAYS if workflow.startswith(_GATEWAY) else DETECTORS


def _key(kind: type[Detector]) -> str:
    return kind.name if kind.format == 1 else f"{kind.name}.{kind.format}"
