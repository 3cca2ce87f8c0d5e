"""Commands that are imported when they are asked for: a role's process loads nothing that only others need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
import typer.main


class Place(NamedTuple):
    """Where a command is: a function, or the `typer.Typer` of a group of them."""

    module: str
    """Within `service.commands`."""
    name: str
    panel: str
    """The heading under which it is listed."""


class LateCommands(MutableMapping[str, Any]):
    """Click's commands by their names, in the order in which they are listed."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = dict(places)
        self._found: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._found:
            self._found[name] = _load(name, self._places[name])
        return self._found[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._found[name] = command

    def __delitem__(self, name: str) -> None:
        self._found.pop(name, None)
        self._places.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._places, *self._found)))

    def __len__(self) -> int:
        return len(self._places.keys() | self._found.keys())


def _load(name: str, place: Place) -> Any:
    found = getattr(import_module(f"service.commands.{place.module}"), place.name)
    around = typer.Typer(add_completion=False)
    if isinstance(found, typer.Typer):
        around.add_typer(found, name=name, rich_help_panel=place.panel)
    else:
        around.command(name=name, rich_help_panel=place.panel)(found)
    return typer.main.get_group(around).commands[name]
