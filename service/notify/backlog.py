"""What one receiver has still to be told, and whose turn it is. Pure: the time is handed in.

Alerts are level-triggered: a newer record of a firing incident replaces an older one that still waits. What must
not be lost is that an incident *began* and that it *ended*: a firing record that waits is never replaced by the
resolved one, and the two stay in order.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.alerts import Alert
from service.notify.pipeline import RANK


class Source(NamedTuple):
    """Where an alert was read."""

    partition: int
    offset: int


@dataclass(slots=True)
class Job:
    """One alert for one receiver, and the record that is done when it is."""

    alert: Alert
    source: Source
    attempts: int = 0


@dataclass(slots=True)
class _Incident:
    arrival: int
    jobs: deque[Job] = field(default_factory=deque)
    not_before: float = 0.0
    taken: bool = False


class Backlog:
    """Jobs by incident. At most one job of an incident is out at a time, so that they arrive in order."""

    def __init__(self) -> None:
        self._incidents: dict[str, _Incident] = {}
        self._held_until = 0.0
        self._arrivals = 0

    def put(self, alert: Alert, source: Source) -> Source | None:
        """Add an alert. Returns the source of the one that it replaces, if any: that record is done."""
        incident = self._incidents.get(alert.fingerprint)
        if incident is None:
            self._arrivals += 1
            incident = self._incidents[alert.fingerprint] = _Incident(self._arrivals)
        last = incident.jobs[-1] if incident.jobs else None
        out = incident.taken and len(incident.jobs) == 1
        if last is None or out or last.alert.status != alert.status:
            incident.jobs.append(Job(alert, source))
            return None
        replaced = last.source
        # The attempts stay: a receiver that fails is not owed more of them because the incident goes on.
        last.alert, last.source = alert, source
        return replaced

    def take(self, now: float) -> Job | None:
        """The most severe job whose time has come, oldest incident first; None if there is none."""
        if now < self._held_until:
            return None
        ready = [i for i in self._incidents.values() if not i.taken and i.not_before <= now]
        if not ready:
            return None
        chosen = min(ready, key=lambda i: (-RANK[i.jobs[0].alert.severity], i.arrival))
        chosen.taken = True
        return chosen.jobs[0]

    def wake_at(self) -> float | None:
        """When `take` may next have something; None: not before the next `put` or `again`."""
        times = [incident.not_before for incident in self._incidents.values() if not incident.taken]
        return max(min(times), self._held_until) if times else None

    def done(self, job: Job) -> None:
        """A job that was taken is finished, one way or another."""
        incident = self._incidents[job.alert.fingerprint]
        incident.jobs.popleft()
        incident.taken, incident.not_before = False, 0.0
        if not incident.jobs:
            del self._incidents[job.alert.fingerprint]

    def again(self, job: Job, not_before: float) -> Source | None:
        """A job that was taken failed and is to be tried again.

        If the incident's next record has the same status, that one takes this one's place and its attempts, and
        this one's source is returned: that record is done.
        """
        incident = self._incidents[job.alert.fingerprint]
        incident.taken, incident.not_before = False, not_before
        if len(incident.jobs) == 1 or incident.jobs[1].alert.status != job.alert.status:
            return None
        incident.jobs.popleft()
        incident.jobs[0].attempts = job.attempts
        return job.source

    def hold(self, until: float) -> None:
        """Give the receiver a rest: nothing is taken before `until`."""
        self._held_until = max(self._held_until, until)

    def clear(self) -> None:
        """Forget everything; nothing may be out."""
        self._incidents.clear()

    def holds(self, fingerprint: str) -> bool:
        """Whether something about an incident waits or is out."""
        return fingerprint in self._incidents

    def __len__(self) -> int:
        """Jobs, those that are out included."""
        return sum(len(incident.jobs) for incident in self._incidents.values())
