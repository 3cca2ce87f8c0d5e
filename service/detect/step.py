"""The pure heart of the keyed stage: one record into one workflow's state, and what the world must be told."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Final

from detectors.registry import OF_GATEWAYS
from schemas.alerts import Alert
from schemas.rollups import BUCKET_SECONDS, Rollup
from service.detect.announced import GROUPS as ANNOUNCED
from service.detect.announced import announced_signals, follow, frozen
from service.detect.answered import accept, ends_as_meant, goes_beyond, hushed, is_of, is_usual, learnt, teach
from service.detect.bucket import Bucket
from service.detect.judge import late_signals, signals, tune, window_of
from service.detect.merge import end_idle_traces, merge
from service.detect.quality import quality_signal
from service.detect.report import report
from service.detect.scoped import scoped
from service.detect.state import WorkflowState
from service.detect.stillness import silence_due, silence_signal
from service.detect.traces import TRACE_IDLE_S
from service.rules.config import ConfigBook, WorkflowConfig
from service.rules.lifecycle import (
    Family,
    Incident,
    Signal,
    Transition,
    advance,
    has_outgrown,
    hear,
    is_another,
    is_known,
    is_worse,
)

_FAMILIES: Final[tuple[Family, ...]] = ("cost", "volume", "launch", "cap", "data_quality")
NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Moment:
    """Event time has come this far for every source: epoch seconds."""

    watermark: float


@dataclass(slots=True)
class Effects:
    """Records to send. They are sent before the state is kept, so that a crash repeats rather than forgets."""

    alerts: list[Alert] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.alerts)


def step(state: WorkflowState, record: Rollup | Moment, book: ConfigBook) -> Effects:
    """Apply one record.

    Parameters
    ----------
    state : WorkflowState
        Changed in place. After an exception it must not be kept.
    record : Rollup or Moment
        A delta, judged at once with its bucket still open; or the passage of time, which closes buckets,
        teaches the detectors and moves incidents on.

    Returns
    -------
    Effects
        Depends on nothing but the arguments: the same records give the same bytes.
    """
    config = book.workflow(state.workflow, state.team)
    tune(state, config)
    effects = Effects()
    scope = state.scope
    judged = scope is None or book.watched(scope.kind)
    if isinstance(record, Rollup):
        last = record.last_event_at or record.bucket_start
        if follow(state, record, max(state.now, last.timestamp()), book):
            _end_announced(state, book, effects)
        bucket = merge(state, record)
        refuted: set[Family] = set()
        if not judged:
            found, cost = [], 0
            refuted.add("cost")
        elif bucket is None or bucket.closed:
            found, cost = late_signals(state, record, config), record.cost_nanos - record.charge_nanos
        else:
            found, as_usual, known = signals(state, window_of(state, bucket), config)
            told, as_announced = announced_signals(state, bucket, config, as_usual=as_usual, known=known)
            found, cost = found + told, bucket.cost
            if as_usual or (as_announced and not known):
                refuted.add("cost")
        if scope is not None:
            found = scoped(state, found)
        if scope is None:  # whose data it is, its workflow says
            doubt, believed = quality_signal(state.older_quality, state.quality, record, state.now, config)
            if doubt is not None:
                found.append(doubt)
            if believed:
                refuted.add("data_quality")
        elif record.calls:
            refuted.add("data_quality")  # of a scope it says one thing alone: that nothing comes
        _move(state, found, cost, config, book, effects, refuted)
    else:
        state.now = max(state.now, record.watermark)
        end_idle_traces(state, record.watermark)
        for bucket in [b for b in state.buckets if not b.closed and b.end <= record.watermark]:
            _close(state, bucket, config, learns=judged)
        if follow(state, None, state.now, book):
            _end_announced(state, book, effects)
        found, _ = announced_signals(state, None, config, as_usual=False, known=False)
        if (silent := silence_signal(state, config)) is not None:
            found.append(silent)
        _move(state, found, 0, config, book, effects)
    return effects


def due(state: WorkflowState, book: ConfigBook) -> float:
    """Watermark at which this workflow next needs a `Moment`, epoch seconds; `NEVER` when nothing waits."""
    config = book.workflow(state.workflow, state.team)
    times = [incident.due(config) for incident in state.incidents.values()]
    if state.launch is not None:
        times.append(state.launch.ends)
    first = None
    for bucket in reversed(state.buckets):  # they are in order, and are closed in order
        if bucket.closed:
            break
        first = bucket
    if first is not None:
        times.append(float(first.end))
    if (alarm := silence_due(state, config)) is not None:
        times.append(alarm)
    if not times and state.traces:  # with anything else to wait for, idle traces are seen then
        times.append(min(t.last for t in state.traces.values()) + TRACE_IDLE_S)
    return min(times, default=NEVER)


def _close(state: WorkflowState, bucket: Bucket, config: WorkflowConfig, *, learns: bool) -> None:
    # Judged it was with its last rollup, and nothing has come since: closing only teaches.
    if state.launch is not None:
        state.launch.learn(bucket.end, bucket.cost, bucket.begun)
    learning = learnt(state, bucket, config)
    if learning == "all" and frozen(state, bucket):
        learning = "spread"
    window = window_of(state, bucket, finished=True)
    for name, detector in state.detectors.items():
        if name in OF_GATEWAYS:
            detector.learn(window)  # neither a price nor an incident changes when its calls come
        elif learns:
            teach(detector, window, learning)
    if learns and is_usual(state, config):
        accept(state)
    state.ended = []
    if learning == "all":
        state.crowd.learn(bucket.customers)
    bucket.closed = True
    bucket.forget_names()


def _move(
    state: WorkflowState,
    found: list[Signal],
    cost_of_bucket: int,
    config: WorkflowConfig,
    book: ConfigBook,
    effects: Effects,
    refuted: Collection[Family] = (),
) -> None:
    if not found and not state.incidents:
        return  # so it is nearly always
    for family in _FAMILIES:
        signal = next((s for s in found if s.family == family), None)
        before = state.incidents.get(family)
        if before is None and (signal is None or is_known(signal, state.heard, state.now)):
            continue
        now = state.now
        if signal is not None:
            heard = state.heard
            signal = hushed(signal, before, config, now)
            beyond = before is not None and goes_beyond(before, signal, config, now)
            if before is not None and (
                beyond
                or ends_as_meant(before, signal, config, now)
                or (is_another(before, signal, heard, now) and not is_of(before, signal, config, now))
                or is_worse(before, signal, heard, now)
                or has_outgrown(before, signal, now)
            ):
                _end(before, state, book, effects)
                before = None
            told = heard.get(signal.group)
            if (
                before is None
                and not beyond
                and signal.severity == "critical"
                and told is not None
                and not told.news(signal, now)
            ):
                signal = replace(signal, severity="warning")
            signal = _placed(state, signal)
            now = max(now, signal.started)
        culprits = len(before.culprits) if before is not None else 0
        incident, transition = advance(before, signal, state.workflow, now, config, refuted=family in refuted)
        if incident is None:
            state.incidents.pop(family, None)
            continue
        if incident is not before:
            incident.cost_before = state.totals.call_cost - _cost_since(
                state, incident.started, cost_of_bucket
            )
        state.incidents[family] = incident
        if signal is not None and incident.status == "firing":
            hear(state.heard, signal, state.now)  # what is pending nobody was told of
        if transition == "resolved" and family == "data_quality" and family in refuted:
            state.heard.pop(incident.group, None)  # it was mended: when it breaks again, that is news
        if transition is not None:
            _tell(state, family, transition, book, effects)
        elif incident.status == "firing" and len(incident.culprits) > culprits:
            # Whoever stops them must not wait for a new culprit until the alert is due again.
            incident.last_sent, incident.sequence = now, incident.sequence + 1
            _tell(state, family, "repeated", book, effects)


def _end_announced(state: WorkflowState, book: ConfigBook, effects: Effects) -> None:
    """What is of a launch ends with it, and says what it came to."""
    for incident in [i for i in state.incidents.values() if i.group in ANNOUNCED]:
        if incident.status == "firing":
            _end(incident, state, book, effects)
        else:
            del state.incidents[incident.family]


def _end(incident: Incident, state: WorkflowState, book: ConfigBook, effects: Effects) -> None:
    """Resolve an incident now, for another one has begun."""
    incident.status, incident.resolved = "resolved", state.now
    incident.last_sent, incident.sequence = state.now, incident.sequence + 1
    _tell(state, incident.family, "resolved", book, effects)


def _placed(state: WorkflowState, signal: Signal) -> Signal:
    """The signal, begun no earlier than its spend is known, nor than the last incident of its family was over."""
    started = signal.started
    if state.buckets:
        started = max(started, float(state.buckets[0].start))
    if signal.family in state.over:
        started = max(started, state.over[signal.family] + 0.001)
    return signal if started == signal.started else replace(signal, started=started)


def _tell(
    state: WorkflowState, family: Family, transition: Transition, book: ConfigBook, effects: Effects
) -> None:
    incident = state.incidents[family]
    alert = report(state, incident, book.version)
    if transition == "resolved":
        del state.incidents[family]
        state.over[family] = state.now
        if incident.group in ANNOUNCED:
            state.heard.pop(incident.group, None)  # the next launch, or a new cap, is news
        # What it did is not what a trace of this workflow usually does.
        state.ended = [t for t in state.ended if t.trace_id not in incident.culprits]
    effects.alerts.append(alert)


def _cost_since(state: WorkflowState, started: float, at_least: int) -> int:
    first = int(started) // BUCKET_SECONDS * BUCKET_SECONDS
    return max(at_least, sum(b.cost for b in state.buckets if b.start >= first))
