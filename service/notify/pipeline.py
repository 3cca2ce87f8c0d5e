"""The decisions between an alert and a request, one function each. Pure: time and state are handed in.

    route -> (backlog) -> silence -> repeat -> send -> backoff

Routing happens when the record is read. Silences and repeats are judged again before every single attempt: what
was true when an alert came may not be when its turn does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from schemas.alerts import Alert, Severity
from schemas.control import Match, Route, Silence
from schemas.notifications import NotificationLogEntry

RANK: Final[Mapping[Severity, int]] = {"info": 0, "warning": 1, "critical": 2}


class Mute(StrEnum):
    """Why somebody is not told, on purpose. Also the `why` label of the metric."""

    DUPLICATE = "duplicate"
    """They know: same status and severity, or an older record."""
    NEVER_TOLD = "never_told"
    """It is over, and they never heard of it."""
    SILENCED = "silenced"
    REFUSED_BEFORE = "refused_before"
    """The receiver refused this very state for good: asking again changes nothing until the settings do."""


@dataclass(frozen=True, slots=True)
class Routing:
    """Who gets an alert.

    Attributes
    ----------
    receivers : tuple of str
    below : tuple of str
        Routed to, but they want more severe ones only.
    unknown : tuple of str
        Named by a route, but in nobody's settings.
    """

    receivers: tuple[str, ...]
    below: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def matches(match: Match, alert: Alert) -> bool:
    """Whether all that is given matches. A pattern for the team never matches an alert without one."""
    return (
        fnmatchcase(alert.workflow, match.workflow)
        and (match.team is None or (alert.team is not None and fnmatchcase(alert.team, match.team)))
        and (match.kinds is None or alert.kind in match.kinds)
        and (match.severities is None or alert.severity in match.severities)
    )


def route(
    alert: Alert, routes: Iterable[Route], receivers: Mapping[str, Severity], involved: Iterable[str] = ()
) -> Routing:
    """Who gets an alert: everybody whom a matching route names; without one, everybody.

    A route that names only receivers nobody configured counts as none: better told twice than not at all.

    Parameters
    ----------
    receivers : mapping of str to Severity
        Configured receivers and the least severity each wants.
    involved : iterable of str
        Receivers that were told it fires, or are about to be. They hear that it is over, whatever the routes and
        severities say by then: an incident that was opened must be closed.
    """
    named = {name for found in routes if matches(found.match, alert) for name in found.receivers}
    wanted = named & receivers.keys() or receivers.keys()
    enough = {name for name in wanted if RANK[alert.severity] >= RANK[receivers[name]]}
    told = set(involved) & receivers.keys() if alert.status == "resolved" else set()
    return Routing(
        tuple(sorted(enough | told)),
        tuple(sorted(wanted - enough - told)),
        tuple(sorted(named - receivers.keys())),
    )


def silenced(alert: Alert, silences: Iterable[Silence], now: datetime) -> str | None:
    """Name of a silence that holds this alert back at the wall time `now`.

    The end of an incident is never held back: it is sent only to those who heard of the beginning.
    """
    if alert.status == "resolved":
        return None
    for silence in silences:
        if silence.starts_at <= now < silence.ends_at and matches(silence.match, alert):
            return silence.name
    return None


def repeat(
    alert: Alert, told: NotificationLogEntry | None, now: datetime, repeat_interval: timedelta
) -> Mute | None:
    """Why a receiver need not hear this, by what it heard last; None to tell it."""
    if told is None:
        return Mute.NEVER_TOLD if alert.status == "resolved" else None
    if alert.sequence <= told.sequence:
        return Mute.DUPLICATE
    if alert.status != told.status or (alert.status == "firing" and alert.severity != told.severity):
        return None
    if alert.status == "firing" and now - told.delivered_at >= repeat_interval:
        return None
    return Mute.DUPLICATE


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and how far apart, a receiver is asked again."""

    max_attempts: int
    initial_s: float
    max_s: float


def backoff(policy: RetryPolicy, attempts: int, after_s: float | None, chance: float) -> float:
    """Seconds to wait after the `attempts`-th failed attempt (1, 2, …).

    Doubles up to the maximum, less up to half of it by `chance` (0 to 1, uniform) so that many do not come back
    at once. What the receiver asked for is a floor.
    """
    grown = min(policy.max_s, policy.initial_s * 2.0 ** min(attempts - 1, 60))
    return max(after_s or 0.0, grown * (1.0 - chance / 2.0))
