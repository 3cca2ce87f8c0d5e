"""Configurations that judge the same records, and what each has to say: nobody hears it here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.alerts import Alert
from schemas.rollups import Rollup, Tick
from service.backtest.alike import Alike
from service.backtest.incident import key_of
from service.detect.desk import Desk
from service.detect.state import WorkflowState
from service.rules.config import ConfigBook

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Judge:
    """One configuration's desks of all partitions, the same as detect's, over states of their own.

    Parameters
    ----------
    book : ConfigBook
        With all dates: what holds is looked up in the time of the history.
    only : str or None
        Judge this workflow alone.
    """

    def __init__(
        self,
        book: ConfigBook,
        *,
        states: Mapping[str, WorkflowState] | None = None,
        only: str | None = None,
    ) -> None:
        self.book = book
        self.held = book.at(_EPOCH)
        self.states: dict[str, WorkflowState] = dict(states or {})
        self._only = only
        self._desks: dict[int, Desk] = {}

    def hold(self, instant: float) -> bool:
        """Go by the records that hold at an instant, epoch seconds. Returns whether these are others."""
        held = self.at(instant)
        others, self.held = held is not self.held, held
        return others

    def at(self, instant: float) -> ConfigBook:
        """The records that hold then."""
        return self.book.at(_EPOCH + timedelta(seconds=max(instant, 0.0)))

    def adopt(self, partitions: Iterable[int]) -> None:
        """Set the alarms of states that were given: what waits for time to pass must ring."""
        for partition in partitions:
            desk = self._desks[partition] = Desk(partition, self.states.get)
            desk.adopt(self.states.values(), self.held)

    def take(
        self, record: Rollup | Tick, offset: int, timestamp: float = 0.0, partition: int = 0
    ) -> list[Alert]:
        """Judge one record, in the order of its partition. Returns what is told.

        `timestamp` is the broker's, epoch seconds.
        """
        if self._only is not None and isinstance(record, Rollup) and record.key != self._only:
            return []
        desk = self._desks.get(partition)
        if desk is None:
            desk = self._desks[partition] = Desk(partition, self.states.get)
        applied = desk.apply(record, offset, timestamp, self.held)
        self.states.update(applied.changed)
        return applied.effects.alerts


class Panel:
    """Several judges that are given the same records.

    A workflow that two of them judge alike is judged once, by the first: most candidates are about a few workflows.
    What is judged of one workflow depends on no other: a panel may be given those of some workflows alone, with
    all ticks, and says the same of them.
    """

    def __init__(self, judges: Sequence[Judge]) -> None:
        self.judges = judges
        self._judge_alike = [Alike(judges[0].book, judge.book) for judge in judges[1:]]

    def hold(self, instant: float) -> None:
        for judge in self.judges:
            judge.hold(instant)

    def take(self, record: Rollup | Tick, offset: int, timestamp: float, partition: int) -> list[list[Alert]]:
        """One record, in the order of its partition. Returns what each judge tells, in their order."""
        first, *others = self.judges
        alerts = first.take(record, offset, timestamp, partition)
        told = [alerts]
        key = record.key if isinstance(record, Rollup) else None
        for judge, alike in zip(others, self._judge_alike, strict=True):
            if key is None:
                # Its own desk knows only workflows that it judges, and wakes no others.
                heard = [alert for alert in alerts if alike.judged(key_of(alert))]
                told.append(heard + judge.take(record, offset, timestamp, partition))
            elif alike.judged(key):
                told.append(alerts)
            else:
                told.append(judge.take(record, offset, timestamp, partition))
        return told
