"""`tidegate feedback FINGERPRINT --is …`: what an alert was worth."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

import typer

from schemas.alerts import Alert
from schemas.decode import decode
from schemas.feedback import WORTH, Feedback
from schemas.reasons import Refused
from schemas.topics import ALERTS
from service.commands.invocation import invocation
from service.errors import InvalidInput
from service.runtime.clock import SystemClock
from service.settings import KafkaSettings


def feedback(
    context: typer.Context,
    fingerprint: Annotated[str, typer.Argument(help="Of the alert, as its message says.")],
    worth: Annotated[str, typer.Option("--is", help=f"One of {', '.join(WORTH)}.")],
    author: Annotated[str, typer.Option(help="Who says so.", envvar="TIDEGATE_AUTHOR")],
    note: Annotated[str | None, typer.Option(help="Why.")] = None,
) -> None:
    """Say what an alert was worth: `not_worth_it` and `expected` make its workflow quieter for a month."""
    from service.kafka.feedback import judge

    now, clock = invocation(context), SystemClock()
    said = next((known for known in WORTH if known == worth), None)
    if said is None:
        raise InvalidInput(f"--is: expected one of {', '.join(WORTH)}")
    alert = now.run(_alert(now.settings.kafka, fingerprint))
    try:
        record = Feedback(
            fingerprint=alert.fingerprint,
            workflow=alert.workflow,
            kind=alert.kind,
            worth=said,
            author=author,
            at=clock.now(),
            via="cli",
            note=note,
        )
    except ValueError as error:
        raise InvalidInput(f"--author or --note: {error}") from None
    stands = now.run(judge(now.settings.kafka, record, clock))
    if stands is None:
        typer.echo(f"noted; no threshold of {alert.workflow} is changed by what was said of it")
        return
    typer.echo(
        f"noted; {alert.workflow} is {stands.reason}: tuning/{stands.name}, until {stands.expires_at:%Y-%m-%d}"
    )


async def _alert(kafka: KafkaSettings, fingerprint: str) -> Alert:
    """The latest record of an alert. Raises InvalidInput: there is none."""
    from service.kafka.reader import read

    found = None
    async with aclosing(read(kafka, kafka.topic(ALERTS))) as records:
        async for record in records:
            if record.key != fingerprint.encode():
                continue
            try:
                found = decode(Alert, record.value)
            except Refused:
                continue  # not ours; `tidegate tail alerts` shows it
    if found is None:
        raise InvalidInput(f"no alert with the fingerprint {fingerprint} within 90 days")
    return found
