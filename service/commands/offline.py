"""`tidegate replay` and `tidegate demo`: no installation needed."""

from __future__ import annotations

import sys
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer


class Broker(StrEnum):
    AUTO = "auto"
    APACHE = "apache"
    NOIDA = "noida"


def replay(
    source: Annotated[
        str, typer.Argument(metavar="FILE|-", help="Cost events as JSON lines; plain, .gz or .zst.")
    ],
    config: Annotated[
        Path | None, typer.Option(help="Control records (YAML or JSON) to judge with.", dir_okay=False)
    ] = None,
    alerts: Annotated[
        Path | None, typer.Option(help="Write Alert records here, a line each.", dir_okay=False)
    ] = None,
    throttles: Annotated[
        Path | None, typer.Option(help="Write ThrottleCommand records here, a line each.", dir_okay=False)
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(help="Write the totals here, as JSON.", dir_okay=False)
    ] = None,
    progress: Annotated[
        bool | None, typer.Option("--progress/--no-progress", help="Default: only on a terminal.")
    ] = None,
) -> None:
    """Judge recorded events in event time, without a broker: same input and config, same bytes out."""
    run = import_module("service.replay").run_replay
    shown = sys.stderr.isatty() if progress is None else progress
    raise typer.Exit(run(source, config, alerts, throttles, summary, shown))


def demo(
    seconds: Annotated[
        float | None, typer.Option(min=1, help="End by itself after so long; default: Ctrl-C.")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.01, help="Event time per wall time of the live traffic.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write what happened here, as JSON.", dir_okay=False)
    ] = None,
    broker: Annotated[Broker, typer.Option(help="Which embedded broker to start.")] = Broker.AUTO,
    seed: Annotated[int | None, typer.Option(help="Of everything random in the traffic.")] = None,
) -> None:
    """Run everything on an embedded broker with recorded traffic, a runaway loop and a launch."""
    module = import_module("service.demo.app")
    given = {"seconds": seconds, "speed": speed, "report": report, "broker": broker.value, "seed": seed}
    options = module.DemoOptions(**{name: value for name, value in given.items() if value is not None})
    raise typer.Exit(module.run_demo(options))
