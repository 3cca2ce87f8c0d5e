"""The fold: raw records in, deltas per workflow and 10 s bucket out. Pure: no Kafka, no clock, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from schemas.dead_letters import DeadLetter
from schemas.events import UNATTRIBUTED, CostEvent
from schemas.money import nanos
from schemas.reasons import Refused
from schemas.rollups import BUCKET_SECONDS, Rollup, Tick
from service.ingest.dead_letter import DeadLetterLimits, dead_letter
from service.ingest.decode import decode_event
from service.ingest.dedup import SeenIds
from service.ingest.delta import EPOCH, Delta
from service.ingest.price import Priced, Pricer
from service.ingest.record import RawRecord
from service.settings import IngestSettings

_NEVER: Final = float("-inf")
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Batch:
    """What the records since the last drain amount to. `records` = `events` + `duplicates` + dead letters.

    Attributes
    ----------
    rollups : list of Rollup
        By workflow, then bucket.
    tick : Tick or None
        None when time has not moved since the last drain.
    last_offset : int or None
        Of the last record that is accounted for here; None without records.
    duplicates : int
        All of them. A rollup counts those of its workflow; a workflow without a rollup here has none to
        count them in.
    unpriced : dict of (provider, model) to int
        Calls without a price.
    """

    rollups: list[Rollup] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    tick: Tick | None = None
    last_offset: int | None = None
    records: int = 0
    events: int = 0
    duplicates: int = 0
    late: int = 0
    unattributed: int = 0
    unpriced: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Nothing to send and nothing to commit."""
        return not self.records and self.tick is None


