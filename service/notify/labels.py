"""An alert's labels: what it is matched, grouped and inhibited by. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from schemas.alerts import Alert
from schemas.control import GroupLabel, Match, Owner, Side
from schemas.control.quiet import About

Labels = Mapping[GroupLabel, str]

TRACE_DETECTORS: Final = frozenset({"live_trace"})
"""Those whose alerts are about single traces of a workflow."""


def labels(alert: Alert, owners: Iterable[Owner] = ()) -> dict[GroupLabel, str]:
    """Every label; the empty string for one that the alert has not."""
    owner = owner_of(alert, owners)
    return {
        "team": alert.team or "",
        "owner": owner.owner if owner is not None else "",
        "kind": alert.kind,
        "workflow": alert.workflow,
        "severity": alert.severity,
        "scope": f"{alert.scope.kind} {alert.scope.value}" if alert.scope is not None else "",
        "budget": alert.budget or "",
    }


def owner_of(alert: Alert, owners: Iterable[Owner]) -> Owner | None:
    """The owner record for an alert: of those that match, the one with the longest pattern, then the last name."""
    found = [owner for owner in owners if matches(owner.match, alert)]
    return max(found, key=lambda owner: (len(owner.match.workflow), owner.name), default=None)


def matches(match: Match | Side, alert: Alert) -> bool:
    """Whether all that is given matches. A pattern for the team never matches an alert without one."""
    return (
        fnmatchcase(alert.workflow, match.workflow)
        and (match.team is None or (alert.team is not None and fnmatchcase(alert.team, match.team)))
        and (match.kinds is None or alert.kind in match.kinds)
        and (match.severities is None or alert.severity in match.severities)
        and (not isinstance(match, Side) or match.about is None or about(alert) in match.about)
    )


def about(alert: Alert) -> About:
    """What an alert is about."""
    if alert.of_budget:
        return "budget"
    if alert.scope is not None:
        return "scope"
    return "trace" if alert.verdict.detector in TRACE_DETECTORS else "workflow"


def group_key(found: Labels, group_by: Iterable[GroupLabel]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Key and labels of the group of an alert with these labels.

    The key is unambiguous and the same everywhere: labels by name, `\\`, `,` and `=` of their values escaped.
    """
    pairs = tuple((name, found[name]) for name in sorted(set(group_by)))
    return ",".join(f"{name}={_escaped(value)}" for name, value in pairs) or "all", pairs


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
