"""Announced launches: when one begins and ends, and what is told of it. `service.rules.launches` has the sums."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from schemas.money import nanos
from schemas.rollups import BUCKET_SECONDS, Rollup
from service.detect.bucket import Bucket
from service.detect.judge import WAKE_S, busy_rate, recent_rate, usual_rate
from service.detect.state import WorkflowState
from service.detect.words import clock, dollars, name, times
from service.rules.config import ConfigBook, WorkflowConfig
from service.rules.launches import RUNAWAY, Running
from service.rules.lifecycle import MAX_CULPRITS, Signal

NOTICE: Final = "announced"
_VOLUME: Final = "announced_volume"
_CAP: Final = "announced_cap"
COST: Final = "announced_cost"
GROUPS: Final = (NOTICE, _VOLUME, _CAP, COST)
"""What ends with the launch it is of."""
DETECTOR: Final = "launch"
_OVER: Final = 0.75
"""A cost per trace beyond the announced is over when it is below this share of the threshold."""


def follow(state: WorkflowState, record: Rollup | None, at: float, book: ConfigBook) -> bool:
    """Begin the launch that covers an instant, keep up with its record, or end the one that no longer does.

    Parameters
    ----------
    record : Rollup or None
        What is about to be merged: a launch begins with the first delta within it, whose cost is its own.
    at : float
        Event time, epoch seconds.

    Returns
    -------
    bool
        One has ended.
    """
    running = state.launch
    if running is None and not book.launches:
        return False
    launch = None if state.scope is not None else book.launch(state.workflow, datetime.fromtimestamp(at, UTC))
    ended = running is not None and (launch is None or launch.name != running.name)
    if running is not None and ended:
        # Buckets of it that are still open hold its volume.
        state.launched_until = min(running.ends, at) if running.known else state.launched_until
        state.launch = running = None
    if launch is None:
        return ended
    if running is not None:
        running.read(launch)
    elif record is not None and record.calls:
        start = record.bucket_start.timestamp()
        if start + BUCKET_SECONDS > launch.starts_at.timestamp():
            known = usual_rate(state, start) > 0
            state.launch = Running.of(launch, start, state.totals.call_cost, known=known)
    return ended


def frozen(state: WorkflowState, bucket: Bucket) -> bool:
    """Whether a bucket is of a launch: what is known of the workflow must not learn from it."""
    running = state.launch
    if running is not None and running.known and bucket.end > running.began:
        return True
    # What goes on after its end is told only later, and must not have become the usual by then.
    return bucket.start < state.launched_until + WAKE_S


def announced_signals(
    state: WorkflowState, bucket: Bucket | None, config: WorkflowConfig, *, as_usual: bool, known: bool
) -> tuple[list[Signal], bool]:
    """What is told of the launch that runs.

    Parameters
    ----------
    bucket : Bucket or None
        The open one that is judged; None when only time has passed.
    as_usual, known : bool
        What the detectors say of unit cost: that it is as usual; that they know what is usual.

    Returns
    -------
    (list of Signal, bool)
        And whether the cost per trace was looked at and is as announced.
    """
    running = state.launch
    if running is None or not config.enabled:
        return [], False
    spent = state.totals.call_cost - running.cost_before
    now = max(state.now, running.began)
    start = now if bucket is None else max(float(bucket.start), running.began)
    end, cost, traces = (now, 0.0, 0.0) if bucket is None else (bucket.end, float(bucket.cost), bucket.begun)
    recent, begun, seconds = running.lately(end, cost, traces)
    usual, floor = usual_rate(state, start), max(nanos(config.min_excess_usd), 1)
    found = [_notice(state, running, now)]
    multiple, over = running.volume_over(recent, seconds, usual, busy_rate(state), floor)
    if multiple:
        note = f"it was announced as {times(running.multiple)} the usual, and is {times(multiple)}"
        found.append(
            Signal(
                family="launch",
                kind="launch",
                severity="warning",
                detector=DETECTOR,
                score=multiple,
                threshold=running.multiple,
                started=start,
                excess_nanos=over,
                note=note,
                group=_VOLUME,
            )
        )
    if not running.within(spent):
        note = (
            f"launch {name(running.name)} has spent {dollars(spent)} of the {dollars(running.cap)} announced"
        )
        found.append(
            Signal(
                family="cap",
                kind="budget_exhausted",
                severity="critical",
                detector=DETECTOR,
                score=spent / running.cap,
                threshold=1.0,
                started=start,
                excess_nanos=spent - running.cap,
                note=note,
                group=_CAP,
            )
        )
    if bucket is None:
        return found, False
    ratio, threshold, over = running.unit_over(recent, begun, floor)
    if ratio >= threshold:
        each, unit = dollars(round(recent / begun)), dollars(running.unit)
        found.append(
            Signal(
                family="cost",
                kind="cost_per_trace",
                # Somebody may have announced what was never true: then it is no news that has to wake anybody.
                severity="warning" if as_usual else "critical",
                detector=DETECTOR,
                score=ratio,
                threshold=threshold,
                started=start,
                excess_nanos=over,
                note=f"traces cost {each} each, {times(ratio)} the {unit} announced",
                group=COST,
            )
        )
    elif not known and (runaway := _runaway(state, running, bucket, config)) is not None:
        found.append(runaway)
    return found, running.unit > 0 and begun > 0.0 and ratio < _OVER * threshold


def _notice(state: WorkflowState, running: Running, now: float) -> Signal:
    usual = usual_rate(state, now)
    multiple = recent_rate(state) / usual if usual >= 1.0 else 0.0
    until = f"{dollars(running.cap)} until {clock(running.ends, now)}"
    return Signal(
        family="volume",
        kind="launch",
        severity="info",
        detector=DETECTOR,
        score=min(multiple, running.multiple),  # beyond it is told by another
        threshold=running.multiple,
        started=running.began,
        excess_nanos=0,
        note=f"announced by {name(running.owner)} as {name(running.name)} with {until}",
        group=NOTICE,
    )


def _runaway(state: WorkflowState, running: Running, bucket: Bucket, config: WorkflowConfig) -> Signal | None:
    least = nanos(config.trace_min_usd)
    guilty = [
        t
        for t in state.traces.values()
        if t.last >= bucket.start and t.cost_nanos >= least and running.runs_away(t.cost_nanos)
    ]
    over = sum(t.cost_nanos - running.unit for t in guilty)
    if not guilty or over < nanos(config.min_excess_usd):
        return None
    guilty.sort(key=lambda t: (-t.cost_nanos, t.trace_id))
    ratio = guilty[0].cost_nanos / running.unit
    return Signal(
        family="cost",
        kind="runaway_trace",
        severity="critical",
        detector=DETECTOR,
        score=ratio,
        threshold=RUNAWAY,
        started=min(t.started for t in guilty),
        excess_nanos=over,
        culprits=tuple(t.trace_id for t in guilty[:MAX_CULPRITS]),
        note=f"a trace costs {times(ratio)} the {dollars(running.unit)} announced",
        group="trace",
    )
