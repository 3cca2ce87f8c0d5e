"""Incidents that are not over, as their last alerts tell of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from schemas.alerts import Alert
from service.rules.trouble import Terms, Trouble, trouble_of

MOST: Final = 10_000
"""Incidents remembered at once; of more, those that nobody has heard of for longest are taken for over."""
FORGOTTEN_S: Final = 7 * 86_400.0
"""So long after its last record an incident is over: whoever would have said so is gone."""


class Incidents:
    """The last alert of each incident that fires, by fingerprint, the one that was heard of last at the end."""

    def __init__(self, alerts: Iterable[Alert] = ()) -> None:
        self._firing = {alert.fingerprint: alert for alert in sorted(alerts, key=lambda a: a.updated_at)}
        self._changed: set[str] = set()

    def __len__(self) -> int:
        return len(self._firing)

    def get(self, fingerprint: str) -> Alert | None:
        return self._firing.get(fingerprint)

    def take(self, alert: Alert) -> Alert | None:
        """One record. Returns what was known of the incident before; None of an older record, too."""
        before = self._firing.get(alert.fingerprint)
        if before is not None and alert.sequence <= before.sequence:
            return None
        self._firing.pop(alert.fingerprint, None)
        if alert.status == "firing" and alert.kind != "throttle":
            self._firing[alert.fingerprint] = alert
            while len(self._firing) > MOST:
                self._drop(next(iter(self._firing)))
        if before is not None or alert.fingerprint in self._firing:
            self._changed.add(alert.fingerprint)
        return before

    def forget(self, now: float) -> bool:
        """Drop what nobody has heard of for a week. `now`: epoch seconds. Returns whether there was any."""
        old = [f for f, alert in self._firing.items() if alert.updated_at.timestamp() + FORGOTTEN_S < now]
        for fingerprint in old:
            self._drop(fingerprint)
        return bool(old)

    def troubles(self, terms: Terms) -> list[Trouble]:
        """What the rules have to say something about, the dearest first."""
        ranked = sorted(self._firing.values(), key=lambda a: (-a.excess_nanos, a.fingerprint))
        return [trouble for alert in ranked if (trouble := trouble_of(alert, terms)) is not None]

    def changes(self) -> Iterator[tuple[str, Alert | None]]:
        """What must be kept since the last call; None where it is over."""
        changed, self._changed = self._changed, set()
        for fingerprint in sorted(changed):
            yield fingerprint, self._firing.get(fingerprint)

    def _drop(self, fingerprint: str) -> None:
        del self._firing[fingerprint]
        self._changed.add(fingerprint)
