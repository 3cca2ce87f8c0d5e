"""A candidate configuration beside the live one on the same stream: judges, and tells nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.alerts import Alert
from schemas.rollups import Rollup, Tick
from service.backtest.compare import Comparison, compare
from service.backtest.incident import Incident, Incidents
from service.backtest.side import Side
from service.detect.state import UnreadableState, WorkflowState, decode
from service.rules.config import ConfigBook


@dataclass(frozen=True, slots=True)
class Told:
    """Something was told for the first time, by the live configuration or by the candidate."""

    who: str
    incident: Incident


class Shadow:
    """The candidate's desks over a copy of detect's states, and what the live configuration tells meanwhile.

    Parameters
    ----------
    states : mapping of str to bytes
        As detect's changelog has them. Those of workflows that are to be judged; of others nothing is known.

    Attributes
    ----------
    starts : dict of int to int
        Partition of the rollups topic to the offset after the last one that the states contain. A partition of
        which they say nothing is not in it.
    unreadable : int
        States that this release cannot read. Their workflows begin anew.
    """

    def __init__(self, book: ConfigBook, states: Mapping[str, bytes], now: float) -> None:
        self.unreadable = 0
        known: dict[str, WorkflowState] = {}
        for key, value in states.items():
            try:
                known[key] = decode(value)
            except UnreadableState:
                self.unreadable += 1
        self.starts: dict[int, int] = {}
        for state in known.values():
            for partition, offset in state.applied.items():
                self.starts[partition] = max(self.starts.get(partition, 0), offset + 1)
        self.side = Side("candidate", book, states=known)
        self.side.hold(now)
        self.side.adopt(self.starts)
        self.workflows = len(known)
        self._live = Incidents()

    def live(self, alert: Alert) -> Told | None:
        """One record of the alerts topic."""
        incident = self._live.take(alert)
        return None if incident is None or not incident.first_seen else Told("live", incident)

    def take(self, record: Rollup | Tick, offset: int, timestamp: float, partition: int) -> list[Told]:
        """One record of the rollups topic, in the order of its partition."""
        alerts = self.side.take(record, offset, timestamp, partition)
        if isinstance(record, Tick):
            self.side.turn(record.watermark.timestamp())
        begun = Incidents()
        return [
            Told("candidate", incident)
            for alert in alerts
            if alert.sequence == 1 and (incident := begun.take(alert)) is not None
        ]

    def comparison(self) -> Comparison:
        """Of what has begun to be told since the shadow began."""
        return compare(
            [i for i in self._live.listed() if i.first_seen],
            [i for i in self.side.incidents.listed() if i.first_seen],
        )
