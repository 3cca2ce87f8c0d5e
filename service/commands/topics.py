"""`tidegate topics create | check`."""

from __future__ import annotations

import typer

from service.commands.invocation import invocation
from service.errors import TopicsDiffer

app = typer.Typer(help="The topics on the broker, as the contract says.", no_args_is_help=True)


@app.command()
def create(context: typer.Context) -> None:
    """Create the topics that do not exist. Changes none that does."""
    from service.kafka.admin import create_topics

    now = invocation(context)
    for outcome in now.run(create_topics(now.settings)):
        typer.echo(f"{outcome.result:<8} {outcome.topic}")


@app.command()
def check(context: typer.Context) -> None:
    """Compare the broker's topics with the contract; exit status 7 when they differ."""
    from service.kafka.admin import check_topics

    now = invocation(context)
    differences = now.run(check_topics(now.settings))
    for difference in differences:
        typer.echo(
            f"{difference.topic}: {difference.what} should be {difference.wanted}, is {difference.found}"
        )
    if differences:
        topics = len({difference.topic for difference in differences})
        raise TopicsDiffer(f"{topics} topic(s) are not as they should be")
    typer.echo("all topics are as they should be")
