"""The command line `tidegate`. Only puts the commands together; each has its file in `service.commands`."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from service.commands.invocation import Commands, Invocation
from service.commands.late import LateCommands, Place
from service.settings import ROLES

_HELP = """Streaming anomaly detection for AI API spend.

Exit status: 0 done, 1 bad input, 2 bad settings or usage, 3 no broker or topic, 4 too many dead letters,
5 state too large, 6 stalled, 7 topics or files differ, 8 a role died, 9 fenced, 10 config changed,
11 a backtest's process died, 70 a bug."""

_PLACES: Final[dict[str, Place]] = {
    "up": Place("roles", "up", "Run"),
    **{role: Place("roles", role, "Run") for role in (*ROLES, "door", "decisions", "callbacks")},
    "demo": Place("offline", "demo", "Try"),
    "replay": Place("offline", "replay", "Try"),
    "backtest": Place("backtest", "backtest", "Try"),
    "shadow": Place("shadow", "shadow", "Try"),
    "tune": Place("tune", "tune", "Try"),
    "topics": Place("topics", "app", "Operate"),
    "config": Place("config", "app", "Operate"),
    "alerts": Place("alerts", "app", "Operate"),
    "dead-letters": Place("dead_letters", "app", "Operate"),
    "approve": Place("approve", "approve", "Operate"),
    "feedback": Place("feedback", "feedback", "Operate"),
    "publish": Place("publish", "publish", "Operate"),
    "tail": Place("tail", "tail", "Operate"),
    "unit-costs": Place("unit_costs", "unit_costs", "Operate"),
    "schema": Place("contract", "schema", "Look up"),
    "settings": Place("contract", "settings", "Look up"),
}


class _Root(Commands):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = LateCommands(_PLACES)


app = typer.Typer(
    name="tidegate",
    cls=_Root,
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tidegate {version('tidegate')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            metavar="FILE",
            help="TOML file; default $TIDEGATE_CONFIG_FILE, then ./tidegate.toml. The environment wins.",
        ),
    ] = None,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    context.obj = Invocation(settings)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
