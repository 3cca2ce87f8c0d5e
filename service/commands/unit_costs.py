"""`tidegate unit-costs`: what outcomes have cost, by workflow and kind."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Final

import orjson
import typer

from schemas.decode import decode
from schemas.outcomes import OutcomeRollup
from schemas.reasons import Refused
from schemas.rollups import BUCKET_SECONDS
from schemas.topics import ROLLUPS
from service.commands.invocation import invocation, printable
from service.commands.rendering import dollars
from service.dead_letters.selection import parse_instant
from service.runtime.clock import SystemClock
from service.settings import Settings

_MARK: Final = b'"type":"outcome"'
_HEAD: Final = ("workflow", "kind", "outcomes", "cost", "per outcome", "calls", "unmatched")


@dataclass(slots=True)
class UnitCost:
    """Outcomes of one workflow and kind, and what they have cost."""

    workflow: str
    kind: str
    outcomes: int = 0
    quantity_thousandths: int = 0
    unmatched: int = 0
    traces: int = 0
    cost_nanos: int = 0
    calls: int = 0
    unpriced_calls: int = 0

    @property
    def nanos_per_outcome(self) -> int | None:
        """Rounded to the nearest; None without outcomes."""
        if self.outcomes <= 0:
            return None
        return (2 * self.cost_nanos + self.outcomes) // (2 * self.outcomes)

    def add(self, told: OutcomeRollup) -> None:
        """Count a record."""
        self.outcomes += told.outcomes
        self.quantity_thousandths += told.quantity_thousandths
        self.unmatched += told.unmatched
        self.traces += told.traces
        self.cost_nanos += told.cost_nanos
        self.calls += told.calls
        self.unpriced_calls += told.unpriced_calls

    @property
    def nothing(self) -> bool:
        """It was all taken back, as when outcomes turn out to be another workflow's."""
        return not (self.outcomes or self.cost_nanos or self.calls)


def summed(records: Iterable[OutcomeRollup], since: datetime, pattern: str) -> list[UnitCost]:
    """By workflow and kind, of outcomes that occurred from `since` on, in buckets that lie wholly after it."""
    found: dict[tuple[str, str], UnitCost] = {}
    for told in records:
        if told.bucket_start >= since and fnmatchcase(told.workflow, pattern):
            place = told.workflow, told.kind
            found.setdefault(place, UnitCost(*place)).add(told)
    return [cost for _, cost in sorted(found.items()) if not cost.nothing]


def unit_costs(
    context: typer.Context,
    since: Annotated[
        str, typer.Option(help="Outcomes from this time on: RFC 3339, or how long ago, as 90s, 15m, 3h, 2d.")
    ] = "24h",
    workflow: Annotated[str, typer.Option(metavar="GLOB", help="Only of these workflows.")] = "*",
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line; money in nano-dollars.")
    ] = False,
) -> None:
    """Show what outcomes have cost, by workflow and kind: see docs/outcomes.md."""
    now = invocation(context)
    begin = parse_instant(since, SystemClock().now())
    costs = summed(now.run(_read(now.settings, begin)), begin, workflow)
    if as_json:
        for cost in costs:
            typer.echo(orjson.dumps(cost).decode())
        return
    if not costs:
        typer.echo("no outcomes", err=True)
        return
    for line in table(costs):
        typer.echo(line)


def table(costs: Iterable[UnitCost]) -> list[str]:
    """A head and a line each, as wide as they need."""
    rows = [_HEAD, *map(_row, costs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)  # names, then numbers
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _row(cost: UnitCost) -> tuple[str, ...]:
    each = cost.nanos_per_outcome
    return (
        printable(cost.workflow),
        printable(cost.kind),
        f"{cost.outcomes:,}",
        dollars(cost.cost_nanos),
        "-" if each is None else dollars(each),
        f"{cost.calls:,}",
        f"{cost.unmatched:,}",
    )


async def _read(settings: Settings, begin: datetime) -> list[OutcomeRollup]:
    from service.kafka import reader

    # A record about a bucket is written after what it is about, by clocks that may differ so much.
    early = timedelta(seconds=settings.ingest.future_allowance_s + BUCKET_SECONDS)
    kafka = settings.kafka
    found = []
    async with aclosing(reader.read(kafka, kafka.topic(ROLLUPS), since=begin - early)) as records:
        async for record in records:
            if record.value is not None and _MARK in record.value:
                try:
                    found.append(decode(OutcomeRollup, record.value))
                except Refused:
                    continue  # a workflow called so; `tidegate tail rollups` shows what is no record at all
    return found
