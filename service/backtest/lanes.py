"""Cost events of several partitions, each folded on its own as ingest does, side by side in event time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.rollups import BUCKET_SECONDS
from service.backtest.course import Judged, Sides
from service.ingest.fold import Fold
from service.ingest.price import Pricer
from service.ingest.record import Record
from service.ingest.scopes import Watching
from service.rules.config import ConfigBook
from service.settings import IngestSettings

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Lanes:
    """A fold for each partition of `cost-events`; all their rollups go to one desk of each side.

    Parameters
    ----------
    book : ConfigBook
        Whose prices and watches the events are folded with: those of all sides.
    partitions : collection of int
        Those that have records. Who has none must not be waited for.
    """

    def __init__(
        self, book: ConfigBook, sides: Sides, settings: IngestSettings, partitions: Collection[int]
    ) -> None:
        self.sides = sides
        self._book = book
        self._held = book.at(_EPOCH)
        self._pricer, self._watching = Pricer(self._held.prices), Watching(self._held.watches)
        self._folds = {
            partition: Fold(partition, len(partitions), settings, self._pricer, watching=self._watching)
            for partition in sorted(partitions)
        }
        self._drained = dict.fromkeys(self._folds, float("-inf"))
        self._now = 0.0
        self._offset = 0

    def behind(self, waiting: Collection[int]) -> int:
        """Of some partitions the one that has come least far."""
        return min(waiting, key=lambda partition: (self._folds[partition].watermark, partition))

    def take(self, partition: int, records: Sequence[Record]) -> None:
        """Records of one partition, in its order: few, for others wait meanwhile."""
        fold = self._folds[partition]
        fold.take(records)
        if fold.watermark - self._drained[partition] >= BUCKET_SECONDS:
            self._drain(partition)

    def end(self, partition: int) -> None:
        """It is read to its end, and holds nobody back any more."""
        self._folds[partition].advance_idle(0.0, silent=True)
        self._drain(partition)

    def _drain(self, partition: int) -> None:
        fold, seen = self._folds[partition], self.sides.seen
        self._drained[partition] = fold.watermark
        self._now = max(self._now, fold.watermark)
        self._hold()
        batch = fold.drain()
        seen.records += batch.records
        seen.events += batch.events
        seen.refused += len(batch.dead_letters)
        for told in batch.in_time():
            self.sides.take(told, self._offset, self._now)
            self._offset += 1
        self.sides.pass_time(self._now)

    def _hold(self) -> None:
        self.sides.hold(self._now)
        held = self._book.at(_EPOCH + timedelta(seconds=self._now))
        if held is not self._held:
            self._held = held
            self._pricer.use(held.prices)
            self._watching.use(held.watches)

    def judged(self) -> Judged:
        """What it came to; call it after the `end` of every partition."""
        return self.sides.judged()
