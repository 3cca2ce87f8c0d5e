"""`tidegate shadow`: a candidate configuration on the live stream, told to nobody but who asks."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import aclosing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from schemas.alerts import Alert
from schemas.decode import decode
from schemas.reasons import Refused
from schemas.rollups import SEPARATOR, Rollup
from schemas.topics import ALERTS, ROLLUPS
from service.backtest.incident import key_of
from service.backtest.shadow import Shadow, Told
from service.commands.backtest import AsJson, Config, Whole, candidate_book
from service.commands.invocation import invocation, printable
from service.commands.rendering import dollars
from service.rules.config import ConfigBook
from service.runtime.clock import Clock, SystemClock
from service.settings import KafkaSettings

_LOOK_S: Final = 60.0
"""How often the config topic is looked at again: the candidate lies on top of what is live."""

Say = Callable[[Told], None]


def shadow(
    context: typer.Context,
    config: Config,
    whole: Whole = False,
    workflow: Annotated[str, typer.Option(metavar="GLOB", help="Judge only these workflows.")] = "*",
    seconds: Annotated[
        float | None, typer.Option("--for", min=1, help="End after so many seconds; default: Ctrl-C.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge what comes in by a candidate, beside the live configuration, and act on nothing: see docs/tuning.md."""
    now = invocation(context)

    def say(told: Told) -> None:
        if as_json:
            typer.echo(orjson.dumps({"by": told.who, **told.incident.to_dict()}).decode())
        else:
            typer.echo(line(told))

    found = now.run(_run(now.settings.kafka, config, whole, workflow, seconds, say, SystemClock()))
    compared = found.comparison()
    if as_json:
        summary = {
            "by": "summary",
            "gained": [i.fingerprint for i in compared.gained],
            "lost": [i.fingerprint for i in compared.lost],
            "changed": [pair.to_dict() for pair in compared.changed],
            "unchanged": len(compared.unchanged),
        }
        typer.echo(orjson.dumps(summary).decode())
        return
    typer.echo(
        f"told by both alike: {len(compared.unchanged)}, otherwise: {len(compared.changed)};"
        f" only by the candidate: {len(compared.gained)}, only live: {len(compared.lost)}"
    )


def line(told: Told) -> str:
    """One incident for people."""
    incident = told.incident
    return (
        f"{told.who:9}  {incident.severity:8}  {incident.kind:14}  {printable(incident.workflow, 60)}"
        f"  {dollars(incident.told_excess)} over when told, {incident.delay_s:.0f} s after it began"
    )


async def _run(
    kafka: KafkaSettings,
    config: list[Path],
    whole: bool,
    workflow: str,
    seconds: float | None,
    say: Say,
    clock: Clock,
) -> Shadow:
    from service.kafka import past
    from service.kafka.config_topic import standing

    def wanted(key: str) -> bool:
        # A scope is no workflow: it is judged where all are.
        return workflow == "*" or (SEPARATOR not in key and fnmatchcase(key, workflow))

    async def proposed() -> ConfigBook:
        return candidate_book((await standing(kafka)).book, config, whole=whole)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    began = clock.monotonic()
    book = await proposed()
    states = await past.states(kafka, wanted)
    found = Shadow(book, states, clock.now().timestamp())
    sys.stderr.write(
        f"tidegate: shadow of {found.workflows:,} workflows with {book.version}"
        + (f", {found.unreadable:,} states cannot be read" if found.unreadable else "")
        + "\n"
    )
    looked = clock.monotonic()
    starts: dict[str, dict[int, int]] = {kafka.topic(ROLLUPS): found.starts, kafka.topic(ALERTS): {}}
    async with aclosing(past.following(kafka, starts, stop)) as batches:
        async for batch in batches:
            found.side.hold(clock.now().timestamp())
            for record in batch:
                for told in _taken(found, record, kafka.topic(ALERTS), wanted):
                    say(told)
            if seconds is not None and clock.monotonic() - began >= seconds:
                break
            if clock.monotonic() - looked >= _LOOK_S:
                looked = clock.monotonic()
                if (book := await proposed()).version != found.side.book.version:
                    found.side.use(book, clock.now().timestamp())
    return found


def _taken(found: Shadow, record: Any, alerts: str, wanted: Callable[[str], bool]) -> list[Told]:
    from service.detect.clerk import read_rollup

    try:
        if record.topic == alerts:
            alert = decode(Alert, record.value)
            told = found.live(alert) if wanted(key_of(alert)) else None
            return [] if told is None else [told]
        rollup = read_rollup(record.value)
    except Refused:
        return []  # an outcome, or nothing that detect can read either
    if isinstance(rollup, Rollup) and not wanted(rollup.key):
        return []
    return found.take(rollup, record.offset, record.timestamp / 1_000, record.partition)
