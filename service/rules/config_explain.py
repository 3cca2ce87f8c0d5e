"""Why a workflow is judged as it is: each value with the record that set it, and every record that is about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Literal

from schemas.control import Budget, Control, Launch, Match, Tuning
from service.rules.config import ConfigBook, WorkflowConfig

Level = Literal["default", "global", "team", "pattern", "workflow"]


@dataclass(frozen=True, slots=True)
class Value:
    """One tunable of a workflow.

    Attributes
    ----------
    source : Control or None
        The record that set it; None: it is the default.
    overridden : sequence of (Control, value)
        Records that set it too and are less specific, the most specific first.
    """

    name: str
    value: Any
    level: Level
    source: Control | None
    overridden: Sequence[tuple[Control, Any]]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What holds for one workflow, and from where.

    Attributes
    ----------
    values : sequence of Value
        Every tunable there is.
    about : mapping of str to sequence of Control
        By kind: the budgets, rules, routes, silences and launches that are about it, or may be: a rule or route may
        ask for kinds or severities of alerts, too.
    """

    workflow: str
    team: str | None
    version: str
    values: Sequence[Value]
    about: Mapping[str, Sequence[Control]]


def explain(book: ConfigBook, workflow: str, team: str | None, now: datetime) -> Explanation:
    """What `book` says of a workflow. `team` is that of its calls: without one, nothing of a team is found."""
    book = book.at(now)
    tunings = book.tunings(workflow, team)
    about: dict[str, list[Control]] = {
        "budget": [b for b in book.budgets if _counts(b, workflow, team)],
        "rule": [r for r in book.rules if _matches(r.match, workflow, team)],
        "route": [r for r in book.routes if _matches(r.match, workflow, team)],
        "silence": [s for s in book.silences if _matches(s.match, workflow, team) and now < s.ends_at],
        "launch": [launch for launch in book.launches if _announces(launch, workflow, now)],
    }
    values = [_value(field.name, field.default, tunings) for field in fields(WorkflowConfig)]
    return Explanation(workflow, team, book.version, values, about)


def _value(name: str, default: Any, tunings: Sequence[Tuning]) -> Value:
    given = [(t, value) for t in reversed(tunings) if (value := getattr(t.settings, name)) is not None]
    if not given:
        return Value(name, default, "default", None, ())
    tuning, value = given[0]
    return Value(name, value, _level(tuning), tuning, given[1:])


def _level(tuning: Tuning) -> Level:
    scope = tuning.scope
    if scope.team is not None:
        return "team"
    if scope.workflow is None:
        return "global"
    return "pattern" if any(c in scope.workflow for c in "*?[") else "workflow"


def _matches(match: Match, workflow: str, team: str | None) -> bool:
    return fnmatchcase(workflow, match.workflow) and (
        match.team is None or (team is not None and fnmatchcase(team, match.team))
    )


def _counts(budget: Budget, workflow: str, team: str | None) -> bool:
    """Whether all calls of the workflow are spent from it. Of other scopes (a model, a customer) some may be."""
    scope = budget.scope
    if scope.kind == "organisation":
        return True
    return scope.value == {"workflow": workflow, "team": team}.get(scope.kind) is not None


def _announces(launch: Launch, workflow: str, now: datetime) -> bool:
    return fnmatchcase(workflow, launch.workflow) and now < launch.ends_at
