"""`tidegate alerts ack`: somebody takes an incident."""

from __future__ import annotations

from typing import Annotated

import typer

from schemas.notifications import Acknowledgement
from schemas.topics import ACKNOWLEDGEMENTS
from service.commands.invocation import invocation, printable
from service.errors import InvalidInput
from service.runtime.clock import SystemClock
from service.settings import KafkaSettings

app = typer.Typer(help="What people say about alerts.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Makes it a group, so that `ack` is named."""


@app.command()
def ack(
    context: typer.Context,
    fingerprints: Annotated[
        list[str], typer.Argument(help="Of alerts, or keys of incidents: both are in every notification.")
    ],
    author: Annotated[str, typer.Option(help="Who takes it.")],
    note: Annotated[str | None, typer.Option(help="What is done about it.")] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take it back: it is repeated and escalated again.")
    ] = False,
) -> None:
    """Acknowledge: from now on it is neither repeated nor escalated. What changes about it is still told."""
    now = invocation(context)
    try:
        said = [
            Acknowledgement(
                fingerprint=fingerprint,
                state="withdrawn" if withdraw else "acknowledged",
                author=author,
                at=SystemClock().now(),
                via="cli",
                note=note,
            )
            for fingerprint in fingerprints
        ]
    except ValueError as error:
        raise InvalidInput(f"not an acknowledgement: {error}") from None
    now.run(_publish(now.settings.kafka, said))
    for one in said:
        typer.echo(f"{one.state} {printable(one.fingerprint)}")


async def _publish(kafka: KafkaSettings, said: list[Acknowledgement]) -> None:
    from service.kafka import producer, require_topics, started

    topic = kafka.topic(ACKNOWLEDGEMENTS)
    async with started(producer(kafka, client_id="tidegate-alerts"), kafka) as sender:
        await require_topics(sender, [topic])
        for one in said:
            await sender.send_and_wait(topic, one.to_json(), key=one.fingerprint.encode())
