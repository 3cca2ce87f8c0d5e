"""The account of a backtest for people, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from rich.table import Table

from service.backtest.account import Account
from service.backtest.incident import Incident
from service.commands.invocation import printable
from service.commands.rendering import dollars

MOST = 50
"""Rows of a table; `--json` has all."""


def when(epoch: float) -> str:
    """To the second, UTC."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """As people say it: `40 s`, `12 min`, `3.5 h`."""
    size = abs(seconds)
    if size < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if size < 7_200 else f"{seconds / 3_600:.1f} h"


def tables(account: Account) -> Iterator[Table | str]:
    """Totals of both, then what differs."""
    seen, watch = account.seen, account.watch
    if seen.begin is None:
        yield "No calls in this history."
        return
    yield (
        f"{seen.events:,} calls, {dollars(seen.cost_nanos)}, {watch.workflows:,} workflows,"
        f" {when(watch.since)} to {when(watch.until)} UTC ({(watch.until - watch.since) / 86_400:.1f} days)"
        + (f", {seen.refused:,} records refused" if seen.refused else "")
    )
    yield _totals(account)
    found = account.comparison
    if found.same:
        yield "Nobody would be told anything else, nor at another time."
    if found.gained:
        yield from _listed("Gained: the candidate alone tells", found.gained)
    if found.lost:
        yield from _listed("Lost: only the live configuration tells", found.lost)
    if found.changed:
        yield from _changed(account)


def _totals(account: Account) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    pages = account.pages()
    rates = [account.watch.per_month(count) for count in pages]
    for name in ("live", "candidate"):
        table.add_column(name, justify="right")
    rows: list[tuple[str, Iterable[str]]] = [
        ("alerts", (f"{len(told):,}" for told in account.told)),
        ("pages", (f"{count:,}" for count in pages)),
        ("pages per workflow-month", ("-" if rate is None else f"{rate:.2f}" for rate in rates)),
        ("excess of what is told", (dollars(sum(i.excess for i in told)) for told in account.told)),
    ]
    both = (account.live.throttled, account.candidate.throttled)
    rows.append(("throttled scopes", (f"{side.scopes:,}" for side in both)))
    for command in sorted({name for side in both for name in side.commands}):
        rows.append((f"commands {command}", (f"{side.commands[command]:,}" for side in both)))
    rows.append(("dry runs would have saved", (dollars(side.spared_nanos) for side in both)))
    for label, cells in rows:
        table.add_row(label, *cells)
    return table


def _listed(title: str, incidents: list[Incident]) -> Iterator[Table | str]:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("workflow", "kind", "severity", "began", "told"):
        table.add_column(column)
    for column in ("excess by then", "excess", "cost"):
        table.add_column(column, justify="right")
    for incident in incidents[:MOST]:
        table.add_row(
            printable(incident.workflow, 40),
            incident.kind,
            incident.severity,
            when(incident.started),
            f"+{span(incident.delay_s)}",
            dollars(incident.told_excess),
            dollars(incident.excess),
            dollars(incident.cost),
        )
    yield table
    yield from _more(len(incidents))


def _changed(account: Account) -> Iterator[Table | str]:
    table = Table(title="Changed", title_justify="left", box=None, pad_edge=False)
    for column in ("workflow", "kind", "began", "live told", "candidate told", "what changes"):
        table.add_column(column)
    table.add_column("excess", justify="right")
    changed = account.comparison.changed
    for pair in changed[:MOST]:
        words = [
            f"{span(abs(pair.later_s))} {word}" if word in ("earlier", "later") else word
            for word in pair.differences
        ]
        table.add_row(
            printable(pair.live.workflow, 40),
            pair.live.kind,
            when(pair.live.started),
            when(pair.live.told),
            when(pair.candidate.told),
            ", ".join(words),
            dollars(max(pair.live.excess, pair.candidate.excess)),
        )
    yield table
    yield from _more(len(changed))


def _more(count: int) -> Iterator[str]:
    if count > MOST:
        yield f"… and {count - MOST:,} more: `--json` has all of them"
