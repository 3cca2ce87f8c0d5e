"""`tidegate config diff | apply | delete | rollback | sign`: what changes the config topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from service.commands.config_plan import Order, Plan, deletions, difference, plan, restoring
from service.commands.control_files import Found, read_files
from service.commands.invocation import Invocation, fail, invocation, printable
from service.commands.rendering import line
from service.errors import ConfigChanged, InvalidInput, TopicsDiffer
from service.rules.config import ConfigBook
from service.runtime.clock import SystemClock

if TYPE_CHECKING:
    from service.kafka.config_topic import Standing

Paths = Annotated[
    list[Path], typer.Argument(help="YAML or JSON files of one or several records each, or folders of them.")
]
Author = Annotated[str | None, typer.Option(help="Who changes it; kept with the record and for ever.")]
Reason = Annotated[str | None, typer.Option(help="Why; likewise.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait a few seconds for a worker's refusal; status 1 if one comes.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]
ExpectVersion = Annotated[
    str | None,
    typer.Option(
        metavar="VERSION", help="Change nothing if the topic has another version by now (status 10)."
    ),
]
ManagedBy = Annotated[
    str | None,
    typer.Option("--set", metavar="NAME", help="The set that these files are; pruning is within it."),
]
Prune = Annotated[
    bool, typer.Option("--prune", help="Delete what is not in the files: of the --set, or with --all.")
]
PruneAll = Annotated[
    bool,
    typer.Option(
        "--all",
        help="With --prune: whoever brought it; but approvals, launches, silences and the switch only of sets.",
    ),
]
_WAIT_S: Final = 3.0
_UNLIMITED: Final = 1_000_000


def diff(
    context: typer.Context,
    paths: Paths,
    managed_by: ManagedBy = None,
    prune: Prune = False,
    prune_all: PruneAll = False,
    take_over: Annotated[bool, typer.Option("--take-over", help="As `apply` would with it.")] = False,
) -> None:
    """Compare files with what is in force: as a unified diff, and status 7 if `apply` would change something."""
    now = invocation(context)
    found = valid(paths)
    order = _order(Order(managed_by=managed_by, take_over=take_over), prune, prune_all, _UNLIMITED)
    planned = plan(_standing(now).book, found, order, SystemClock().now())
    _show(planned)
    if planned.steps:
        raise typer.Exit(TopicsDiffer.exit_code)


def apply(
    context: typer.Context,
    paths: Paths,
    author: Author = None,
    reason: Reason = None,
    managed_by: ManagedBy = None,
    prune: Prune = False,
    prune_all: PruneAll = False,
    prune_max: Annotated[
        int | None,
        typer.Option(min=0, help="Most records to prune; default: 3, or half of what may be pruned."),
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Change records of another set, too, and take them into this.")
    ] = False,
    expect_version: ExpectVersion = None,
    dry_run: DryRun = False,
    wait: Wait = False,
) -> None:
    """Publish the records of files: in one transaction, and only where something changes."""
    now = invocation(context)
    found = valid(paths)
    order = _order(Order(author, reason, managed_by, None, None, take_over), prune, prune_all, prune_max)

    def decided(standing: Standing) -> Plan:
        return plan(standing.book, found, order, SystemClock().now())

    if dry_run:
        standing = _standing(now)
        _expect(standing, expect_version)
        _show(plan(standing.book, found, replace(order, prune_max=_UNLIMITED), SystemClock().now()))
        decided(standing)  # for whether so much may be pruned
        typer.echo(f"nothing is changed, version {standing.book.version}")
        return
    _change(now, "apply", author, reason, decided, expect_version, wait)


def delete(
    context: typer.Context,
    keys: Annotated[list[str], typer.Argument(help="KIND/NAME, as `config get` lists them.")],
    author: Author = None,
    reason: Reason = None,
    expect_version: ExpectVersion = None,
    wait: Wait = False,
) -> None:
    """Delete records: what they overrode holds again."""
    now = invocation(context)
    _change(now, "delete", author, reason, lambda s: deletions(s.book, keys), expect_version, wait)


def rollback(
    context: typer.Context,
    to: Annotated[str, typer.Option(metavar="VERSION", help="As `history` and alerts name it.")],
    author: Author = None,
    reason: Reason = None,
    expect_version: ExpectVersion = None,
    dry_run: DryRun = False,
    wait: Wait = False,
) -> None:
    """Make the configuration what it was at a version, byte for byte: changed back, deleted, brought back."""
    from service.kafka.config_history import history
    from service.kafka.config_past import book_at

    now = invocation(context)
    standing = _standing(now)
    entries = now.run(history(now.settings.kafka, standing))
    target = book_at(entries, to, now.settings.kafka)
    if target is None:
        fail(f"the history has no version {printable(to)}; `tidegate config history` lists them")

    def decided(found: Standing) -> Plan:
        return restoring(found.book, target)

    if dry_run:
        _show(decided(standing))
        typer.echo(f"nothing is changed, version {standing.book.version}")
        return
    _change(now, "rollback", author, reason or f"rollback to {to}", decided, expect_version, wait)


def sign(
    context: typer.Context,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Those that nobody has signed, too: look at them first.")
    ] = False,
    author: Author = None,
    reason: Reason = None,
    dry_run: DryRun = False,
) -> None:
    """Sign what holds with the present key, as it is: when keys are introduced or changed."""
    from service.kafka.config_change import Intent
    from service.kafka.config_past import unsigned_records
    from service.kafka.config_topic import commit

    now = invocation(context)
    signer = now.settings.kafka.config_signer()
    if signer is None:
        raise InvalidInput("there is no key to sign with: kafka.config_keys is empty")

    def wanted(standing: Standing) -> Mapping[str, bytes | None]:
        return unsigned_records(standing, signer[0], nobodys=unsigned)

    if dry_run:
        for key in wanted(_standing(now)):
            typer.echo(f"would sign {printable(key)}")
        return
    done = now.run(commit(now.settings.kafka, Intent("sign", author, reason), wanted))
    for key, offset in done.offsets.items():
        typer.echo(f"signed {printable(key)} at offset {offset}")
    typer.echo(f"version {done.book.version}")


def valid(paths: Sequence[Path]) -> list[Found]:
    """The records of files, or every problem on stderr and the end of the command."""
    found, problems = read_files(paths)
    for problem in problems:
        typer.echo(f"tidegate: {printable(str(problem))}", err=True)
    if problems:
        raise typer.Exit(InvalidInput.exit_code)
    return found


def _order(order: Order, prune: bool, prune_all: bool, prune_max: int | None) -> Order:
    if prune_all and not prune:
        raise InvalidInput("--all says what to prune; give --prune too")
    if prune and not prune_all and order.managed_by is None:
        raise InvalidInput("--prune needs to know what may be deleted: --set NAME, or --all")
    return replace(order, prune=("all" if prune_all else "set") if prune else None, prune_max=prune_max)


def _standing(now: Invocation) -> Standing:
    from service.kafka.config_topic import standing

    return now.run(standing(now.settings.kafka))


def _expect(standing: Standing, version: str | None) -> None:
    if version not in (None, standing.book.version):
        raise ConfigChanged(
            f"version {version} was expected and {standing.book.version} is there: nothing is changed"
        )


def _show(planned: Plan) -> None:
    for shown in difference(planned.steps):
        typer.echo(printable(shown))
    for step in planned.steps:
        typer.echo(f"would be {step.word} {printable(step.key)}")
    typer.echo(f"{len(planned.steps)} to change, {len(planned.unchanged)} unchanged")


def _change(
    now: Invocation,
    command: str,
    author: str | None,
    reason: str | None,
    decided: Callable[[Standing], Plan],
    expect_version: str | None,
    wait: bool,
) -> None:
    from service.kafka.config_change import Intent
    from service.kafka.config_topic import commit

    planned = Plan()

    def decide(standing: Standing) -> Mapping[str, bytes | None]:
        nonlocal planned
        _expect(standing, expect_version)
        planned = decided(standing)
        return planned.records

    kafka = now.settings.kafka
    intent = Intent(command, author, reason)
    done = now.run(commit(kafka, intent, decide))
    for key in planned.unchanged:
        typer.echo(f"unchanged {printable(key)}")
    for step in planned.steps:
        word = "deleted" if step.after is None else "published"
        typer.echo(f"{word} {printable(step.key)} at offset {done.offsets[step.key]}")
    for other in done.others:
        typer.echo(
            f"tidegate: somebody has written {printable(other.key, 200)} in between, at offset {other.offset}:"
            " look at it, `tidegate config history`",
            err=True,
        )
    if wait and done.offsets:
        _hear(now, done.offsets)
    _tell_version(done.book)


def _hear(now: Invocation, offsets: Mapping[str, int]) -> None:
    from service.kafka.config_topic import refusals

    refused = now.run(refusals(now.settings.kafka, offsets, within_s=_WAIT_S))
    for refusal in refused:
        typer.echo(f"tidegate: {line(refusal)}", err=True)
    if refused:
        raise typer.Exit(1)
    typer.echo(f"no worker has refused it within {_WAIT_S:g} s")


def _tell_version(book: ConfigBook) -> None:
    typer.echo(f"version {book.version}")
