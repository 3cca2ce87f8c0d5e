"""What was done about each incident: the throttles that it led to, from the topic of their events. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from schemas.throttles import ThrottleChange, ThrottleEvent

BACK: Final = timedelta(days=2)
"""How far back events are read at a start: longer than throttles last."""
MAX_INCIDENTS: Final = 10_000
MAX_SCOPES: Final = 50
"""Of one incident: more than a rule may throttle at once."""
OVER: Final[frozenset[ThrottleChange]] = frozenset({"withdrawn", "barred", "released", "rested", "ended"})
"""After these nothing holds the scope back, and nothing waits for an answer."""
_STEPS: Final[frozenset[ThrottleChange]] = frozenset({"faster", "withdrawn"})
_DRY: Final[frozenset[ThrottleChange]] = frozenset({"started", "proposed"})


def told_at(events: Iterable[ThrottleEvent]) -> datetime | None:
    """When something was last done that people want to know of at once: not each step on the way back."""
    return max((event.at for event in events if _matters(event)), default=None)


def _matters(event: ThrottleEvent) -> bool:
    if event.mode == "dry_run":
        return event.change in _DRY
    return event.change not in _STEPS


class Measures:
    """The latest event of each proposal (a scope, for an incident, by a rule), by incident.

    Taking an event twice changes nothing.
    """

    def __init__(self) -> None:
        self._events: OrderedDict[str, OrderedDict[str, ThrottleEvent]] = OrderedDict()

    def apply(self, event: ThrottleEvent) -> bool:
        """Take in an event; those of one scope come in order. Returns whether it says anything new."""
        of_incident = self._events.setdefault(event.alert_fingerprint, OrderedDict())
        before = of_incident.get(event.proposal)
        if before is not None and before.at > event.at:
            return False
        of_incident[event.proposal] = event
        if len(of_incident) > MAX_SCOPES:
            of_incident.popitem(last=False)
        self._events.move_to_end(event.alert_fingerprint)
        if len(self._events) > MAX_INCIDENTS:
            self._events.popitem(last=False)
        return before != event

    def of(self, fingerprint: str) -> tuple[ThrottleEvent, ...]:
        """What was done about an incident or not done, in the order in which it began."""
        return tuple(self._events.get(fingerprint, {}).values())

    def proposals(self, fingerprint: str) -> list[str]:
        """What an approval names, of everything that is in force or waits for an answer."""
        return [event.proposal for event in self.of(fingerprint) if event.change not in OVER]
