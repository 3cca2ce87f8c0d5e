"""History through several configurations at once: read and folded once, judged by each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from schemas.alerts import Alert
from schemas.rollups import BUCKET_SECONDS, Rollup, Tick
from service.backtest.judge import Panel
from service.backtest.side import Side, Verdict
from service.ingest.delta import Delta
from service.replay import Effects, Replay
from service.rules.config import ConfigBook
from service.settings import IngestSettings

MINUTE_S: Final = 60


@dataclass
class Seen:
    """What went by, whoever judged it. Small enough to hand to another process.

    Attributes
    ----------
    first, last : dict of str to float
        Of each workflow, the begin of its first bucket with calls and the end of its last, epoch seconds.
    cost_of : dict of str to int
        What each workflow has spent, nano-dollars.
    spend : dict of str to dict of int to int
        Of each workflow or scope, nano-dollars by minute since the epoch. Empty unless it was asked for.
    """

    records: int = 0
    events: int = 0
    refused: int = 0
    cost_nanos: int = 0
    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    spend: dict[str, dict[int, int]] = field(default_factory=dict)
    cost_of: dict[str, int] = field(default_factory=dict)

    @property
    def begin(self) -> float | None:
        return min(self.first.values(), default=None)

    @property
    def end(self) -> float | None:
        return max(self.last.values(), default=None)

    def note(self, record: Rollup | Delta, *, spend: bool) -> None:
        """One rollup. Scopes count calls a second time, and are left out of all but their own spend."""
        if isinstance(record, Delta):
            key, start = record.workflow, float(record.bucket * BUCKET_SECONDS)
        else:
            key, start = record.key, record.bucket_start.timestamp()
        if record.scope is None:
            self.cost_nanos += record.cost_nanos
            self.cost_of[key] = self.cost_of.get(key, 0) + record.cost_nanos
            if start < self.first.get(key, float("inf")):
                self.first[key] = start
            if start + BUCKET_SECONDS > self.last.get(key, 0.0):
                self.last[key] = start + BUCKET_SECONDS
        if spend:
            minutes = self.spend.setdefault(key, {})
            minute = int(start) // MINUTE_S
            minutes[minute] = minutes.get(minute, 0) + record.cost_nanos - record.charge_nanos


@dataclass
class Judged:
    """What a history came to, by configuration in the order in which they were given."""

    seen: Seen
    verdicts: list[Verdict]


class Sides:
    """Several configurations that are given the same records, and judge them here."""

    def __init__(self, sides: Sequence[Side], *, spend: bool = False) -> None:
        self.sides = sides
        self.seen = Seen()
        self._spend = spend
        self._panel = Panel([side.judge for side in sides])

    def take(
        self, told: Rollup | Delta | Tick, offset: int, timestamp: float = 0.0, partition: int = 0
    ) -> None:
        """One record, in the order of its partition: as it was read, or as the fold has it."""
        if not isinstance(told, Tick):
            self.seen.note(told, spend=self._spend)
        record = told.rollup() if isinstance(told, Delta) else told
        heard = self._panel.take(record, offset, timestamp, partition)
        for side, alerts in zip(self.sides, heard, strict=True):
            if alerts:
                side.hear(alerts)

    def pass_time(self, now: float) -> None:
        """Event time has come this far, epoch seconds."""
        for side in self.sides:
            side.turn(now)

    def hold(self, instant: float) -> None:
        """Go by the records that hold at an instant, epoch seconds."""
        for side in self.sides:
            side.hold(instant)

    def judged(self) -> Judged:
        """What it came to. Raises TidegateError."""
        return Judged(self.seen, [side.verdict() for side in self.sides])

    def close(self) -> None:
        """Let go of what it holds: it is not asked any more."""


class Folded(Replay):
    """A replay of cost events that leaves judging to several sides.

    Parameters
    ----------
    book : ConfigBook
        Whose prices and watches the events are folded with: those of all sides, or the difference is not seen.
    """

    def __init__(self, book: ConfigBook, sides: Sides, settings: IngestSettings | None = None) -> None:
        super().__init__(book, settings)
        self.sides = sides

    def drain(self) -> Effects:
        """Judge everything fed so far. The effects are the sides', so there are none here."""
        if self._waiting:
            self._take()
        self.sides.hold(self._fold.watermark)
        effects = super().drain()
        self.sides.pass_time(self._drained_at)
        return effects

    def tell(self, told: Delta | Tick) -> list[Alert]:
        self.sides.take(told, self._offset)
        self._offset += 1
        return []

    def judged(self) -> Judged:
        """What it came to; call it after the last `drain`."""
        seen = self.sides.seen
        seen.records, seen.events = self.tally.lines, self.tally.events
        seen.refused = sum(self.tally.refused.values())
        return self.sides.judged()


class Followed:
    """Records of the rollups topic, as ingest wrote them and detect judged them."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides
        self._held = 0.0

    def take(self, record: Rollup | Tick, partition: int, offset: int, timestamp: float) -> None:
        """One record, in the order of its partition; `timestamp` is the broker's, epoch seconds.

        What holds is looked up by the broker's time: it was then that detect judged.
        """
        sides = self.sides
        if timestamp > self._held:
            self._held = timestamp
            sides.hold(timestamp)
        seen = sides.seen
        seen.records += 1
        if isinstance(record, Rollup) and record.scope is None:
            seen.events += record.calls + record.charges
        sides.take(record, offset, timestamp, partition)
        if isinstance(record, Tick):
            sides.pass_time(record.watermark.timestamp())

    def judged(self) -> Judged:
        return self.sides.judged()


def same_fold(one: ConfigBook, other: ConfigBook) -> bool:
    """Whether both make the same rollups of the same events."""

    def folding(book: ConfigBook) -> list[bytes]:
        return [record.to_json() for record in (*book.prices, *book.watches)]

    return folding(one) == folding(other)
