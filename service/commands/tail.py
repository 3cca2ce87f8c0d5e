"""`tidegate tail TOPIC`: any topic of the contract, for people."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

import orjson
import typer

from schemas.base import format_timestamp
from schemas.reasons import Refused
from schemas.rollups import Tick
from schemas.topics import BY_NAME, Topic
from service.commands.invocation import fail, invocation, printable
from service.commands.rendering import line, read
from service.settings import KafkaSettings


def tail(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(help=f"One of: {', '.join(BY_NAME)}.")],
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with the oldest record, not the next one.")
    ] = False,
    maximum: Annotated[
        int | None, typer.Option("--max", min=1, help="End after so many records; default: never.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more at the end of the topic.")
    ] = True,
    ticks: Annotated[bool, typer.Option("--ticks", help="Show the ticks among the rollups, too.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: position, key and record.")
    ] = False,
) -> None:
    """Print the records of a topic as they come. What cannot be read is shown with the reason."""
    now = invocation(context)
    prefix = now.settings.kafka.topic_prefix
    wanted = BY_NAME.get(topic) or BY_NAME.get(topic.removeprefix(prefix))
    if wanted is None:
        fail(f"no topic {topic!r} in the contract; one of {', '.join(BY_NAME)}")
    now.run(_tail(now.settings.kafka, wanted, from_start, maximum, follow, ticks, as_json))


async def _tail(
    kafka: KafkaSettings,
    topic: Topic,
    from_start: bool,
    maximum: int | None,
    follow: bool,
    ticks: bool,
    as_json: bool,
) -> None:
    from service.kafka import reader

    shown = 0
    records = reader.read(kafka, kafka.topic(topic), from_start=from_start, follow=follow)
    async with aclosing(records) as found:
        async for record in found:
            key = "-" if record.key is None else printable(record.key.decode("utf-8", "backslashreplace"))
            problem, text, document = None, "", None
            if not topic.records:
                size = "tombstone" if record.value is None else f"{len(record.value)} bytes"
                text = f"{size} (no JSON: the state of one workflow)"
            else:
                try:
                    decoded = read(topic, record.key, record.value)
                except Refused as refused:
                    problem = f"{refused.reason.value}: {refused}"
                    text = f"unreadable: {printable(problem)}"
                else:
                    if isinstance(decoded, Tick) and not ticks:
                        continue
                    text = "deleted" if decoded is None else line(decoded)
                    document = None if decoded is None else orjson.Fragment(decoded.to_json())
            if as_json:
                typer.echo(
                    orjson.dumps(
                        {
                            "partition": record.partition,
                            "offset": record.offset,
                            "timestamp": format_timestamp(reader.written_at(record)),
                            "key": key,
                            "record": document,
                            **({"problem": problem} if problem else {}),
                        }
                    ).decode()
                )
            else:
                typer.echo(f"{record.partition}:{record.offset} {key}  {text}")
            shown += 1
            if shown == maximum:
                return
