"""`tidegate tune WORKFLOW`: settings for a page budget, out of the workflow's own past."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
import typer

from schemas.control import Tuning
from schemas.decode import decode, parse_object
from schemas.feedback import Feedback
from schemas.money import format_usd, nanos
from schemas.reasons import Refused
from schemas.topics import FEEDBACK
from service.commands.backtest import (
    AsJson,
    EventFiles,
    FromTopic,
    Live,
    Processes,
    Since,
    Topic,
    WarmUp,
    history_of,
    instant,
    live_book,
)
from service.commands.control_yaml import as_yaml
from service.commands.invocation import fail, invocation
from service.commands.lines import UNREADABLE, Source
from service.errors import InvalidInput, TopicsMissing
from service.rules.config import WorkflowConfig
from service.settings import KafkaSettings

if TYPE_CHECKING:
    from service.backtest.course import Judged
    from service.backtest.tuning import Episode, Point

_WARM_DAYS: Final = 7.0
_HALF_AN_HOUR_S: Final = 1_800.0
_COLUMNS: Final = (
    "",
    "page_budget",
    "min usd",
    "min minutes",
    "pages",
    "a month",
    "needless",
    "caught",
    "missed",
    "median delay",
)


def tune(
    context: typer.Context,
    workflow: Annotated[str, typer.Argument(help="The workflow's name.")],
    page_budget: Annotated[
        float, typer.Option(min=0.0, max=100, help="Needless pages a month that are put up with.")
    ] = 0.25,
    events: EventFiles = None,
    since: Since = None,
    live: Live = None,
    feedback: Annotated[
        Path | None,
        typer.Option(
            help="What people said of alerts: JSON lines with `fingerprint` and `worth` (real, planned, expected,"
            " not_worth_it). Default: the topic `feedback`, unless history is of files.",
            dir_okay=False,
        ),
    ] = None,
    real_above: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="USD",
            help="What nobody has spoken of is real if it came to so much over the usual; default: half an hour of"
            " what the workflow spends on average.",
        ),
    ] = None,
    minutes: Annotated[
        bool, typer.Option("--minutes", help="Vary min_excess_minutes, too: twice the work.")
    ] = False,
    from_topic: FromTopic = Topic.AUTO,
    warm_days: WarmUp = _WARM_DAYS,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the trade-off here, as SVG.", dir_okay=False)
    ] = None,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Try settings on a workflow's own past, and propose one: see docs/tuning.md."""
    from service.backtest import tuning
    from service.backtest.candidate import Candidate
    from service.backtest.compare import MONTH_S
    from service.backtest.curve import curve
    from service.backtest.spread import judged

    now = invocation(context)
    present = live_book(now, live, needs_topic=not events)
    if feedback is not None:
        labels = read_feedback(feedback)
    else:
        labels = {} if events else now.run(_told(now.settings.kafka))
    tried = tuning.grid(tuning.Setting.of(_resolved(present, workflow)), minutes=minutes)
    books = [present, *(tuning.with_setting(present, workflow, setting) for setting in tried[1:])]
    history = history_of(now, events, from_topic, since, warm_days, books)
    found = judged(
        history,
        [Candidate.of(str(i), book) for i, book in enumerate(books)],
        only=workflow,
        processes=processes,
    )
    if workflow not in found.seen.first:
        fail(f"no call of workflow {workflow!r} in {history.describe()}")
    begin, end = found.seen.first[workflow], found.seen.end or 0.0
    begin = max(begin, instant(since, found.seen.end) or begin)
    told = [[i for i in verdict.incidents if i.told >= begin] for verdict in found.verdicts]
    material = _material(found, workflow, real_above)
    seen = tuning.episodes(told, labels, material)
    months = (end - begin) / MONTH_S
    points = [tuning.point(s, side, seen, months) for s, side in zip(tried, told, strict=True)]
    chosen = tuning.proposed(points, page_budget)
    record = tuning.record(present, workflow, chosen.setting)
    if picture is not None:
        try:
            picture.write_text(curve(workflow, points, chosen), encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"{picture}: {error.strerror}") from None
    if as_json:
        typer.echo(_json(workflow, page_budget, months, material, seen, points, chosen, record))
        return
    _show(workflow, page_budget, months, material, seen, points, chosen, record)