class Fold:
    """Folds one partition of cost-events.

    What it holds becomes durable only when its owner commits what it drained together with the offsets.
    When that fails the owner throws the fold away and makes another: `remember` the last
    `settings.dedup_offsets` offsets before the committed one, then `add` from there on.

    Time: the watermark is the latest event time seen minus the allowed lateness, and never goes back. When
    nothing came for `idle_timeout_s`, it goes on at the pace of the wall, and ticks say so (`idle`). A partition
    without any event yet ticks, once idle, with the epoch as its watermark: detect leaves the watermarks of idle
    sources out of its minimum unless all are idle, and then goes by the latest of them.

    Parameters
    ----------
    partitions : int
        How many source partitions there are; ticks say so.
    topic : str
        Name of the source topic, for the origin of dead letters.
    limits : DeadLetterLimits or None
        None: refuse any number.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        settings: IngestSettings,
        pricer: Pricer,
        *,
        topic: str = "cost-events",
        limits: DeadLetterLimits | None = None,
    ) -> None:
        self.partition = partition
        self.partitions = partitions
        self._topic = topic
        self._limits = limits
        self._price = pricer.price
        self._lateness = settings.allowed_lateness_s
        self._future = settings.future_allowance_s
        self._idle_timeout = settings.idle_timeout_s
        self._seen = SeenIds(settings.dedup_offsets)
        self._watermark = _NEVER  # epoch seconds
        self._silence = 0.0  # seconds since the last record
        self._ticked: tuple[float, bool] | None = None
        self._clear()

    def _clear(self) -> None:
        self._deltas: dict[tuple[str, int], Delta] = {}
        self._dead_letters: list[DeadLetter] = []
        self._duplicates: dict[str, int] = {}
        self._unpriced: dict[tuple[str, str], int] = {}
        self._last_offset: int | None = None
        self._records = self._events = self._unattributed = self._late = 0

    @property
    def records(self) -> int:
        """Records since the last drain."""
        return self._records

    @property
    def deltas(self) -> int:
        """Workflows × buckets since the last drain: what a drain would send."""
        return len(self._deltas)

    @property
    def watermark(self) -> float:
        """How far event time has come, epoch seconds; minus infinity before the first event."""
        return self._watermark

    def remember(self, raw: RawRecord) -> None:
        """Learn from a record that was accounted for before a restart: its id and its time, nothing else."""
        try:
            event = decode_event(raw, self._future)
        except Refused:
            return
        self._seen.see(event.event_id, raw.offset)
        self._pass_time(event.occurred_at.timestamp(), raw)

    def add(self, raw: RawRecord) -> None:
        """Account for one record: in a delta, as a duplicate, or as a dead letter.

        Raises
        ------
        TooManyDeadLetters
            The limits are exceeded; nothing of this fold may be committed any more.
        """
        self._records += 1
        self._last_offset = offset = raw.offset
        self._silence = 0.0
        try:
            event = decode_event(raw, self._future)
        except Refused as refused:
            self._dead_letters.append(dead_letter(raw, self._topic, refused))
            if self._limits is not None:
                self._limits.refused(raw, refused)
            return
        if self._limits is not None:
            self._limits.accepted()
        workflow = event.workflow
        if workflow is None:
            workflow = UNATTRIBUTED
            self._unattributed += 1
        at = event.occurred_at.timestamp()
        late = at < self._watermark
        self._pass_time(at, raw)
        if self._seen.see(event.event_id, offset):
            self._duplicates[workflow] = self._duplicates.get(workflow, 0) + 1
            return
        self._events += 1
        bucket = int(at // BUCKET_SECONDS)
        delta = self._deltas.get((workflow, bucket))
        if delta is None:
            delta = self._deltas[workflow, bucket] = Delta(workflow, bucket, event, offset)
        priced = self._priced(event)
        delta.add(event, priced, offset)
        if late:
            self._late += 1
            delta.late += 1
        if priced.cost_nanos is None:
            which = event.provider, event.model
            self._unpriced[which] = self._unpriced.get(which, 0) + 1

    def _priced(self, event: CostEvent) -> Priced:
        cost = None if event.cost_usd is None else nanos(event.cost_usd)
        if event.charge is not None:  # costs what it says: no price list knows it
            return Priced(cost, 0, 0, None, 0, "gateway")
        return self._price(event, (event.occurred_at - EPOCH) // _MICROSECOND, cost)

    def _pass_time(self, at: float, raw: RawRecord) -> None:
        # A record without a broker time could not be checked for lying in the future: it moves no time.
        if at - self._lateness > self._watermark and raw.timestamp_ms >= 0:
            self._watermark = max(at - self._lateness, 0.0)

    def advance_idle(self, elapsed_wall_s: float) -> None:
        """Let wall time pass in which there was nothing to read. Call it only when the partition is read up."""
        before = self._silence
        self._silence += elapsed_wall_s
        beyond = self._silence - max(before, self._idle_timeout)
        if beyond > 0 and self._watermark > _NEVER:
            self._watermark += beyond

    @property
    def idle(self) -> bool:
        """Silent for longer than the idle timeout."""
        return self._silence > self._idle_timeout

    def drain(self) -> Batch:
        """Everything since the last drain, in an order that depends on the records alone."""
        newest = dict(sorted(self._deltas))  # the last bucket of each workflow
        batch = Batch(
            rollups=[
                delta.rollup(
                    self.partition,
                    self._duplicates.get(workflow, 0) if bucket == newest[workflow] else 0,
                )
                for (workflow, bucket), delta in sorted(self._deltas.items(), key=lambda item: item[0])
            ],
            dead_letters=self._dead_letters,
            tick=self._tick(),
            last_offset=self._last_offset,
            records=self._records,
            events=self._events,
            duplicates=sum(self._duplicates.values()),
            late=self._late,
            unattributed=self._unattributed,
            unpriced=self._unpriced,
        )
        self._clear()
        return batch

    def _tick(self) -> Tick | None:
        idle = self.idle
        if self._watermark == _NEVER and not idle:
            return None
        now = max(self._watermark, 0.0), idle
        if now == self._ticked:
            return None
        self._ticked = now
        return Tick(
            partition=self.partition,
            partitions=self.partitions,
            watermark=EPOCH + timedelta(seconds=now[0]),
            idle=idle,
        )
