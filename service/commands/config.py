"""`tidegate config …`: what ops change while everything runs. Here, what only looks; `config_apply` changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.base import format_timestamp
from schemas.control import ConfigChange
from schemas.decode import MAX_BYTES
from schemas.reasons import Refused
from schemas.topics import CONFIG
from service.commands import config_apply
from service.commands.config_explained import as_json, as_text, in_short
from service.commands.control_yaml import as_yaml, export
from service.commands.invocation import fail, invocation, printable
from service.commands.rendering import line
from service.rules.config import ConfigBook, read_control
from service.rules.config_explain import explain as explained
from service.rules.config_signature import Signatures
from service.runtime.clock import SystemClock

if TYPE_CHECKING:
    from service.kafka.config_topic import Standing

app = typer.Typer(help="The records of the config topic.", no_args_is_help=True)

_Key = Annotated[str | None, typer.Argument(metavar="KIND/NAME", help="Default: all.")]
_Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command()
def validate(paths: config_apply.Paths) -> None:
    """Check files as the workers will, without a broker. Says which field of which record is wrong."""
    for found in config_apply.valid(paths):
        typer.echo(f"ok {found.key}")


app.command()(config_apply.diff)
app.command()(config_apply.apply)
app.command()(config_apply.delete)
app.command()(config_apply.rollback)
app.command()(config_apply.sign)


@app.command()
def get(context: typer.Context, key: _Key = None) -> None:
    """Print the records as YAML that `config apply` takes, and where a newer one was refused."""
    from service.kafka.config_topic import standing

    now = invocation(context)
    found = now.run(standing(now.settings.kafka))
    book = found.book
    if key is not None and key not in book.records and key not in found.refused:
        fail(f"no record {printable(key)} is in force; `tidegate config get` lists all")
    typer.echo(f"# version {book.version}, {len(book.records)} records")
    _tell_dates(book)
    for told in _refused(found, key):
        typer.echo(told)
    for name, record in sorted(book.records.items()):
        if key in (None, name):
            typer.echo("---")
            typer.echo(as_yaml(record), nl=False)


@app.command(name="export")
def export_(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(file_okay=False, help="Gets KIND/NAME.yaml for each record.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove the records that are there before.")
    ] = False,
    schema: Annotated[
        str | None,
        typer.Option(help="Path or URL of the JSON Schema, for the first line, which editors read."),
    ] = None,
) -> None:
    """Write all records into a folder, a file each. `config apply FOLDER` takes them back."""
    from service.kafka.config_topic import standing

    now = invocation(context)
    found = now.run(standing(now.settings.kafka))
    written = export(found.book.records, folder, replace=replace, schema=schema)
    typer.echo(f"wrote {len(written)} records of version {found.book.version} to {folder}")
    for told in _refused(found, None):
        typer.echo(told, err=True)


@app.command()
def explain(
    context: typer.Context,
    workflow: Annotated[str, typer.Argument(help="Its name; or of a scope, as alerts write it.")],
    team: Annotated[str | None, typer.Option(help="The team of its calls.")] = None,
    json_: _Json = False,
) -> None:
    """Say which record set each value that a workflow is judged by, and which other records are about it."""
    from service.kafka.config_topic import standing

    now = invocation(context)
    found = explained(now.run(standing(now.settings.kafka)).book, workflow, team, SystemClock().now())
    if json_:
        typer.echo(json.dumps(as_json(found), indent=2, ensure_ascii=False))
        return
    for shown in as_text(found):
        typer.echo(printable(shown))


@app.command()
def history(
    context: typer.Context,
    key: _Key = None,
    last: Annotated[int | None, typer.Option(min=1, help="Only so many changes, the last ones.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="ConfigChange records, a line each.")] = False,
) -> None:
    """Print every change there was, oldest first: when, who, why, the version it led to, and what refused it."""
    from service.kafka import config_history, config_past
    from service.kafka.config_topic import rejections, standing

    now = invocation(context)
    kafka = now.settings.kafka
    found = now.run(standing(kafka))
    entries = now.run(config_history.history(kafka, found))
    said: dict[tuple[str, int], list[str]] = {}
    for rejection in now.run(rejections(kafka)):
        said.setdefault((rejection.key, rejection.offset), []).append(line(rejection))
    shown = [entry for entry in entries if key in (None, entry.key)]
    shown = shown if last is None else shown[-last:]
    if json_:
        for entry in shown:
            typer.echo(entry.to_json())
        return
    wanted = {(entry.offset, entry.written_at) for entry in shown}

    def tell(entry: ConfigChange, book: ConfigBook, refused: Refused | None) -> None:
        if (entry.offset, entry.written_at) in wanted:
            for told in _told(entry, book, refused, said.get((entry.key, entry.offset), [])):
                typer.echo(told)

    config_past.fold(entries, Signatures(kafka.topic(CONFIG), kafka.config_secrets()), tell)
    typer.echo(f"# {len(shown)} of {len(entries)} changes; version {found.book.version} holds")


@app.command(name="rejections")
def rejections_(context: typer.Context, key: _Key = None, json_: _Json = False) -> None:
    """Print what workers have refused in the last 30 days: which field, why, and whether it still matters."""
    from service.kafka.config_topic import rejections, standing

    now = invocation(context)
    found = now.run(standing(now.settings.kafka))
    for rejection in now.run(rejections(now.settings.kafka)):
        if key not in (None, rejection.key):
            continue
        if json_:
            typer.echo(rejection.to_json())
            continue
        latest = found.refused.get(rejection.key, (None, None))[0] == rejection.offset
        state = "not mended" if latest else "replaced since"
        typer.echo(f"{format_timestamp(rejection.rejected_at)} {line(rejection)} ({state})")


def _refused(found: Standing, key: str | None) -> Iterator[str]:
    for name, (offset, refused) in sorted(found.refused.items()):
        if key in (None, name):
            held = "the one before it holds" if name in found.book.records else "nothing of this name holds"
            where = f"{refused.path}: " if refused.path else ""
            why = f"{refused.reason.value}: {where}{refused.detail}"
            yield printable(f"# {name}: the record at offset {offset} is refused, {held}: {why}")


def _tell_dates(book: ConfigBook) -> None:
    now = SystemClock().now()
    held = book.at(now)
    if held is book:
        return
    typer.echo(
        f"# workers go by version {held.version}, {len(held.records)} records: the rest has another date"
    )
    for key in sorted(book.records.keys() - held.records.keys()):
        record = book.records[key]
        later = record.effective_at is not None and record.effective_at > now
        date = record.effective_at if later else record.expires_at
        assert date is not None, "it would hold without one"
        word = "will hold from" if later else "has not held since"
        typer.echo(printable(f"# {key} {word} {format_timestamp(date)}"))


def _told(entry: ConfigChange, book: ConfigBook, refused: Refused | None, said: list[str]) -> Iterator[str]:
    head = f"{format_timestamp(entry.written_at)} {entry.offset:>5} {printable(entry.key, 200)}"
    author, reason = entry.author, entry.reason
    content = "deleted"
    if refused is not None:
        content = f"refused: {refused.reason.value}: {refused}"
    elif entry.value is not None:
        record = read_control(entry.key, entry.value)
        author, reason = author or record.author, reason or record.reason
        content = in_short(record)
    who = f" by {author}" if author else " by somebody else's means" if entry.command == "seen" else ""
    why = f" ({reason})" if reason else ""
    cut = f" … of {entry.size} bytes" if entry.size > MAX_BYTES else ""
    yield f"{head}  {printable(entry.command + who + why)} -> {book.version}"
    yield f"    {printable(content, 1_000)}{cut}"
    for refusal in said:
        yield f"    {refusal}"
