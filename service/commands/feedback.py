"""`tidegate feedback FINGERPRINT --is …`: what an alert was worth, or `--withdraw`: nobody said anything of it."""

from __future__ import annotations

from contextlib import aclosing
from decimal import Decimal
from typing import Annotated

import typer

from schemas.alerts import Alert
from schemas.decode import decode
from schemas.feedback import WORTH, Feedback
from schemas.reasons import Refused
from schemas.topics import ALERTS
from service.commands.invocation import invocation
from service.errors import InvalidInput
from service.rules.feedback import loudness, meant_usd
from service.runtime.clock import SystemClock
from service.settings import KafkaSettings


def feedback(
    context: typer.Context,
    fingerprint: Annotated[str, typer.Argument(help="Of the alert, as its message says.")],
    author: Annotated[str, typer.Option(help="Who says so.", envvar="TIDEGATE_AUTHOR")],
    worth: Annotated[str | None, typer.Option("--is", help=f"One of {', '.join(WORTH)}.")] = None,
    withdraw: Annotated[bool, typer.Option(help="Take back what was said of it.")] = False,
    note: Annotated[str | None, typer.Option(help="Why.")] = None,
) -> None:
    """Say what an alert was worth: how its workflow's incidents of that kind are told and learnt from then on."""
    from service.kafka.feedback import judge

    now, clock = invocation(context), SystemClock()
    said = next((known for known in WORTH if known == worth), None)
    if (said is None) != withdraw or (worth is not None and said is None):
        raise InvalidInput(f"--is: expected one of {', '.join(WORTH)}, or --withdraw")
    alert = now.run(_alert(now.settings.kafka, fingerprint))
    if alert.scope is not None:
        raise InvalidInput(f"{alert.workflow} is no workflow: nothing would follow of what is said of it")
    try:
        record = Feedback(
            fingerprint=alert.fingerprint,
            workflow=alert.workflow,
            kind=alert.kind,
            worth=said or "real",
            author=author,
            at=clock.now(),
            via="cli",
            note=note,
            loudness=loudness(alert),
            cap_usd=Decimal(meant_usd(alert)) if said == "planned" else None,
        )
    except ValueError as error:
        raise InvalidInput(f"--author or --note: {error}") from None
    stands = now.run(judge(now.settings.kafka, record, clock, withdrawn=withdraw))
    if stands is None:
        typer.echo(f"noted; nothing of {alert.workflow} is changed by what was said of it")
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
