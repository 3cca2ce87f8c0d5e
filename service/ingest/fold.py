"""The fold: raw records in, deltas per workflow, watched scope and 10 s bucket out. No Kafka, no clock, no I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from operator import attrgetter
from typing import Final

from schemas.dead_letters import DeadLetter
from schemas.events import UNATTRIBUTED
from schemas.reasons import Refused
from schemas.rollups import BUCKET_SECONDS, PriceFaultKind, Rollup, Tick
from service.ingest.call import Call
from service.ingest.dead_letter import DeadLetterLimits, dead_letter
from service.ingest.dedup import SeenIds
from service.ingest.delta import Delta
from service.ingest.instant import EPOCH
from service.ingest.price import Priced, Pricer
from service.ingest.pulse import Pulses
from service.ingest.reading import Reader
from service.ingest.record import RawRecord, Record
from service.ingest.scopes import Scopes, Watching
from service.settings import IngestSettings

_NEVER: Final = -1
_S: Final = 1_000_000
_BUCKET: Final = BUCKET_SECONDS * _S
_TICK_S: Final = 60
"""Time between the ticks of a batch that catches up with several partitions. Each tick goes to every partition of
the rollups: one for each bucket would be as many records as all rollups of a few workflows, and while partitions
catch up side by side detect's time moves in steps of minutes anyway (`pace.STEP_S`)."""
_FULL: Final = 1 << 62
"""Nano-dollars beyond which a delta is closed and another begun: the contract's integers have 63 bits. A gateway
that writes nano-dollars as dollars gets there."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What the records since the last drain amount to.

    `records` + `surplus` = `events` + `duplicates` + dead letters.

    Attributes
    ----------
    deltas : list of Delta
        By bucket, then workflow: what becomes rollups.
    scopes : list of Delta
        Of watched scopes and of gateways, in the same order. They count calls and money of `deltas` again: they
        are sent, and never summed with these.
    tick : Tick or None
        None when time has not moved since the last drain.
    since : float or None
        The watermark of the tick before, epoch seconds; None when this is the fold's first.
    last_offset : int or None
        Of the last record that is accounted for here; None without records.
    duplicates : int
        All of them. A rollup counts those of its workflow; a workflow without a rollup here has none to
        count them in.
    surplus : int
        Events beyond one per record: a foreign record may hold many, or none.
    faults : dict of (kind, provider, model) to int
        Calls without a price, or with one that is hard to believe.
    """

    deltas: list[Delta] = field(default_factory=list)
    scopes: list[Delta] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    tick: Tick | None = None
    since: float | None = None
    last_offset: int | None = None
    records: int = 0
    surplus: int = 0
    events: int = 0
    duplicates: int = 0
    late: int = 0
    unattributed: int = 0
    faults: dict[tuple[PriceFaultKind, str, str], int] = field(default_factory=dict)

    @property
    def rollups(self) -> list[Rollup]:
        """The deltas as validated records; `Delta.to_json` makes the same bytes at a tenth of the cost."""
        return [delta.rollup() for delta in self.deltas]

    def in_time(self) -> Iterator[Delta | Tick]:
        """The deltas, and the passage of time between them, as a reader should see them.

        A batch of live traffic has one tick, the last. One that catches up may span hours; told of them only at
        its end, the reader would have to keep all its buckets open until then. So a tick also stands before
        a bucket when time has come at least a minute on since the tick before it: nothing of what this batch
        knows to be earlier is still to come, late events included, for they stand with their bucket. Where there
        is one partition, as in a replay, detect's time is its own, and goes on with each bucket, as live.
        """
        deltas = sorted([*self.deltas, *self.scopes], key=_in_order) if self.scopes else self.deltas
        if self.tick is not None and deltas:
            tick, end = self.tick, self.tick.watermark.timestamp()
            step = BUCKET_SECONDS if tick.partitions == 1 else _TICK_S
            told = self.since if self.since is not None else float(deltas[0].bucket * BUCKET_SECONDS)
            for delta in deltas:
                start = delta.bucket * BUCKET_SECONDS
                if told + step <= start < end:
                    told = float(start)
                    yield Tick(
                        partition=tick.partition,
                        partitions=tick.partitions,
                        watermark=EPOCH + timedelta(seconds=start),
                    )
                yield delta
        else:
            yield from deltas
        if self.tick is not None:
            yield self.tick

    @property
    def empty(self) -> bool:
        """Nothing to send and nothing to commit."""
        return not self.records and self.tick is None


