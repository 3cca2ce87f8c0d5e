"""`tidegate ROLE` for each of them, and `tidegate up`: what every installation runs, as child processes."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib import import_module
from typing import Annotated, Final

import typer

from service.commands.invocation import Invocation, invocation
from service.errors import RoleDied, SettingsError
from service.runtime.clock import SystemClock
from service.runtime.garbage import collect_rarely
from service.runtime.process import GRACE_S, run_role
from service.settings import ROLES, Role

_LINE_BYTES: Final = 1_048_576
"""Longest line of a child that is passed on whole."""


def ingest(context: typer.Context) -> None:
    """Fold cost events into rollups, exactly once."""
    _run(invocation(context), "ingest")


def detect(context: typer.Context) -> None:
    """Judge rollups: write alerts."""
    _run(invocation(context), "detect")


def notify(context: typer.Context) -> None:
    """Tell people: deliver alerts to Slack, PagerDuty and webhooks."""
    _run(invocation(context), "notify")


def budgets(context: typer.Context) -> None:
    """Count spend into budgets: write snapshots for gateways, and alerts."""
    _run(invocation(context), "budgets")


def throttles(context: typer.Context) -> None:
    """Throttle: from alerts and rules to commands for gateways."""
    _run(invocation(context), "throttles")


def outcomes(context: typer.Context) -> None:
    """Say what outcomes cost: join them with the calls of their traces."""
    _run(invocation(context), "outcomes")


def door(context: typer.Context) -> None:
    """Take cost events over HTTP, for gateways without Kafka: POST /v1/events."""
    _run(invocation(context), "door")


def decisions(context: typer.Context) -> None:
    """Decide about calls over HTTP, for gateways in other languages: POST /v1/decisions."""
    _run(invocation(context), "decisions")


def callbacks(context: typer.Context) -> None:
    """Take what people answer in Slack and PagerDuty: buttons, acknowledgements."""
    _run(invocation(context), "callbacks")


def _run(now: Invocation, role: Role) -> None:
    settings = now.settings
    # By name and late: a role's process loads neither Faust nor httpx for the others.
    run = import_module(f"service.{role}.app").run
    clock = SystemClock()
    collect_rarely()
    raise typer.Exit(run_role(lambda stop: run(settings, stop=stop, clock=clock)))


def up(
    context: typer.Context,
    create_topics: Annotated[
        bool, typer.Option("--create-topics", help="Create missing topics first, as `topics create` does.")
    ] = False,
) -> None:
    """Run ingest, detect, notify, budgets, throttles and outcomes, for a small installation or a first look.

    The door and decisions join them if their settings let anybody in, callbacks if it has a vendor's secret.

    None is restarted silently: when one ends, all are stopped and its exit status is passed on. In production
    run each role on its own and let the orchestrator restart it.
    """
    now = invocation(context)
    if now.settings.health.port > 0:
        raise SettingsError("health.port: one port for several roles; set health.ingest_port, detect_port, …")
    if create_topics:
        from service.kafka.admin import create_topics as create

        now.run(create(now.settings))
    command = [sys.executable, "-m", "service.cli"]
    if now.settings_file is not None:
        command += ["--settings", str(now.settings_file)]
    roles = list(ROLES)
    if now.settings.door.configured:
        roles.append("door")
    if now.settings.decisions.configured:
        roles.append("decisions")
    if now.settings.callbacks.configured:
        roles.append("callbacks")
    raise typer.Exit(run_role(lambda stop: supervise({role: [*command, role] for role in roles}, stop)))


async def supervise(
    commands: dict[Role, list[str]], stop: asyncio.Event, grace_s: float = GRACE_S - 5
) -> None:
    """Run each command as a child process until `stop` is set or one of them ends.

    Their output goes to stderr, each line with its role in front. All are asked to stop with SIGTERM, and
    killed after `grace_s` seconds.

    Raises
    ------
    RoleDied
        With the exit status of the child that ended first; 8 if that was 0 or a signal.
    """
    children = {role: await _spawn(command) for role, command in commands.items()}
    output = [asyncio.create_task(_pass_on(role, child)) for role, child in children.items()]
    ends = {asyncio.create_task(child.wait()): role for role, child in children.items()}
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait([stopping, *ends], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        for child in children.values():
            if child.returncode is None:
                child.terminate()
        _, left = await asyncio.wait(ends, timeout=grace_s)
        for late in left:
            children[ends[late]].kill()
        await asyncio.gather(*ends, *output)
    for end in done - {stopping}:
        raise _died(ends[end], end.result())


async def _spawn(command: list[str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=_LINE_BYTES,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # A session of its own: Ctrl-C reaches us alone, and we stop each child once.
        start_new_session=True,
    )


async def _pass_on(role: Role, child: asyncio.subprocess.Process) -> None:
    assert child.stdout is not None
    prefix = f"{role:<6} | ".encode()
    while True:
        try:
            line = await child.stdout.readuntil(b"\n")
        except asyncio.IncompleteReadError as last:
            if last.partial:
                sys.stderr.buffer.write(prefix + last.partial + b"\n")
            return
        except asyncio.LimitOverrunError as overrun:
            line = await child.stdout.readexactly(overrun.consumed) + b"\n"
        sys.stderr.buffer.write(prefix + line)
        sys.stderr.buffer.flush()


def _died(role: Role, status: int) -> RoleDied:
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    error = RoleDied(f"{role} {how}; the others are stopped")
    if status > 0:
        error.exit_code = status
    return error
