"""`tidegate dead-letters list | show | replay`: what could not be read, seen, mended and published again."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from pydantic import TypeAdapter, ValidationError

from schemas.base import Label
from schemas.dead_letters import DeadLetter, DeadLetterReplay
from schemas.reasons import Reason
from service.commands import dead_letter_text as text
from service.commands.dead_letter_replay import Wish
from service.commands.dead_letter_replay import replay as carry_out
from service.commands.invocation import Invocation, fail, invocation, printable
from service.commands.lines import Source
from service.dead_letters.exchange import document, parse_line
from service.dead_letters.mend import Check, Edit, parse_set, parse_unset
from service.dead_letters.selection import Selection, parse_instant, parse_origin, physical
from service.dead_letters.settle import Decision, Mending, Verdict
from service.errors import InvalidInput
from service.runtime.clock import SystemClock
from service.settings import KafkaSettings

app = typer.Typer(
    help="What ingest could not read: look at it, mend it, publish it again.", no_args_is_help=True
)

_Reasons = Annotated[
    list[Reason] | None, typer.Option("--reason", metavar="REASON", help="Only this reason; may be repeated.")
]
_Topics = Annotated[
    list[str] | None, typer.Option("--topic", help="Only from this topic, as cost-events; may be repeated.")
]
_Partitions = Annotated[
    list[int] | None, typer.Option("--partition", min=0, help="Only from this partition; may be repeated.")
]
_Since = Annotated[
    str | None, typer.Option(help="Only from this time on: RFC 3339, or how long ago, as 90s, 15m, 3h, 2d.")
]
_Until = Annotated[str | None, typer.Option(help="Only before this time.")]
_Gateway = Annotated[str | None, typer.Option(help="Only of this gateway, where the value can be read.")]
_WORDS: Final = {
    Verdict.PUBLISH: "published",
    Verdict.COUNTED: "counted",
    Verdict.DONE: "done",
    Verdict.CONFLICT: "conflict",
    Verdict.REFUSED: "refused",
    Verdict.FOREIGN: "foreign",
}


def _selection(
    now: Invocation,
    reasons: list[Reason] | None,
    topics: list[str] | None,
    partitions: list[int] | None,
    since: str | None,
    until: str | None,
    gateway: str | None,
    origins: Iterable[str] = (),
) -> Selection:
    prefix, at = now.settings.kafka.topic_prefix, SystemClock().now()
    return Selection(
        reasons=frozenset(reasons or ()),
        topics=frozenset(physical(topic, prefix) for topic in topics or ()),
        partitions=frozenset(partitions or ()),
        since=None if since is None else parse_instant(since, at),
        until=None if until is None else parse_instant(until, at),
        gateway=gateway,
        origins=frozenset(parse_origin(origin, prefix) for origin in origins),
    )


@app.command("list")
def list_(
    context: typer.Context,
    reason: _Reasons = None,
    topic: _Topics = None,
    partition: _Partitions = None,
    since: _Since = None,
    until: _Until = None,
    gateway: _Gateway = None,
    pending: Annotated[bool, typer.Option("--pending", help="Only what no replay has settled.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest so many.")] = None,
    summary: Annotated[bool, typer.Option("--summary", help="Counts by topic, reason and path.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with the value.")] = False,
) -> None:
    """List dead letters, oldest first, and whether a replay has settled them."""
    now = invocation(context)
    wanted = _selection(now, reason, topic, partition, since, until, gateway)
    found, marks, unreadable = now.run(_chosen(now.settings.kafka, wanted, pending, limit))
    if summary:
        for line in text.summary((letter, str(letter.origin) in marks) for letter in found):
            typer.echo(line)
    else:
        for letter in found:
            mark = marks.get(str(letter.origin))
            typer.echo(_json(letter, mark) if as_json else text.row(letter, mark))
    if unreadable:
        typer.echo(
            f"{unreadable:,} records are no dead letters; `tidegate tail dead-letters` shows them", err=True
        )


@app.command()
def show(
    context: typer.Context,
    origin: Annotated[str, typer.Argument(metavar="ORIGIN", help="TOPIC/PARTITION/OFFSET, as listed.")],
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Show everything about one dead letter: why it was refused, headers, and the value as it came."""
    now = invocation(context)
    wanted = Selection(origins=frozenset([parse_origin(origin, now.settings.kafka.topic_prefix)]))
    found, marks, _ = now.run(_chosen(now.settings.kafka, wanted, False, 1))
    if not found:
        fail(f"no dead letter from {printable(origin)}; `tidegate dead-letters list` lists all")
    for letter in found:
        mark = marks.get(str(letter.origin))
        for line in [_json(letter, mark)] if as_json else text.page(letter, mark):
            typer.echo(line)


