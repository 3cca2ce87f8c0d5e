"""`tidegate publish FILE|-`: cost events from JSON lines onto the topic, checked, acknowledged and counted."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.decode import decode, parse_object
from schemas.events import UNATTRIBUTED, CostEvent
from schemas.reasons import Refused
from schemas.topics import COST_EVENTS
from service.commands.invocation import invocation, printable
from service.commands.lines import Source
from service.runtime.clock import SystemClock
from service.settings import KafkaSettings

_IN_FLIGHT: Final = 20_000
"""Sends not yet acknowledged; bounds the memory."""
_SHOWN: Final = 20
"""Bad lines told one by one; the others are counted."""


@dataclass
class Counts:
    """What became of the lines."""

    published: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    blank: int = 0

    @property
    def bad(self) -> int:
        return sum(self.refused.values())


def publish(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="FILE|-", help="Cost events as JSON lines; plain, gzip or zstd.")
    ],
    validate: Annotated[
        bool, typer.Option("--validate/--no-validate", help="Refuse what ingest would refuse.")
    ] = True,
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="At most so many events a second; default: all at once.")
    ] = None,
) -> None:
    """Publish cost events, keyed by workflow. Exit status 1 if a line was refused; the others are published."""
    now = invocation(context)
    lines = Source(source)
    counts = now.run(_publish(now.settings.kafka, lines, validate, rate))
    typer.echo(f"published {counts.published:,} events to {now.settings.kafka.topic(COST_EVENTS)}")
    for reason, number in sorted(counts.refused.items()):
        typer.echo(f"refused {number:,}: {reason}")
    if counts.bad:
        raise typer.Exit(1)


async def _publish(kafka: KafkaSettings, source: Source, validate: bool, rate: float | None) -> Counts:
    from service.kafka import producer, require_topics, started

    topic = kafka.topic(COST_EVENTS)
    counts = Counts()
    number = 0
    clock = SystemClock()
    waiting: deque[asyncio.Future[Any]] = deque()
    with _progress() as progress:
        task = progress.add_task(f"to {topic}", total=source.size, rate="")
        async with started(producer(kafka, client_id="tidegate-publish"), kafka) as sender:
            await require_topics(sender, [topic])
            began = clock.monotonic()
            async with aclosing(source.batches()) as batches:
                async for lines in batches:
                    for line in lines:
                        number += 1
                        if not line.strip():
                            counts.blank += 1
                            continue
                        try:
                            key = _key(line, validate)
                        except Refused as refused:
                            _tell(progress.console, counts, source.name, number, refused)
                            continue
                        if rate is not None:
                            await clock.sleep(
                                began + (counts.published + len(waiting)) / rate - clock.monotonic()
                            )
                        waiting.append(await sender.send(topic, key=key, value=line))
                        if len(waiting) >= _IN_FLIGHT:
                            await _acknowledged(waiting, counts, _IN_FLIGHT // 2)
                    elapsed = max(clock.monotonic() - began, 1e-3)
                    speed = f"{(counts.published + len(waiting)) / elapsed:,.0f} events/s"
                    progress.update(task, completed=source.consumed, rate=speed)
            await _acknowledged(waiting, counts, 0)
    return counts


async def _acknowledged(waiting: deque[asyncio.Future[Any]], counts: Counts, down_to: int) -> None:
    while len(waiting) > down_to:
        await waiting.popleft()
        counts.published += 1


def _key(line: bytes, validate: bool) -> bytes | None:
    """The record key of one event. Raises Refused, unless nothing is validated."""
    if validate:
        workflow: object = decode(CostEvent, line).workflow
    else:
        try:
            workflow = parse_object(line).get("workflow")
        except Refused:
            return None
    return (workflow if isinstance(workflow, str) and workflow else UNATTRIBUTED).encode()


def _tell(console: Console, counts: Counts, name: str, number: int, refused: Refused) -> None:
    counts.refused[refused.reason.value] = counts.refused.get(refused.reason.value, 0) + 1
    if counts.bad <= _SHOWN:
        where = f"{refused.path}: " if refused.path else ""
        text = f"{name}:{number}: {refused.reason.value}: {where}{refused.detail}"
        console.out(printable(text), highlight=False)
    elif counts.bad == _SHOWN + 1:
        console.out("… more lines are refused and only counted", highlight=False)


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not sys.stderr.isatty(),
    )
