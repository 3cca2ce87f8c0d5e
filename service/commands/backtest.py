"""`tidegate backtest`: what another configuration would have said of what has been."""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import orjson
import typer

from service.commands.config_plan import Order, plan
from service.commands.control_files import read_files
from service.commands.invocation import Invocation, invocation
from service.dead_letters.selection import parse_instant
from service.errors import InvalidInput
from service.rules.config import ConfigBook
from service.runtime.clock import SystemClock

if TYPE_CHECKING:
    from service.backtest.account import Account
    from service.backtest.history import History

_WARM_DAYS: Final = 7.0


class Topic(StrEnum):
    """Which topic is history. `auto`: rollups, unless the candidate has other prices or watches."""

    AUTO = "auto"
    ROLLUPS = "rollups"
    EVENTS = "cost-events"


Config = Annotated[
    list[Path],
    typer.Option(
        "--config",
        metavar="CANDIDATE",
        help="What would be applied: a YAML or JSON file, or a folder of them.",
    ),
]
Whole = Annotated[
    bool,
    typer.Option(
        "--whole", help="The candidate is all there is; default: it is applied on top of the live one."
    ),
]
Live = Annotated[
    Path | None, typer.Option(help="The live configuration, a file or folder; default: the config topic's.")
]
Since = Annotated[
    str | None,
    typer.Option(
        help="Compare what was told from this time on: RFC 3339, or how long before the end, as 14d."
    ),
]
EventFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--events", metavar="FILE", help="Cost events as JSON lines, plain, .gz or .zst; repeatable."
    ),
]
WarmUp = Annotated[
    float, typer.Option(min=0, help="Days before --since from which is learnt, where the topic has them.")
]
FromTopic = Annotated[Topic, typer.Option("--from", help="Without --events: which topic is read.")]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1, help="That judge, besides the one that reads; 1: all in one. Default: one for each core."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object; money in nano-dollars.")]


def backtest(
    context: typer.Context,
    config: Config,
    live: Live = None,
    whole: Whole = False,
    since: Since = None,
    events: EventFiles = None,
    from_topic: FromTopic = Topic.AUTO,
    warm_days: WarmUp = _WARM_DAYS,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Draw each changed incident into this folder, as SVG.", file_okay=False),
    ] = None,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Judge history by a candidate configuration beside the live one: see docs/tuning.md."""
    from service.backtest.candidate import Candidate
    from service.backtest.spread import judged

    now = invocation(context)
    present = live_book(now, live, needs_topic=events is None)
    proposed = candidate_book(present, config, whole=whole)
    history = history_of(now, events, from_topic, since, warm_days, [present, proposed])
    found = judged(
        history,
        [Candidate.of("live", present), Candidate.of("candidate", proposed)],
        spend=pictures is not None,
        processes=processes,
    )
    from service.backtest.account import Account

    account = Account.of(history.describe(), found, instant(since, found.seen.end))
    if pictures is not None:
        draw(account, pictures)
    if as_json:
        typer.echo(orjson.dumps(account.to_dict(), option=orjson.OPT_INDENT_2).decode())
        return
    show(account)


def live_book(now: Invocation, live: Path | None, *, needs_topic: bool) -> ConfigBook:
    """The live configuration with all dates: of a file, or as the topic has it now.

    Raises
    ------
    InvalidInput, BrokerUnavailable
    """
    if live is not None:
        return book_of([live])
    if not needs_topic:
        # Files can be judged without a broker, by the defaults.
        return ConfigBook.empty()
    from service.kafka.config_topic import standing

    return now.run(standing(now.settings.kafka)).book


def book_of(paths: list[Path]) -> ConfigBook:
    """Files as a book. Raises InvalidInput with every problem."""
    found, problems = read_files(paths)
    if problems:
        raise InvalidInput("; ".join(str(problem) for problem in problems))
    book = ConfigBook.empty()
    for offset, item in enumerate(found):
        book = book.apply(item.key, item.record.to_json(), offset)
    return book


def candidate_book(present: ConfigBook, paths: list[Path], *, whole: bool) -> ConfigBook:
    """The live configuration once files are applied, as `config apply` would. Raises InvalidInput."""
    if whole:
        return book_of(paths)
    found, problems = read_files(paths)
    if problems:
        raise InvalidInput("; ".join(str(problem) for problem in problems))
    planned = plan(present, found, Order(take_over=True), SystemClock().now())
    book, offset = present, present.offset
    for key, value in planned.records.items():
        offset += 1
        book = book.apply(key, value, offset)
    return book


def history_of(
    now: Invocation,
    events: list[Path] | None,
    from_topic: Topic,
    since: str | None,
    warm_days: float,
    books: list[ConfigBook],
) -> History:
    """What is judged. Raises InvalidInput."""
    from service.backtest.course import same_fold
    from service.backtest.history import Events, Files, Rollups

    if events:
        with suppress(OSError):
            for path in events:
                if path.is_dir():
                    raise InvalidInput(f"{path}: is a folder; give the files in order of time")
        return Files([str(path) for path in events])
    begin = None
    if since is not None:
        begin = parse_instant(since, SystemClock().now()) - timedelta(days=warm_days)
    folds_alike = all(same_fold(books[0], book) for book in books)
    if from_topic is Topic.ROLLUPS or (from_topic is Topic.AUTO and folds_alike):
        if not folds_alike:
            sys.stderr.write(
                "tidegate: rollups know nothing of other prices and watches; --from cost-events\n"
            )
        return Rollups(now.settings.kafka, begin)
    return Events(now.settings.kafka, begin, now.settings.ingest)


def instant(since: str | None, end: float | None) -> float | None:
    """`--since` is before the end of the history: a file of last year has its own fourteen days."""
    if since is None or end is None:
        return None
    return parse_instant(since, datetime.fromtimestamp(end, UTC)).timestamp()


def draw(account: Account, folder: Path) -> None:
    """A picture for each incident that is gained, lost or changed. Raises InvalidInput."""
    from service.backtest.picture import file_name, picture

    found = account.comparison
    pairs = [
        *((None, incident) for incident in found.gained),
        *((incident, None) for incident in found.lost),
        *((pair.live, pair.candidate) for pair in found.changed),
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, (live, candidate) in enumerate(pairs, 1):
            one = live or candidate
            assert one is not None
            drawn = picture(account.seen.spend.get(one.key, {}), live, candidate)
            (folder / file_name(number, one)).write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{folder}: {error.strerror}") from None


def show(account: Account) -> None:
    """The tables on standard output."""
    from rich.console import Console

    from service.backtest.table import tables

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    for part in tables(account):
        console.print(part)
        console.print()
