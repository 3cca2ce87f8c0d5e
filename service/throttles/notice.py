"""What people are told of throttles themselves: that one waits for a yes, or that no gateway obeys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from schemas.alerts import Alert, Severity, Status, Verdict
from service.rules.lifecycle import fingerprint

DETECTORS: Final = "throttles."
REPEAT_S: Final = 3_600.0


class Notice(msgspec.Struct, array_like=True):
    """One thing that people are told of, until it is over. Times are epoch seconds.

    Attributes
    ----------
    what : str
        approval or unanswered.
    """

    what: str
    workflow: str
    team: str | None
    severity: Severity
    summary: str
    since: float
    sequence: int = 0
    sent: float = 0.0

    def due(self) -> float:
        """When it is told again."""
        return self.sent + REPEAT_S

    def alert(self, key: str, status: Status, now: float, config_version: str) -> Alert:
        """The alert that says it. Takes the next sequence. `key` sets it apart from others of the workflow."""
        self.sequence += 1
        self.sent = now
        since, at = _at(self.since), _at(max(now, self.since))
        return Alert(
            fingerprint=fingerprint(f"{self.workflow}\0{key}", "throttle", self.since),
            status=status,
            severity=self.severity,
            kind="throttle",
            workflow=self.workflow,
            team=self.team,
            started_at=since,
            fired_at=since,
            updated_at=at,
            resolved_at=at if status == "resolved" else None,
            sequence=self.sequence,
            summary=self.summary,
            cost_nanos=0,
            expected_nanos=0,
            excess_nanos=0,
            projected_nanos=0,
            verdict=Verdict(detector=f"{DETECTORS}{self.what}", score=1.0, threshold=1.0),
            config_version=config_version,
        )


def _at(epoch: float) -> datetime:
    return datetime.fromtimestamp(round(epoch, 3), UTC)
