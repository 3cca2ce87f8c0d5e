"""`tidegate approve PROPOSAL`: a person's answer to a throttle that waits for one, or that should not hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from schemas.control import Approval
from service.commands.invocation import invocation
from service.errors import InvalidInput
from service.rules.config import control_key
from service.runtime.clock import SystemClock


def approve(
    context: typer.Context,
    proposal: Annotated[
        str, typer.Argument(help="The id that the alert names, or `tidegate tail throttle-events` shows.")
    ],
    author: Annotated[str, typer.Option(help="Who answers.", envvar="TIDEGATE_AUTHOR")],
    no: Annotated[
        bool, typer.Option("--no", help="Do not throttle; what is throttled already is released at once.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    hours: Annotated[
        float, typer.Option(min=0.1, max=720.0, help="The answer holds for so long, then it is asked anew.")
    ] = 24.0,
) -> None:
    """Say yes to a throttle that waits for it; or, with --no, that it must not be, also while it holds."""
    from service.kafka.config_topic import publish

    now = invocation(context)
    until = SystemClock().now() + timedelta(hours=hours)
    try:
        record = Approval(
            name=proposal,
            proposal=proposal,
            decision="no" if no else "yes",
            author=author,
            reason=reason,
            expires_at=datetime.fromtimestamp(round(until.timestamp()), UTC),
        )
    except ValueError as error:
        raise InvalidInput(f"PROPOSAL, --author or --reason: {error}") from None
    now.run(publish(now.settings.kafka, {control_key(record): record.to_json()}))
    typer.echo(f"{'no' if no else 'yes'} to {proposal} until {record.expires_at:%Y-%m-%d %H:%M} UTC")
