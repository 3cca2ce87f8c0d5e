"""Ingest as a process of its own, to be killed and paused: `python -m tests.broker.ingest_worker FILE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from service.ingest.app import run
from service.runtime.clock import SystemClock
from service.runtime.logs import configure
from service.runtime.process import run_role
from service.settings import Settings


def main(path: str) -> int:
    given = json.loads(Path(path).read_text())
    session_timeout_ms = given.pop("session_timeout_ms")
    settings = Settings(**given)
    configure(settings.log)
    return run_role(
        lambda stop: run(settings, stop=stop, clock=SystemClock(), session_timeout_ms=session_timeout_ms)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