@app.command()
def replay(
    context: typer.Context,
    origins: Annotated[
        list[str] | None, typer.Argument(metavar="[ORIGIN]...", help="TOPIC/PARTITION/OFFSET, as listed.")
    ] = None,
    reason: _Reasons = None,
    topic: _Topics = None,
    partition: _Partitions = None,
    since: _Since = None,
    until: _Until = None,
    gateway: _Gateway = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All there are, where nothing else is said.")
    ] = False,
    puts: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=JSON", help="Put a value; may be repeated.")
    ] = None,
    takes: Annotated[
        list[str] | None, typer.Option("--unset", metavar="PATH", help="Take a field away; may be repeated.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write them as JSON lines to be edited, and replay nothing."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE|-", help="Replay the lines of an exported, edited file."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen; write nothing.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also what was replayed with other content. Both are counted.")
    ] = False,
    look: Annotated[
        bool, typer.Option("--look/--no-look", help="Look whether a gateway has sent the same id again.")
    ] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Publish at most so many, oldest first.")] = None,
    author: Annotated[str | None, typer.Option(help="Who replays; kept with the mark of each.")] = None,
) -> None:
    """Mend dead letters and publish them again, each once: repeating it, also after a crash, changes nothing.

    Every mended record is checked as ingest will check it. Exit status 1 if one of them could not be settled.
    """
    now = invocation(context)
    wanted = _selection(now, reason, topic, partition, since, until, gateway, origins or ())
    if wanted.everything and not everything and source is None:
        fail("say which: ORIGIN..., a filter, --from FILE or --all", 2)
    if export is not None:
        if puts or takes or source:
            fail("--export writes the letters as they are: no --set, --unset or --from with it", 2)
        found, _, _ = now.run(_chosen(now.settings.kafka, wanted, False, limit))
        typer.echo(f"{_export(export, found):,} letters written to {export}", err=True)
        return
    kafka, ingest = now.settings.kafka, now.settings.ingest
    wish = Wish(
        kafka=kafka,
        selection=wanted,
        mending=Mending(
            prefix=kafka.topic_prefix,
            check=Check(SystemClock().now(), ingest.future_allowance_s, ingest.adapter),
            edits=_edits(puts or (), takes or ()),
            replacements={} if source is None else now.run(_replacements(source, kafka.topic_prefix)),
        ),
        dedup_offsets=ingest.dedup_offsets * 2,  # an id may be remembered for somewhat longer than that
        again=again,
        look=look,
        dry_run=dry_run,
        limit=limit,
        by=_label(author),
    )
    told, unknown = now.run(carry_out(wish, lambda d: _tell(d, dry_run), lambda s: typer.echo(s, err=True)))
    _conclude(told, unknown, wish)


def _tell(decision: Decision, dry_run: bool) -> None:
    verdict, word = decision.verdict, _WORDS[decision.verdict]
    if dry_run and verdict in (Verdict.PUBLISH, Verdict.COUNTED):
        word = f"would be {word}"
    typer.echo(printable(f"{word:<9} {decision.letter.origin} {decision.why}"))


def _conclude(told: Counter[Verdict], unknown: set[str], wish: Wish) -> None:
    for origin in sorted(unknown):
        typer.echo(f"unknown   {origin} is no dead letter that is still kept")
    counts = ", ".join(f"{told[verdict]:,} {_WORDS[verdict]}" for verdict in Verdict if told[verdict])
    typer.echo(f"{'dry run: ' if wish.dry_run else ''}{counts or 'no dead letter is meant'}")
    if told[Verdict.CONFLICT]:
        typer.echo(
            "replayed before with other content: --again would publish these besides the first", err=True
        )
    foreign = told[Verdict.FOREIGN] if wish.selection.origins else 0  # nobody else asked for them
    if unknown or foreign or told[Verdict.CONFLICT] or told[Verdict.REFUSED]:
        raise typer.Exit(1)


async def _chosen(
    kafka: KafkaSettings, wanted: Selection, pending: bool, limit: int | None
) -> tuple[list[DeadLetter], dict[str, DeadLetterReplay], int]:
    """The newest `limit` letters that are meant, the marks of those, and how many records are no letters."""
    from service.kafka.replays import letters, marks

    settled: dict[str, DeadLetterReplay] = {}
    async with aclosing(marks(kafka)) as replays:
        async for mark in replays:
            settled[str(mark.origin)] = mark
    chosen: deque[DeadLetter] = deque(maxlen=limit)
    unreadable = 0
    async with aclosing(letters(kafka)) as found:
        async for letter in found:
            if letter is None:
                unreadable += 1
            elif wanted.takes(letter):
                mark_of_it = settled.get(str(letter.origin))
                if mark_of_it is not None and mark_of_it.letter != letter.digest:
                    del settled[str(letter.origin)]  # of a topic that has been made anew since
                if not pending or str(letter.origin) not in settled:
                    chosen.append(letter)
    return list(chosen), settled, unreadable


def _json(letter: DeadLetter, mark: DeadLetterReplay | None) -> str:
    replayed = None if mark is None else orjson.Fragment(mark.to_json())
    headers = [
        {"key": h.key, "value": None if h.value is None else text.short(h.value)} for h in letter.headers
    ]
    return orjson.dumps({**document(letter), "headers": headers, "replayed": replayed}).decode()


def _export(path: Path, letters: list[DeadLetter]) -> int:
    lines = (orjson.dumps(document(letter)) + b"\n" for letter in letters)
    try:
        if str(path) == "-":
            sys.stdout.buffer.writelines(lines)
            sys.stdout.buffer.flush()
        else:
            with path.open("xb") as out:
                out.writelines(lines)
    except FileExistsError:
        raise InvalidInput(f"{path} exists already, and may have been edited; give another name") from None
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from None
    return len(letters)


def _edits(puts: Iterable[str], takes: Iterable[str]) -> list[Edit]:
    return [*map(parse_unset, takes), *map(parse_set, puts)]


async def _replacements(source: str, prefix: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    number = 0
    async with aclosing(Source(source).batches()) as batches:
        async for lines in batches:
            for line in lines:
                number += 1
                if not line.strip():
                    continue
                read = parse_line(line, number, prefix)
                if read.origin in found:
                    raise InvalidInput(f"line {number}: {read.origin} comes twice")
                found[read.origin] = read.value
    if not found:
        raise InvalidInput(f"{source}: no lines")
    return found


def _label(author: str | None) -> str | None:
    try:
        return TypeAdapter(Label | None).validate_python(author)
    except ValidationError:
        raise InvalidInput("--author: 1 to 200 characters, no control characters") from None
