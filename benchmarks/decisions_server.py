"""A decision API without a broker, to be measured: `python -m benchmarks.decisions_server BUDGETS`.

With `BUDGETS` 0 nothing is in force; else 1,000 commands, four of them about the calls, and so many budgets that
reserve. Says its port on stdout, and ends with SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from benchmarks.gateway import budgeted, commanded
from service.decisions.app import policy
from service.decisions.board import Board
from service.decisions.desk import NAME, Desk
from service.decisions.openapi import written
from service.decisions.watched import Watched
from service.http.keyring import Keyring
from service.http.server import serve
from service.runtime.clock import SystemClock
from service.runtime.garbage import collect_rarely
from service.settings import DecisionsSettings

TOKEN = "the-token-of-the-benchmark"


async def run(budgets: int) -> None:
    """Until SIGTERM."""
    settings = DecisionsSettings.model_validate(
        {"port": 0, "stale_after_s": 86_400, "tokens": {"b": {"token": TOKEN}}}
    )
    gate = Watched("bench", policy(settings))
    if budgets:
        budgeted(commanded(gate), budgets)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    clock = SystemClock()
    desk = Desk(settings, Keyring.load(settings, NAME), gate, Board(gate, loop), written(), clock)
    collect_rarely()
    async with serve(settings, desk.site(), clock) as port:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1])))
