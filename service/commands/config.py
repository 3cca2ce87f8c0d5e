"""`tidegate config validate | apply | delete | get | history`: what ops change while everything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

from schemas.base import format_timestamp
from schemas.control import Control
from schemas.reasons import Refused
from service.commands.control_files import Found, read_files
from service.commands.invocation import Invocation, fail, invocation, printable
from service.commands.rendering import line
from service.errors import InvalidInput
from service.rules.config import control_key, read_control

app = typer.Typer(help="The records of the config topic.", no_args_is_help=True)

_Files = Annotated[list[Path], typer.Argument(help="YAML or JSON, one or several records each.")]
_Wait = Annotated[
    bool, typer.Option("--wait", help="Wait a few seconds for a worker's refusal; status 1 if one comes.")
]
_WAIT_S: Final = 3.0


@app.command()
def validate(files: _Files) -> None:
    """Check files as the workers will, without a broker. Says which field of which record is wrong."""
    for found in _valid(files):
        typer.echo(f"ok {found.key}")


@app.command()
def apply(
    context: typer.Context,
    files: _Files,
    author: Annotated[str | None, typer.Option(help="Who changes it, where a record does not say.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why, where a record does not say.")] = None,
    wait: _Wait = False,
) -> None:
    """Publish the records of files; all of them or, if one is wrong, none. What holds already is left alone."""
    now = invocation(context)
    records = [_signed(found, author, reason) for found in _valid(files)]
    now.run(_apply(now, {control_key(r): r.to_json() for r in records}, wait))


@app.command()
def delete(
    context: typer.Context,
    keys: Annotated[list[str], typer.Argument(help="KIND/NAME, as `config get` lists them.")],
    wait: _Wait = False,
) -> None:
    """Delete records: what they overrode holds again."""
    now = invocation(context)
    now.run(_apply(now, dict.fromkeys(keys), wait))


@app.command()
def get(
    context: typer.Context,
    key: Annotated[str | None, typer.Argument(help="KIND/NAME; default: all.")] = None,
) -> None:
    """Print what is in force, as YAML that `config apply` takes."""
    from service.kafka.config_topic import in_force

    now = invocation(context)
    book = now.run(in_force(now.settings.kafka))
    if key is not None and key not in book.records:
        fail(f"no record {printable(key)} is in force; `tidegate config get` lists all")
    typer.echo(f"# version {book.version}, {len(book.records)} records")
    for name, record in sorted(book.records.items()):
        if key in (None, name):
            typer.echo("---")
            typer.echo(_as_yaml(record), nl=False)


@app.command()
def history(
    context: typer.Context,
    key: Annotated[str | None, typer.Argument(help="KIND/NAME; default: all.")] = None,
) -> None:
    """Print the changes that the topic still has, oldest first, with the refusals."""
    from service.kafka.config_topic import changes

    now = invocation(context)
    found = now.run(changes(now.settings.kafka))
    for change in found.changes:
        if key in (None, change.key):
            head = f"{format_timestamp(change.at)} {change.offset:>5} {printable(change.key, 200)}"
            typer.echo(f"{head}  {_told(change.key, change.value)}")
            for refusal in change.refusals:
                typer.echo(f"{'':>{len(head)}}  {line(refusal)}")
    if found.missing:
        typer.echo(
            f"# {found.missing} of {found.end} offsets are gone: the topic is compacted, and of each key only"
            " the last record is sure to be kept"
        )
    else:
        typer.echo("# complete so far; the topic is compacted, so older changes of a key will go in time")


def _told(key: str, value: bytes | None) -> str:
    if value is None:
        return "deleted"
    try:
        return line(read_control(key, value))
    except Refused as refused:
        return f"not valid: {printable(str(refused))}"


def _valid(files: list[Path]) -> list[Found]:
    found, problems = read_files(files)
    for problem in problems:
        typer.echo(f"tidegate: {printable(str(problem))}", err=True)
    if problems:
        raise typer.Exit(InvalidInput.exit_code)
    return found


def _signed(found: Found, author: str | None, reason: str | None) -> Control:
    record = found.record
    given = {"author": author, "reason": reason}
    added = {name: value for name, value in given.items() if value and getattr(record, name) is None}
    if not added:
        return record
    try:
        document: dict[str, Any] = {**record.model_dump(mode="json", exclude_none=True), **added}
        return type(record).model_validate(document)
    except ValueError as error:
        raise InvalidInput(f"--author or --reason: {error}") from None


async def _apply(now: Invocation, wanted: dict[str, bytes | None], wait: bool) -> None:
    from service.kafka.config_topic import in_force, publish, refusals

    kafka = now.settings.kafka
    book = await in_force(kafka)
    changed = {}
    for key, value in wanted.items():
        held = book.records.get(key)
        if (None if held is None else held.to_json()) == value:
            typer.echo(f"unchanged {key}")
        else:
            changed[key] = value
    offsets = await publish(kafka, changed)
    for key, offset in offsets.items():
        typer.echo(f"{'deleted' if changed[key] is None else 'published'} {key} at offset {offset}")
    if wait and offsets:
        refused = await refusals(kafka, offsets, within_s=_WAIT_S)
        for refusal in refused:
            typer.echo(f"tidegate: {line(refusal)}", err=True)
        if refused:
            raise typer.Exit(1)
        typer.echo(f"no worker has refused it within {_WAIT_S:g} s")
    typer.echo(f"version {(await in_force(kafka)).version}")


def _as_yaml(record: Control) -> str:
    body = record.model_dump(mode="json", exclude_none=True, exclude={"schema_version"})
    head = {"kind": body.pop("kind"), "name": body.pop("name")}
    return str(yaml.safe_dump(head | body, sort_keys=False, allow_unicode=True))
