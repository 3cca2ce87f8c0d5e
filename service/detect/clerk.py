"""Takes the records of all assigned partitions to their desks, and the results to the outbox and the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from schemas.decode import parse_object, validate
from schemas.outcomes import OutcomeRollup
from schemas.reasons import Reason, Refused
from schemas.rollups import Rollup, Tick
from service.detect.desk import Applied, Desk
from service.detect.effects import Outbox
from service.detect.state import WorkflowState
from service.rules.config import ConfigBook
from service.runtime import metrics
from service.runtime.clock import Clock


class WorkflowTable(Protocol):
    """What the clerk needs of the keyed table: `__setitem__` writes the changelog."""

    def get(self, key: str) -> WorkflowState | None: ...

    def __setitem__(self, key: str, value: WorkflowState) -> None: ...

    def __len__(self) -> int: ...

    def items_of(self, partition: int) -> Iterator[tuple[str, Any]]: ...


class Clerk:
    """One record at a time: apply, send the effects, store what changed."""

    def __init__(
        self, table: WorkflowTable, outbox: Outbox, book: Callable[[], ConfigBook], clock: Clock
    ) -> None:
        self._table = table
        self._outbox = outbox
        self._book = book
        self._clock = clock
        self._desks: dict[int, Desk] = {}
        self.handled = 0
        self.positions: dict[int, int] = {}
        """Partition to the offset of the last record handled."""

    def reassigned(self, _partitions: Iterable[int] = ()) -> None:
        """The assignment changed and tables were recovered: every desk is set up anew from the table."""
        self._desks = {}
        self.positions = {}

    async def handle(
        self, partition: int, offset: int, timestamp: float, key: bytes | None, value: bytes | None
    ) -> None:
        """Apply one record of the rollups topic.

        Parameters
        ----------
        timestamp : float
            The broker's, epoch seconds.
        """
        self.handled += 1
        self.positions[partition] = offset
        try:
            record = _read(value)
        except Refused as refused:
            await self._outbox.refuse(partition, offset, timestamp, key, value, refused)
            return
        if isinstance(record, OutcomeRollup):
            metrics.DETECT_RECORDS.labels(record.type).inc()
            return  # calls that were judged already, by what they led to
        desk = self._desks.get(partition) or self._open(partition)
        with metrics.DETECT_STEP_SECONDS.time():
            applied = desk.apply(record, offset, timestamp, self._book())
        if applied.effects:
            # Before the state is kept: a crash in between says it twice under the same id, never not at all.
            await self._outbox.send(applied.effects)
        for workflow, state in applied.changed.items():
            self._table[workflow] = state
        self._count(record, applied, desk)

    def _open(self, partition: int) -> Desk:
        desk = self._desks[partition] = Desk(partition, self._table.get)
        desk.adopt((state for _, state in self._table.items_of(partition)), self._book())
        return desk

    def _count(self, record: Rollup | Tick, applied: Applied, desk: Desk) -> None:
        metrics.DETECT_RECORDS.labels(record.type).inc()
        metrics.DETECT_WORKFLOWS.set(len(self._table))
        if applied.skipped:
            metrics.DETECT_SKIPPED.inc()
        if isinstance(record, Tick) and desk.watermarks.now:
            metrics.DETECT_WATERMARK_AGE.set(self._clock.now().timestamp() - desk.watermarks.now)


def read_rollup(value: bytes | None) -> Rollup | Tick:
    """A record of the rollups topic that is judged. Raises Refused."""
    record = _read(value)
    if isinstance(record, OutcomeRollup):
        raise Refused(Reason.INVALID_VALUE, "expected rollup, scope or tick", "type")
    return record


def _read(value: bytes | None) -> Rollup | Tick | OutcomeRollup:
    document = parse_object(value, max_bytes=Rollup.max_bytes)
    match document.get("type"):
        case "rollup" | "scope":
            return validate(Rollup, document)
        case "tick":
            return validate(Tick, document)
        case "outcome":
            return validate(OutcomeRollup, document)
        case None:
            raise Refused(Reason.MISSING_FIELD, "expected rollup, scope, tick or outcome", "type")
        case _:
            raise Refused(Reason.INVALID_VALUE, "expected rollup, scope, tick or outcome", "type")
