"""What the demo showed: its report as JSON, and whether everything went as it must. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from schemas.base import format_timestamp
from service.demo.board import Board, Injected
from service.demo.ledger import Sum, differences, total
from service.demo.receivers import Received

_PATIENCE_S: Final = {"retry_loop": 15.0}
_PATIENCE_OTHERWISE_S: Final = 300.0
"""Seconds after which a scripted incident must have been alerted; a demo stopped earlier is not to blame."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A scripted incident and what came of it. Wall times in epoch seconds."""

    workflow: str
    kind: str
    injected_at: float
    alerted_at: float | None
    throttled_at: float | None
    due: bool

    @property
    def delay_s(self) -> float | None:
        return None if self.alerted_at is None else self.alerted_at - self.injected_at


@dataclass(frozen=True, slots=True)
class Launch:
    """A scripted launch, whether it was noticed, and whether it woke anybody."""

    workflow: str
    noticed: bool
    paged: bool


@dataclass(slots=True)
class Outcome:
    """The whole demo.

    Attributes
    ----------
    failures : list of str
        A sentence each; empty when all went as it must.
    """

    published: Sum
    accounted: Sum
    incidents: list[Incident]
    launches: list[Launch]
    alerts: int
    throttles: int
    pages: int
    failures: list[str] = field(default_factory=list)


def judge(
    board: Board, received: Sequence[Received], violations: Sequence[str], stopped_at: float, speed: float
) -> Outcome:
    """Compare what was scripted with what was said.

    Parameters
    ----------
    received : sequence of Received
        Everything the local vendors got.
    stopped_at : float
        Wall time at which the demo was stopped, epoch seconds.
    """
    accounted = board.accounts.sums()
    pages = [(_source(r), r.at.timestamp()) for r in received if _is_page(r)]
    incidents = [_incident(board, one, pages, stopped_at, speed) for one in board.injected if not one.benign]
    launches = [_launch(board, one, pages) for one in board.injected if one.benign]
    outcome = Outcome(
        published=total(board.published),
        accounted=total(accounted),
        incidents=incidents,
        launches=launches,
        alerts=len(board.alerts),
        throttles=sum(n for action, n in board.commands.items() if action != "release"),
        pages=len(pages),
    )
    outcome.failures = [
        *differences(board.published, accounted),
        *_missing(incidents),
        *(f"the launch of {launch.workflow} paged" for launch in launches if launch.paged),
        *_unexpected(board, pages),
        *violations,
    ]
    if not board.ended:
        outcome.failures.append("the driver did not say what it published in the end")
    return outcome


def as_json(outcome: Outcome, board: Board) -> dict[str, Any]:
    """The report. Money in nano-dollars, instants as RFC 3339."""
    return {
        "events_published": outcome.published.events,
        "events_accounted": outcome.accounted.events,
        "cost_nanos_published": outcome.published.nanos,
        "cost_nanos_accounted": outcome.accounted.nanos,
        "incidents": [
            {
                "workflow": one.workflow,
                "kind": one.kind,
                "injected_at": _instant(one.injected_at),
                "alerted_at": _instant(one.alerted_at),
                "throttled_at": _instant(one.throttled_at),
                "delay_s": None if one.delay_s is None else round(one.delay_s, 3),
            }
            for one in outcome.incidents
        ],
        "launches": [
            {"workflow": one.workflow, "paged": one.paged, "noticed": one.noticed} for one in outcome.launches
        ],
        "alerts": outcome.alerts,
        "throttles": outcome.throttles,
        "pages": outcome.pages,
        "calls_rejected": board.others["rejected"],
        "duplicates_published": board.others["duplicate"],
        "malformed_published": board.others["malformed"],
        "dead_letters": board.dead_letters["records"],
        "failures": outcome.failures,
    }


def _incident(
    board: Board, one: Injected, pages: Sequence[tuple[str, float]], stopped_at: float, speed: float
) -> Incident:
    after = [i.at for i in board.injected if i.workflow == one.workflow and i.at > one.at]
    until = min(after, default=float("inf"))
    alerted = min((at for w, at in pages if w == one.workflow and one.at <= at < until), default=None)
    patience = _PATIENCE_S.get(one.kind, _PATIENCE_OTHERWISE_S / max(speed, 1e-9))
    return Incident(
        one.workflow,
        one.kind,
        one.at,
        alerted,
        one.throttled_at,
        due=stopped_at - one.at >= patience,
    )


def _launch(board: Board, one: Injected, pages: Sequence[tuple[str, float]]) -> Launch:
    return Launch(
        workflow=one.workflow,
        noticed=any(a.workflow == one.workflow and a.kind == "launch" for a in board.alerts.values()),
        paged=any(workflow == one.workflow and at >= one.at for workflow, at in pages),
    )


def _missing(incidents: Sequence[Incident]) -> list[str]:
    found = []
    for one in incidents:
        if one.due and one.alerted_at is None:
            found.append(f"the {one.kind} in {one.workflow} was not alerted")
        if one.due and one.throttled_at is None:
            found.append(f"the {one.kind} in {one.workflow} was not throttled")
    return found


def _unexpected(board: Board, pages: Sequence[tuple[str, float]]) -> list[str]:
    """Pages that nothing in the script explains."""
    return [
        f"a page about {workflow} at {_instant(at)}, where nothing had gone wrong"
        for workflow, at in pages
        if not any(one.workflow == workflow and one.at <= at for one in board.injected)
    ]


def _is_page(received: Received) -> bool:
    return (
        received.vendor == "pagerduty"
        and received.verdict == "accepted"
        and received.body.get("event_action") == "trigger"
        and received.body.get("payload", {}).get("severity") == "critical"
    )


def _source(received: Received) -> str:
    return str(received.body["payload"]["source"])


def _instant(at: float | None) -> str | None:
    return None if at is None else format_timestamp(datetime.fromtimestamp(round(at, 3), UTC))
