"""The command line `tidegate`. Only puts the commands together; each group has its file in `service.commands`."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from service.commands import (
    alerts,
    approve,
    backtest,
    config,
    contract,
    dead_letters,
    feedback,
    offline,
    publish,
    roles,
    shadow,
    tail,
    topics,
    tune,
    unit_costs,
)
from service.commands.invocation import Commands, Invocation

_HELP = """Streaming anomaly detection for AI API spend.

Exit status: 0 done, 1 bad input, 2 bad settings or usage, 3 no broker or topic, 4 too many dead letters,
5 state too large, 6 stalled, 7 topics or files differ, 8 a role died, 9 fenced, 10 config changed, 70 a bug."""

app = typer.Typer(
    name="tidegate",
    cls=Commands,
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


app.command(rich_help_panel="Run")(roles.up)
app.command(rich_help_panel="Run")(roles.ingest)
app.command(rich_help_panel="Run")(roles.detect)
app.command(rich_help_panel="Run")(roles.notify)
app.command(rich_help_panel="Run")(roles.budgets)
app.command(rich_help_panel="Run")(roles.throttles)
app.command(rich_help_panel="Run")(roles.outcomes)
app.command(rich_help_panel="Run")(roles.door)
app.command(rich_help_panel="Run")(roles.decisions)
app.command(rich_help_panel="Run")(roles.callbacks)
app.command(rich_help_panel="Try")(offline.demo)
app.command(rich_help_panel="Try")(offline.replay)
app.command(rich_help_panel="Try")(backtest.backtest)
app.command(rich_help_panel="Try")(shadow.shadow)
app.command(rich_help_panel="Try")(tune.tune)
app.add_typer(topics.app, name="topics", rich_help_panel="Operate")
app.add_typer(config.app, name="config", rich_help_panel="Operate")
app.add_typer(alerts.app, name="alerts", rich_help_panel="Operate")
app.add_typer(dead_letters.app, name="dead-letters", rich_help_panel="Operate")
app.command(rich_help_panel="Operate")(approve.approve)
app.command(rich_help_panel="Operate")(feedback.feedback)
app.command(rich_help_panel="Operate")(publish.publish)
app.command(rich_help_panel="Operate")(tail.tail)
app.command(rich_help_panel="Operate")(unit_costs.unit_costs)
app.command(rich_help_panel="Look up")(contract.schema)
app.command(rich_help_panel="Look up")(contract.settings)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
