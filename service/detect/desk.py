"""One partition's workflows: applies records in order, each once, and wakes the workflows whose time has come."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from schemas.rollups import Rollup, Tick
from service.detect.state import WorkflowState
from service.detect.step import NEVER, Effects, Moment, due, step
from service.detect.watermarks import Watermarks
from service.rules.config import ConfigBook


class Table(Protocol):
    """What a desk needs of a keyed table. Setting a value makes it durable."""

    def get(self, key: str) -> WorkflowState | None: ...

    def __setitem__(self, key: str, value: WorkflowState) -> None: ...


@dataclass(slots=True)
class Applied:
    """What came of one record: who changed, and what to tell. `skipped` when it had been applied before."""

    changed: dict[str, WorkflowState] = field(default_factory=dict)
    effects: Effects = field(default_factory=Effects)
    skipped: bool = False


class Desk:
    """Applies the records of one rollups partition to the states of its workflows.

    The caller sends the effects, then stores what changed, then takes the next record. A crash between the two
    repeats the effects under the same ids; it never forgets them.

    Parameters
    ----------
    partition : int
        Of the rollups topic. Every workflow whose records come from it belongs here.
    lookup : callable
        Workflow to state, or None.
    """

    def __init__(self, partition: int, lookup: Callable[[str], WorkflowState | None]) -> None:
        self.partition = partition
        self.watermarks = Watermarks()
        self._lookup = lookup
        self._alarms: list[tuple[float, str]] = []
        self._set_for: dict[str, float] = {}

    def adopt(self, states: Iterable[WorkflowState], book: ConfigBook) -> None:
        """Take over workflows whose state was recovered: their alarms are set anew."""
        for state in states:
            if self.partition in state.applied:
                self._set_alarm(state, book)

    def apply(self, record: Rollup | Tick, offset: int, timestamp: float, book: ConfigBook) -> Applied:
        """One record of the partition.

        Parameters
        ----------
        offset, timestamp
            Of the record; the timestamp is the broker's, epoch seconds.
        """
        if isinstance(record, Rollup):
            return self._rollup(record, offset, book)
        applied = Applied()
        watermark = self.watermarks.observe(record, timestamp)
        now = self.watermarks.now
        if watermark is None:
            return applied
        for workflow in self._ringing(now):
            state = self._lookup(workflow)
            if state is None:
                continue
            if due(state, book) > now:
                self._set_alarm(state, book)
                continue
            effects = step(state, Moment(now), book)
            applied.effects.alerts += effects.alerts
            applied.changed[workflow] = state
            self._set_alarm(state, book)
        return applied

    def _rollup(self, record: Rollup, offset: int, book: ConfigBook) -> Applied:
        key = record.key
        state = self._lookup(key)
        if state is None:
            scope = record.scope
            if scope is not None and scope.kind != "gateway" and not book.watched(scope.kind):
                return Applied()  # it is folded for a budget, and nobody asked to have it judged
            state = WorkflowState.fresh(key)
        if offset <= state.applied.get(self.partition, -1):
            # Stored again all the same: the crash may have come before the changelog had it.
            self._set_alarm(state, book)
            return Applied({key: state}, skipped=True)
        effects = step(state, record, book)
        state.applied[self.partition] = offset
        self._set_alarm(state, book)
        return Applied({key: state}, effects)

    def _set_alarm(self, state: WorkflowState, book: ConfigBook) -> None:
        at = due(state, book)
        if at == NEVER:
            self._set_for.pop(state.workflow, None)
        elif at < self._set_for.get(state.workflow, NEVER):
            # One that rings too early is set again then; setting it later at once would let them pile up.
            self._set_for[state.workflow] = at
            heapq.heappush(self._alarms, (at, state.workflow))

    def _ringing(self, now: float) -> list[str]:
        found = []
        while self._alarms and self._alarms[0][0] <= now:
            at, workflow = heapq.heappop(self._alarms)
            if self._set_for.get(workflow) == at:
                del self._set_for[workflow]
                found.append(workflow)
        return found
