"""`tidegate schema` and `tidegate settings`: what is agreed, and what is in effect."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import orjson
import typer

from service.commands.invocation import fail, invocation


def schema(
    name: Annotated[str | None, typer.Argument(help="One of the listed names; without it, the list.")] = None,
    example: Annotated[
        bool, typer.Option("--example", help="A golden example instead of the schema.")
    ] = False,
) -> None:
    """List the records of the contract, or print the JSON Schema (2020-12) of one."""
    from schemas.base import json_schema
    from schemas.catalog import EXAMPLES, SCHEMAS
    from schemas.control import file
    from schemas.decode import decode

    if name is None:
        width = max(map(len, SCHEMAS))
        for known, model in SCHEMAS.items():
            summary = (model.__doc__ or "").partition("\n")[0]
            typer.echo(f"{known:<{width}}  {summary}".rstrip())
        typer.echo(f"{file.NAME:<{width}}  YAML files of `tidegate config apply`, for editors.")
        return
    if name == file.NAME and not example:
        typer.echo(json.dumps(file.file_schema(), indent=2, ensure_ascii=False))
        return
    found = SCHEMAS.get(name)
    if found is None:
        fail(f"no schema {name!r}; one of {', '.join(SCHEMAS)}")
    document = json_schema(found)
    if example:
        document = json.loads(decode(found, orjson.dumps(EXAMPLES[name])).to_json())
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def settings(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, without the sources.")] = False,
) -> None:
    """Print the effective settings and where each came from. Secrets are masked."""
    loaded = invocation(context).loaded
    document = loaded.settings.masked()
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    for path, value in _leaves(document):
        origin = next(
            (source for at, source in loaded.origins.items() if path == at or path.startswith(f"{at}.")),
            "default",
        )
        typer.echo(f"{path} = {json.dumps(value)}  # {origin}")


def _leaves(document: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{inside}{key}.")
        else:
            yield f"{inside}{key}", value
