"""All traces, and what they have come to since it was last written. Reads no clock and no broker.

1. `spend` and `reach` for what is read.
2. `drain`: what must become durable together with how far it was read. Then 1. again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Final, Literal, NamedTuple

from schemas.base import MAX_INT
from schemas.events import Outcome
from schemas.outcomes import OutcomeRollup
from service.outcomes import trace as traces
from service.outcomes.trace import Place, Reached, Sums, Trace, change, digest

_PART: Final = 10_000
"""Expired traces taken at a time: nobody waits for a million of them."""


class _Open(NamedTuple):
    trace: Trace
    before: dict[Place, Sums]


@dataclass(slots=True)
class Drained:
    """What is to be written.

    Attributes
    ----------
    rollups : list of OutcomeRollup
        By workflow, kind and bucket.
    changed : dict of str to bytes or None
        Traces as they are now, by trace id; None for those that are forgotten.
    expired, dropped : int
        Traces forgotten because nothing was heard of them for long, and for want of room.
    """

    rollups: list[OutcomeRollup] = field(default_factory=list)
    changed: dict[str, bytes | None] = field(default_factory=dict)
    expired: int = 0
    dropped: int = 0


class Join:
    """Keeps each trace as the bytes that its record has: a quarter of what it takes as objects.

    Parameters
    ----------
    kept : mapping of str to bytes
        Traces as they were written, by trace id.
    max_traces : int
        With more, those go of which nothing has been heard for longest.
    """

    def __init__(self, kept: Mapping[str, bytes], max_traces: int) -> None:
        """Raises UnreadableTrace."""
        self._max_traces = max_traces
        self._reached: set[bytes] = set()
        ages: list[tuple[int, str]] = []
        for trace_id, data in kept.items():
            trace = traces.load(data)
            self._reached.update(outcome.digest for outcome in trace.reached)
            ages.append((trace.touched, trace_id))
        # In the order in which they were last heard of: the first is the first to go.
        self._kept: dict[str, bytes] = {trace_id: kept[trace_id] for _, trace_id in sorted(ages)}
        self._open: dict[str, _Open] = {}
        self._forgotten: dict[str, None] = {}
        self._expired = 0

    @property
    def traces(self) -> int:
        """Traces that are kept."""
        return len(self._kept) + len(self._open)

    @property
    def changed(self) -> int:
        """Traces of which something was heard since the last drain."""
        return len(self._open)

    def spend(
        self, trace_id: str, workflow: str, cost_nanos: int, calls: int, unpriced_calls: int, now: int
    ) -> None:
        """Add what a trace has cost. `now`: epoch seconds."""
        self._opened(trace_id, now).spend(workflow, cost_nanos, calls, unpriced_calls)

    def reach(self, outcome: Outcome, now: int) -> Literal["counted", "duplicate", "full"]:
        """Add an outcome, unless it is there already, or its trace has no room for more."""
        if digest(outcome.outcome_id) in self._reached:
            return "duplicate"
        trace = self._opened(outcome.trace_id, now)
        if trace.full:
            return "full"
        reached = Reached.of(outcome)
        trace.reach(reached)
        self._reached.add(reached.digest)
        return "counted"

    def _opened(self, trace_id: str, now: int) -> Trace:
        found = self._open.get(trace_id)
        if found is None:
            data = self._kept.pop(trace_id, None)
            trace = Trace.fresh() if data is None else traces.load(data)
            found = self._open[trace_id] = _Open(trace, trace.told())
        found.trace.touched = max(found.trace.touched, now)
        return found.trace

    def expire(self, before: int) -> None:
        """Forget traces of which nothing has been heard since `before`, epoch seconds; some of them at a time."""
        old: list[str] = []
        for trace_id, data in islice(self._kept.items(), _PART):
            if traces.load(data).touched >= before:
                break
            old.append(trace_id)
        self._forget(old)
        self._expired += len(old)

    def _forget(self, trace_ids: Iterable[str]) -> None:
        for trace_id in trace_ids:
            self._reached.difference_update(o.digest for o in traces.load(self._kept.pop(trace_id)).reached)
            self._forgotten[trace_id] = None

    def drain(self) -> Drained:
        """What has changed since the last drain. Whoever cannot write it must begin again from what was written."""
        drained = Drained(expired=self._expired)
        places: dict[Place, Sums] = {}
        full: list[tuple[Place, Sums]] = []
        for trace_id, (trace, before) in sorted(self._open.items(), key=_touched):
            for place, sums in change(before, trace.told()).items():
                known = places.get(place)
                both = sums if known is None else known.plus(sums)
                if known is not None and max(map(abs, both)) > MAX_INT:
                    full.append((place, known))
                    both = sums
                places[place] = both
            self._kept[trace_id] = drained.changed[trace_id] = traces.dump(trace)
        self._open = {}
        drained.dropped = max(len(self._kept) - self._max_traces, 0)
        self._forget(list(islice(self._kept, drained.dropped)))
        for trace_id in self._forgotten:
            if trace_id not in self._kept:  # something may have been heard of it since
                drained.changed[trace_id] = None
        self._forgotten, self._expired = {}, 0
        told = [*full, *((place, sums) for place, sums in places.items() if any(sums))]
        drained.rollups = [_rollup(place, sums) for place, sums in sorted(told)]
        return drained


def _touched(item: tuple[str, _Open]) -> int:
    return item[1].trace.touched


def _rollup(place: Place, sums: Sums) -> OutcomeRollup:
    workflow, kind, start = place
    return OutcomeRollup(
        workflow=workflow, kind=kind, bucket_start=datetime.fromtimestamp(start, UTC), **sums._asdict()
    )
