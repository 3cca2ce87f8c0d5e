"""What a person sees: the live terminal, one plain line without a terminal, and the summary in the end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from schemas.alerts import Alert
from schemas.money import format_usd
from schemas.throttles import ThrottleCommand
from service.demo.board import Board
from service.demo.ledger import Sum, total
from service.demo.receivers import Received
from service.demo.report import Outcome
from service.detect.judge import usual_rate
from service.detect.state import WorkflowState

_SHOWN: Final = 5
_MINUTE_S: Final = 60
_COLOURS: Final = {"critical": "bold red", "warning": "yellow", "info": "cyan"}


def live(board: Board, received: Sequence[Received], violations: Sequence[str], left: str) -> RenderableType:
    """The whole screen. `left`: how long it goes on, or how to end it."""
    states = board.accounts.states()
    return Group(
        _headline(board, states, left),
        _spend(board, states),
        _panel("Incidents", [_alert_line(a) for a in list(board.alerts.values())[-_SHOWN:]]),
        _panel("Throttles in force", [_throttle_line(c) for c in _in_force(board)[-_SHOWN:]]),
        _panel("Received by Slack, PagerDuty and the webhook", _receipts(received, violations)),
    )


def plain(board: Board) -> str:
    """The same in one line, for a log."""
    states = board.accounts.states()
    spending = ", ".join(f"{n} {_per_hour(last_minute(s))}" for n, s in sorted(states.items()))
    firing = sum(a.status == "firing" for a in board.alerts.values())
    return (
        f"lag {_lag(board, states):.1f} s; {spending}; {firing} firing, {len(_in_force(board))} throttled,"
        f" {board.dead_letters['records']} dead letters"
    )


def last_minute(state: WorkflowState) -> float:
    """Nano-dollars per second over the last minute of event time that the state knows of."""
    held = [b for b in state.buckets if b.start >= state.now - _MINUTE_S]
    return sum(b.cost for b in held) / max(state.now - min((b.start for b in held), default=0), 10.0)


def _headline(board: Board, states: dict[str, WorkflowState], left: str) -> Text:
    at = datetime.fromtimestamp(board.event_time, UTC).strftime("%H:%M:%S")
    published, accounted = total(board.published), _accounted(states)
    text = Text.assemble(("Tidegate demo", "bold"), f"   event time {at} UTC   ")
    text.append(f"lag {_lag(board, states):.1f} s   ")
    text.append(f"{accounted.events:,} of {published.events:,} events accounted   ")
    text.append(f"{board.dead_letters['records']} dead letters, {board.others['rejected']} calls rejected   ")
    text.append(left, style="dim")
    return text


def _spend(board: Board, states: dict[str, WorkflowState]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    for title in ("workflow", "last minute", "usual", "×", "calls/s", "calls", "total"):
        table.add_column(title, justify="left" if title == "workflow" else "right")
    for name, state in sorted(states.items()):
        now, usual = last_minute(state), usual_rate(state, state.now)
        ratio = now / usual if usual > 0 else 0.0
        calls = sum(b.calls for b in state.buckets if b.start >= state.now - _MINUTE_S) / _MINUTE_S
        style = "bold red" if _firing(board, name, "critical") else "cyan" if ratio >= 4 else ""
        table.add_row(
            name,
            _per_hour(now),
            _per_hour(usual),
            f"{ratio:.1f}",
            f"{calls:.1f}",
            f"{state.totals.calls:,}",
            format_usd(state.totals.cost),
            style=style,
        )
    return table


def _alert_line(alert: Alert) -> Text:
    colour = "green" if alert.status == "resolved" else _COLOURS[alert.severity]
    head = f"{alert.updated_at:%H:%M:%S} {alert.severity} {alert.status} {alert.kind}: "
    return Text.assemble((head, colour), alert.summary)


def _throttle_line(command: ThrottleCommand) -> Text:
    head = f"{command.issued_at:%H:%M:%S} {command.action.action} {command.scope.key}: "
    return Text.assemble((head, "magenta"), f"{command.reason}, until {command.expires_at:%H:%M:%S}")


def _receipts(received: Sequence[Received], violations: Sequence[str]) -> list[Text]:
    lines = []
    for one in [r for r in received if r.verdict != "rate_limited"][-_SHOWN:]:
        body = one.body
        said = body.get("text") or body.get("payload", {}).get("summary") or body.get("summary") or ""
        first = next(iter(str(said).splitlines()), "")
        what = body.get("event_action") or ("change" if "change" in one.path else "message")
        head = f"{one.at:%H:%M:%S} {one.vendor} {what}, {one.verdict}: "
        lines.append(Text.assemble((head, "red" if one.complaints else "blue"), first))
    lines += [Text(f"rule broken: {violation}", style="bold red") for violation in violations[-_SHOWN:]]
    return lines


def _panel(title: str, lines: Sequence[Text]) -> Panel:
    body = Group(*lines) if lines else Text("nothing so far", style="dim")
    return Panel(body, title=title, title_align="left", border_style="dim")


def summary(outcome: Outcome, board: Board) -> Table:
    """The end: what was published and accounted, what was scripted and what was said."""
    table = Table(box=box.SIMPLE_HEAD, title="What happened", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    exact = "exact" if outcome.published == outcome.accounted else "DIFFERENT"
    table.add_row("published", _sum(outcome.published))
    table.add_row("accounted", f"{_sum(outcome.accounted)}: {exact}")
    for one in outcome.incidents:
        when = "not alerted" if one.delay_s is None else f"paged after {one.delay_s:.1f} s"
        throttled = one.throttled_at
        then = "not throttled" if throttled is None else f"stopped after {throttled - one.injected_at:.1f} s"
        table.add_row(f"{one.kind} in {one.workflow}", f"{when}, {then}")
    for launch in outcome.launches:
        notice = "notice" if launch.noticed else "no notice"
        table.add_row(f"launch of {launch.workflow}", f"{notice}, {'PAGED' if launch.paged else 'no page'}")
    table.add_row("alerts", f"{outcome.alerts} incidents and notices, {outcome.pages} pages")
    table.add_row("throttles", f"{outcome.throttles} commands, {board.others['rejected']} calls rejected")
    table.add_row(
        "refused",
        f"{board.others['malformed']} malformed records published, {board.dead_letters['records']} dead letters;"
        f" {board.others['duplicate']} duplicates published, none counted twice",
    )
    return table


def _sum(one: Sum) -> str:
    return f"{one.events:,} events, {format_usd(one.nanos)} ({one.nanos:,} nano-dollars)"


def _accounted(states: dict[str, WorkflowState]) -> Sum:
    return total({name: Sum(s.totals.calls, s.totals.cost) for name, s in states.items()})


def _lag(board: Board, states: dict[str, WorkflowState]) -> float:
    """Event time published less event time judged."""
    return max(0.0, board.event_time - max((s.now for s in states.values()), default=board.event_time))


def _in_force(board: Board) -> list[ThrottleCommand]:
    return [
        c
        for c in board.throttles.values()
        if c.action.action != "release" and c.expires_at.timestamp() > board.event_time
    ]


def _firing(board: Board, workflow: str, severity: str) -> bool:
    return any(
        a.workflow == workflow and a.status == "firing" and a.severity == severity
        for a in board.alerts.values()
    )


def _per_hour(nanos_per_s: float) -> str:
    return f"{format_usd(round(nanos_per_s * 3_600))}/h"
