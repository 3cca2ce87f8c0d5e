"""Incidents as the alerts topic tells of them: one entry for each fingerprint, however often it was repeated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from schemas.alerts import Alert, Kind, Severity


@dataclass(slots=True)
class Incident:
    """What became of one fingerprint. Times are epoch seconds of event time, money nano-dollars.

    Attributes
    ----------
    key : str
        The workflow, or a scope's key: what is judged as one.
    workflow : str
        What people call it.
    told : float
        When it was first told.
    told_excess : int
        How much had been spent over the usual by then.
    excess, cost : int
        As of its last record: over the usual, and in all.
    last : float
        Of its last record.
    resolved : float or None
        None: it still fires where history ends.
    first_seen : bool
        Its first record is among what was read: it began within this history.
    """

    fingerprint: str
    key: str
    workflow: str
    team: str | None
    kind: Kind
    severity: Severity
    started: float
    told: float
    told_excess: int
    excess: int
    cost: int
    last: float
    resolved: float | None = None
    first_seen: bool = True

    @property
    def pages(self) -> bool:
        """Whether it woke somebody."""
        return self.severity == "critical"

    @property
    def delay_s(self) -> float:
        """From its beginning until it was told, seconds."""
        return self.told - self.started

    def ends(self) -> float:
        """When it was over, or where history ends."""
        return self.last if self.resolved is None else self.resolved

    def to_dict(self) -> dict[str, Any]:
        """As plain data, in a fixed order."""
        return {
            "fingerprint": self.fingerprint,
            "workflow": self.workflow,
            "team": self.team,
            "kind": self.kind,
            "severity": self.severity,
            "started_at": round(self.started, 3),
            "told_at": round(self.told, 3),
            "resolved_at": None if self.resolved is None else round(self.resolved, 3),
            "told_excess_nanos": self.told_excess,
            "excess_nanos": self.excess,
            "cost_nanos": self.cost,
        }


class Incidents:
    """Incidents by fingerprint, in the order in which they were first told."""

    def __init__(self) -> None:
        self._found: dict[str, Incident] = {}

    def take(self, alert: Alert) -> Incident | None:
        """One record, in any order. Returns an incident that was told for the first time here, else None.

        What throttles and budgets have to say is no incident of a workflow and is left out.
        """
        if alert.kind == "throttle" or alert.of_budget or alert.fired_at is None:
            return None
        known = self._found.get(alert.fingerprint)
        updated = alert.updated_at.timestamp()
        if known is not None:
            if updated >= known.last:
                known.excess, known.cost, known.last = alert.excess_nanos, alert.cost_nanos, updated
                known.resolved = None if alert.resolved_at is None else alert.resolved_at.timestamp()
            return None
        incident = self._found[alert.fingerprint] = Incident(
            fingerprint=alert.fingerprint,
            key=key_of(alert),
            workflow=alert.workflow,
            team=alert.team,
            kind=alert.kind,
            severity=alert.severity,
            started=alert.started_at.timestamp(),
            told=alert.fired_at.timestamp(),
            told_excess=alert.excess_nanos,
            excess=alert.excess_nanos,
            cost=alert.cost_nanos,
            last=updated,
            resolved=None if alert.resolved_at is None else alert.resolved_at.timestamp(),
            first_seen=alert.sequence == 1,
        )
        return incident

    def listed(self, since: float = float("-inf")) -> list[Incident]:
        """Those first told from an instant on, in order of time; equal times by fingerprint."""
        return in_order(i for i in self._found.values() if i.told >= since)


def key_of(alert: Alert) -> str:
    """What is judged as one: the workflow, or a scope's key."""
    return alert.workflow if alert.scope is None else alert.scope.key


def in_order(incidents: Iterable[Incident]) -> list[Incident]:
    """By when they were told, then workflow and fingerprint: the same in whatever order they were judged."""
    return sorted(incidents, key=lambda i: (i.told, i.key, i.fingerprint))