class Fold:
    """Folds one partition of cost-events.

    What it holds becomes durable only when its owner commits what it drained together with the offsets.
    When that fails the owner throws the fold away and makes another: `remember` the last
    `settings.dedup_offsets` offsets before the committed one, then `take` from there on.

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
    watching : Watching or None
        What is folded besides workflows; looked at again before each `take`. None: nothing, now and ever.
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
        watching: Watching | None = None,
    ) -> None:
        self.partition = partition
        self.partitions = partitions
        self._topic = topic
        self._limits = limits
        self._pricer = pricer
        self._lateness = round(settings.allowed_lateness_s * _S)
        self._reader = Reader(settings.adapter, settings.future_allowance_s)
        self._idle_timeout = settings.idle_timeout_s
        self._seen = SeenIds(settings.dedup_offsets)
        self._scopes = Scopes(partition, partitions, watching or Watching())
        self._pulses = Pulses(partition)
        self._watermark = _NEVER  # epoch microseconds, like all times here
        self._silence = 0.0  # seconds since the last record
        self._ticked: tuple[int, bool] | None = None
        self._clear()

    def _clear(self) -> None:
        self._deltas: dict[tuple[str, int], Delta] = {}
        self._full: list[Delta] = []
        self._dead_letters: list[DeadLetter] = []
        self._duplicates: dict[str, int] = {}
        self._last_offset: int | None = None
        self._records = self._events = self._unattributed = self._late = 0

    @property
    def records(self) -> int:
        """Records since the last drain."""
        return self._records

    @property
    def deltas(self) -> int:
        """Workflows × buckets since the last drain: what a drain would send."""
        return len(self._deltas) + len(self._full)

    @property
    def watermark(self) -> float:
        """How far event time has come, epoch seconds; minus infinity before the first event."""
        return self._watermark / _S if self._watermark != _NEVER else float("-inf")

    def remember(self, records: Sequence[Record]) -> None:
        """Learn from records that were accounted for before a restart: their ids and times, who spends enough to
        be watched, and what gateways did in buckets that are not over."""
        known = [
            (record, outcome)
            for record, outcome in zip(*self._reader.read(records), strict=True)
            if isinstance(outcome, Call)
        ]
        for record, call in known:
            if record.timestamp >= 0:
                self._watermark = max(self._watermark, call.at - self._lateness, 0)
        again = self._seen.see([call.event_id for _, call in known], [record.offset for record, _ in known])
        self._scopes.refresh(self.partitions)
        needs_past, pulses = self._scopes.needs_past, self._pulses
        for (record, call), is_again in zip(known, again, strict=True):
            if is_again:
                continue
            if needs_past:
                priced = self._pricer.price_call(call) if call.charge is None else None
                cost = call.cost_nanos if priced is None else priced.cost_nanos
                self._scopes.learn(call, cost or 0)
            # At the gateway's own price: asking the list's for each of half a million records takes a second.
            if call.gateway is not None and call.charge is None:
                pulses.beat(call.gateway, call, call.cost_nanos or 0, record.offset)
        pulses.over(self._watermark)  # were sent before the restart

    def take(self, records: Sequence[Record]) -> None:
        """Account for each record: in a delta, as a duplicate, or as a dead letter.

        Raises
        ------
        TooManyDeadLetters
            The limits are exceeded; nothing of this fold may be committed any more.
        """
        if not records:
            return
        calls, offsets, late = self._sifted(records)
        again = self._seen.see([call.event_id for call in calls], offsets)
        pricer, deltas, partition = self._pricer, self._deltas, self.partition
        scopes, pulses = self._scopes, self._pulses
        scopes.refresh(self.partitions)
        watching = scopes.anything
        for call, offset, is_late, is_again in zip(calls, offsets, late, again):  # noqa: B905  # see ADR 8
            workflow = call.workflow
            if workflow is None:
                workflow = UNATTRIBUTED
                self._unattributed += 1
            if is_again:
                self._duplicates[workflow] = self._duplicates.get(workflow, 0) + 1
                continue
            at = call.at
            place = workflow, at // _BUCKET
            delta = deltas.get(place)
            if delta is None:
                delta = deltas[place] = Delta(partition, *place, at, offset)
            if call.charge is None:
                priced: Priced | None = pricer.price_call(call)
                assert priced is not None
                delta.add(call, priced, offset)
            else:
                priced = None
                delta.charge(call, offset)
            counted = watching and scopes.add(call, priced, place[1], offset, is_late)
            gateway = call.gateway
            if gateway is not None and priced is not None and not counted:
                pulses.beat(gateway, call, priced.cost_nanos or 0, offset)
            if is_late:
                self._late += 1
                delta.late += 1
            if delta.cost_nanos > _FULL or delta.reference_cost_nanos > _FULL:
                self._full.append(deltas.pop(place))
        self._events += again.count(False)
        self._records += len(records)
        self._last_offset = records[-1].offset
        self._silence = 0.0

    def _sifted(self, records: Sequence[Record]) -> tuple[list[Call], list[int], list[bool]]:
        """The calls of records, their offsets, and whether each came late; the rest become dead letters."""
        calls: list[Call] = []
        offsets: list[int] = []
        late: list[bool] = []
        watermark, lateness, readable = self._watermark, self._lateness, 0
        whose, outcomes = self._reader.read(records)
        for record, outcome in zip(whose, outcomes):  # noqa: B905  # see ADR 8
            if not isinstance(outcome, Call):
                self._accepted(readable)
                readable = 0
                self._refuse(record, outcome)
                continue
            readable += 1
            at = outcome.at
            calls.append(outcome)
            offsets.append(record.offset)
            late.append(at < watermark)
            # A record without a broker time could not be checked for lying in the future: it moves no time.
            if at - lateness > watermark and record.timestamp >= 0:
                watermark = max(at - lateness, 0)
        self._accepted(readable)
        self._watermark = watermark
        return calls, offsets, late

    def _accepted(self, count: int) -> None:
        if self._limits is not None:
            self._limits.accepted(count)

    def _refuse(self, record: Record, why: Refused) -> None:
        raw = RawRecord(
            self.partition, record.offset, record.timestamp, record.key, record.value, record.headers
        )
        self._dead_letters.append(dead_letter(raw, self._topic, why))
        if self._limits is not None:
            self._limits.refused(raw, why)

    def advance_idle(self, elapsed_wall_s: float, *, silent: bool = False) -> None:
        """Let wall time pass in which there was nothing to read. Call it only when the partition is read up.

        `silent`: it is known to have had nothing new for longer than the idle timeout. It is idle at once then;
        its watermark stays where it is, and goes on from there.
        """
        if silent:
            self._silence = max(self._silence, math.nextafter(self._idle_timeout, math.inf))
        before = self._silence
        self._silence += elapsed_wall_s
        beyond = self._silence - max(before, self._idle_timeout)
        if beyond > 0 and self._watermark != _NEVER:
            self._watermark += round(beyond * _S)

    @property
    def idle(self) -> bool:
        """Silent for longer than the idle timeout."""
        return self._silence > self._idle_timeout

    def drain(self) -> Batch:
        """Everything since the last drain, in an order that depends on the records alone."""
        deltas = sorted([*self._full, *self._deltas.values()], key=_in_order)
        newest = {delta.workflow: delta for delta in deltas}
        for workflow, duplicates in self._duplicates.items():
            if workflow in newest:
                newest[workflow].duplicates = duplicates
        since = self._ticked[0] / _S if self._ticked is not None else None
        scopes = sorted([*self._scopes.drain(), *self._pulses.over(self._watermark)], key=_in_order)
        batch = Batch(
            deltas=deltas,
            scopes=scopes,
            dead_letters=self._dead_letters,
            tick=self._tick(),
            since=since,
            last_offset=self._last_offset,
            records=self._records,
            surplus=self._events + sum(self._duplicates.values()) + len(self._dead_letters) - self._records,
            events=self._events,
            duplicates=sum(self._duplicates.values()),
            late=self._late,
            unattributed=self._unattributed,
            faults=_faults(deltas),
        )
        self._clear()
        return batch

    def _tick(self) -> Tick | None:
        idle = self.idle
        if self._watermark == _NEVER and not idle:
            return None
        now = max(self._watermark, 0), idle
        if now == self._ticked:
            return None
        self._ticked = now
        return Tick(
            partition=self.partition,
            partitions=self.partitions,
            watermark=EPOCH + timedelta(microseconds=now[0]),
            idle=idle,
        )


_in_order: Final = attrgetter("bucket", "workflow", "first_offset")


def _faults(deltas: Sequence[Delta]) -> dict[tuple[PriceFaultKind, str, str], int]:
    found: dict[tuple[PriceFaultKind, str, str], int] = {}
    for delta in deltas:
        for which, sums in delta.faults.items():
            found[which] = found.get(which, 0) + sums.calls
    return found
