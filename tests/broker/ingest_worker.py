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
    settings = Settings(**json.loads(Path(path).read_text()))
    configure(settings.log)
    return run_role(lambda stop: run(settings, stop=stop, clock=SystemClock()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
