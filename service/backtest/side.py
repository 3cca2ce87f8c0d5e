"""One configuration and what it makes of the records: its judge, and throttles' desk, with nobody to act."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.alerts import Alert
from schemas.rollups import Rollup, Tick
from schemas.throttles import ThrottleEvent
from service.backtest.incident import Incident, Incidents
from service.backtest.judge import Judge
from service.detect.state import WorkflowState
from service.rules.config import ConfigBook
from service.throttles import desk as throttles_desk


@dataclass
class Throttled:
    """What would have been done to the traffic.

    Attributes
    ----------
    commands : Counter of str
        By `ACTION/MODE`. Those that are sent again to last longer count again, as on the topic.
    scopes : int
        Times that something was throttled, or in a dry run would have been.
    spared_nanos : int
        What dry runs would have saved. Of what would be enforced nothing can be said: history is as it was.
    """

    commands: Counter[str] = field(default_factory=Counter)
    scopes: int = 0
    spared_nanos: int = 0


@dataclass
class Verdict:
    """What one configuration has come to. Small enough to hand to another process."""

    name: str
    version: str
    incidents: list[Incident]
    throttled: Throttled


class Side:
    """A judge, and what comes of its alerts.

    Parameters
    ----------
    book : ConfigBook
        With all dates: what holds is looked up in the time of the history.
    only : str or None
        Judge this workflow alone.
    """

    def __init__(
        self,
        name: str,
        book: ConfigBook,
        *,
        states: Mapping[str, WorkflowState] | None = None,
        only: str | None = None,
    ) -> None:
        self.name = name
        self.only = only
        self.judge = Judge(book, states=states, only=only)
        self.incidents = Incidents()
        self.throttled = Throttled()
        # Nobody answers its commands, and nobody is asked to.
        self._throttles = throttles_desk.Desk(ack_wait_s=float("inf"))
        self._throttles.use(self.judge.held)
        self._throttles_due = 0.0
        self._spared: dict[str, int] = {}

    @property
    def book(self) -> ConfigBook:
        return self.judge.book

    def hold(self, instant: float) -> bool:
        """Go by the records that hold at an instant, epoch seconds. Returns whether these are others."""
        others = self.judge.hold(instant)
        if others:
            self._throttles.use(self.judge.held)
            self._throttles_due = 0.0
        return others

    def use(self, book: ConfigBook, instant: float) -> None:
        """Go by another configuration from now on."""
        self.judge.book = book
        self.hold(instant)

    def adopt(self, partitions: Iterable[int]) -> None:
        """Set the alarms of states that were given: what waits for time to pass must ring."""
        self.judge.adopt(partitions)

    def take(
        self, record: Rollup | Tick, offset: int, timestamp: float = 0.0, partition: int = 0
    ) -> list[Alert]:
        """Judge one record, in the order of its partition, and take its alerts. Returns them."""
        alerts = self.judge.take(record, offset, timestamp, partition)
        self.hear(alerts)
        return alerts

    def hear(self, alerts: Sequence[Alert]) -> None:
        """Take alerts for its own."""
        for alert in alerts:
            self.incidents.take(alert)
            self._throttles.take(alert)
            self._throttles_due = 0.0

    def turn(self, now: float) -> None:
        """Let the throttles follow. `now`: event time, epoch seconds."""
        if self._throttles_due > now:
            return
        said = self._throttles.turn(now)
        for command in said.commands:
            self.throttled.commands[f"{command.action.action}/{command.mode}"] += 1
        for event in said.events:
            self._note(event)
        self._throttles_due = self._throttles.due()

    def _note(self, event: ThrottleEvent) -> None:
        key = event.scope.key
        if event.change in ("started", "back"):
            self.throttled.scopes += event.change == "started"
            self._spared[key] = 0
        # Each event says what one throttle has spared so far.
        self.throttled.spared_nanos += max(event.spared_nanos - self._spared.get(key, 0), 0)
        self._spared[key] = max(event.spared_nanos, self._spared.get(key, 0))

    def verdict(self) -> Verdict:
        """What it has come to so far."""
        return Verdict(self.name, self.judge.held.version, self.incidents.listed(), self.throttled)
