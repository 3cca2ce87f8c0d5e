"""One role as one process: signals become a stop event, errors become one line and an exit status."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from service.errors import Stalled, TidegateError
from service.runtime.logs import masked

BUG: Final = 70
"""Exit status when something was raised that nobody foresaw (EX_SOFTWARE of sysexits.h)."""
GRACE_S: Final = 25.0
"""How long a role may take to stop; below Kubernetes' default of 30 s before it kills."""

_LOG = logging.getLogger(__name__)

Role = Callable[[asyncio.Event], Awaitable[None]]
"""Runs until the event is set, then finishes what it began and returns."""


def run_role(role: Role, *, grace_s: float = GRACE_S) -> int:
    """Run a role to its end and return the exit status for the process.

    The first SIGTERM or SIGINT sets the role's stop event. A second one, or `grace_s` seconds after the
    first, cancels it. A `TidegateError` is one line on stderr and its own exit status; anything else raised
    is a bug: traceback in the log, status 70. Must be called from the main thread.
    """
    try:
        return asyncio.run(_supervise(role, grace_s))
    except TidegateError as error:
        say(error)
        return error.exit_code
    except Exception:  # noqa: BLE001 - the last resort, and it tells
        _LOG.exception("stopped by a bug")
        return BUG


def say(error: TidegateError) -> None:
    """The one line a person gets instead of a traceback; a line each if there are several problems."""
    problems: tuple[str, ...] = getattr(error, "problems", (str(error),))
    for problem in problems:
        sys.stderr.write(f"tidegate: {masked(problem)}\n")
    sys.stderr.flush()


async def _supervise(role: Role, grace_s: float) -> int:
    stop = asyncio.Event()
    running = asyncio.ensure_future(role(stop))
    received: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        received.append(number)
        if len(received) == 1:
            _LOG.info("%s: stopping", number.name)
            stop.set()
        else:
            _LOG.warning("%s again: stopping at once", number.name)
            running.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    waiting = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await asyncio.wait({running}, timeout=grace_s)
        if not running.done():
            running.cancel()
            await asyncio.wait({running}, timeout=grace_s)
            raise Stalled(f"did not stop within {grace_s:g} s")
        if running.cancelled():
            return 128 + received[-1] if received else BUG
        await running
    finally:
        waiting.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    return 0