def _resolved(book: Any, workflow: str) -> WorkflowConfig:
    from service.runtime.clock import SystemClock

    config: WorkflowConfig = book.at(SystemClock().now()).workflow(workflow)
    return config


def read_feedback(path: Path) -> dict[str, str]:
    """Fingerprint to the last word on it. Raises InvalidInput."""
    found: dict[str, str] = {}
    source, number = Source(str(path)), 0
    try:
        for block in source.blocks():
            for line in block:
                number += 1
                if not line.strip():
                    continue
                document = parse_object(line)
                fingerprint, worth = document.get("fingerprint"), document.get("worth")
                if not isinstance(fingerprint, str) or not isinstance(worth, str):
                    raise InvalidInput(f"{path}:{number}: expected `fingerprint` and `worth`")
                found[fingerprint] = worth
    except Refused as refused:
        raise InvalidInput(f"{path}:{number}: {refused}") from None
    except UNREADABLE as error:
        raise InvalidInput(f"{path}: {error}") from None
    finally:
        source.close()
    return found


async def _told(kafka: KafkaSettings) -> dict[str, str]:
    """The same, as the topic `feedback` has it; nothing where that does not exist."""
    from service.kafka import reader

    found: dict[str, str] = {}
    try:
        async with aclosing(reader.read(kafka, kafka.topic(FEEDBACK))) as records:
            async for record in records:
                key = (record.key or b"").decode("utf-8", "replace")
                try:
                    if record.value is None:
                        found.pop(key, None)
                    else:
                        said = decode(Feedback, record.value)
                        found[said.fingerprint] = said.worth
                except Refused:
                    continue  # `tidegate tail feedback` shows what is none
    except TopicsMissing:
        return {}
    return found


def _material(found: Judged, workflow: str, real_above: float | None) -> int:
    """Nano-dollars from which on what nobody has spoken of is taken for real."""
    if real_above is not None:
        return nanos(Decimal(str(real_above)))
    seen = found.seen
    span = max(seen.last[workflow] - seen.first[workflow], _HALF_AN_HOUR_S)
    return round(seen.cost_of[workflow] * (_HALF_AN_HOUR_S / span))


def _json(
    workflow: str,
    page_budget: float,
    months: float,
    material: int,
    seen: Sequence[Episode],
    points: Sequence[Point],
    chosen: Point,
    record: Tuning,
) -> str:
    document = {
        "workflow": workflow,
        "page_budget": page_budget,
        "months": round(months, 6),
        "real_above_nanos": material,
        "episodes": [
            {
                "started_at": round(e.started, 3),
                "ended_at": round(e.ended, 3),
                "excess_nanos": e.excess,
                "worth": e.worth,
                "kinds": list(e.kinds),
            }
            for e in seen
        ],
        "present": points[0].to_dict(),
        "proposed": chosen.to_dict(),
        "tried": [p.to_dict() for p in points],
        "record": orjson.loads(record.to_json()),
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def _show(
    workflow: str,
    page_budget: float,
    months: float,
    material: int,
    seen: Sequence[Episode],
    points: Sequence[Point],
    chosen: Point,
    record: Tuning,
) -> None:
    from rich.console import Console
    from rich.table import Table

    from service.backtest import tuning

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    counts = {worth: sum(e.worth == worth for e in seen) for worth in ("real", "noise", "unknown")}
    console.print(
        f"{months * 30:.1f} days. Some setting would have paged {len(seen)} times over: {counts['real']} real"
        f" ({format_usd(material)} over the usual, or said so), {counts['noise']} said to be none,"
        f" {counts['unknown']} small and unspoken of"
    )
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(_COLUMNS):
        table.add_column(name, justify="right" if number else "left")
    for row in tuning.rows(points, chosen):
        table.add_row(*row)
    console.print(table)
    console.print()
    if chosen.needless_per_month > page_budget:
        console.print(f"# No setting keeps to {page_budget:g} needless pages a month; this has the fewest.")
    if chosen is points[0]:
        console.print("# The present setting is as good as any that was tried.")
    console.out(as_yaml(record).rstrip())
