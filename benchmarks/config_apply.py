"""From `tidegate config apply` to in force in every worker. `make bench-config`: one JSON line.

A real Kafka and one of each role that goes by the configuration, at its defaults. Each round applies a file with
the command line, as a person or a pipeline would, and reads from the roles' logs when the version that the command
names came into force; a round's worst role counts. Wall time in seconds:

- `from_command` begins when the process of the command is started: Python's start and imports are in it, and on a
  machine that others use they are most of it; `command_cpu` is the processor time of all of that;
- `from_call` begins when a process that runs already begins the change: read, decided, written in a transaction;
- `from_written` begins when the broker wrote the record: the commit, and the workers' reading.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.cores import machine
from benchmarks.installation import Installation
from benchmarks.process import RunFailed
from schemas.base import parse_timestamp
from service.commands.control_files import read_files
from service.kafka.config_change import Intent
from service.kafka.config_topic import commit, standing

ROLES: Final = ("ingest", "detect", "budgets", "throttles", "notify")
WANTED_S: Final = 2.0
_PATIENCE_S: Final = 30.0
_LOOK_S: Final = 0.02
_STARTED_FOR_S: Final = 2.0
_RECORD: Final = "{{kind: tuning, name: bench, settings: {{pending_s: {value}}}}}\n"
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z")


def main() -> int:
    """Returns the exit status: 1 when a round took longer than is wanted, from the call on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.config_apply", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    try:
        with Installation(list(ROLES)) as installation:
            installation.start_roles()
            time.sleep(_STARTED_FOR_S)
            rounds = [_round(installation, number) for number in range(options.rounds)]
    except RunFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    line: dict[str, Any] = {"benchmark": "config_apply", "roles": list(ROLES), "rounds": len(rounds)}
    for what in rounds[0]:
        line[f"{what}_s"] = _figures([one[what] for one in rounds])
    line["slow_rounds"] = sum(one["from_command"] > WANTED_S for one in rounds)
    line |= {"wanted_s": WANTED_S, "machine": machine(), "load_before": round(load, 1)}
    sys.stdout.write(json.dumps(line) + "\n")
    return 1 if line["from_call_s"]["max"] > WANTED_S else 0


def _round(installation: Installation, number: int) -> dict[str, float]:
    """Seconds of two changes until the last worker goes by them: one by a command, one by this process."""
    file = installation.folder / "change.yaml"
    file.write_text(_RECORD.format(value=2 * number + 1))
    tidegate = [sys.executable, "-m", "service.cli", "config", "apply", str(file), "--author", "bench"]
    began, cpu = time.time(), _cpu_of_children()
    run = subprocess.run(tidegate, env=installation.environ, capture_output=True, text=True, check=False)
    used = _cpu_of_children() - cpu
    if run.returncode:
        raise RunFailed(f"config apply ended with {run.returncode}\n{run.stdout}{run.stderr}")
    in_force = _in_force(installation, run.stdout.split()[-1])
    (found,), _ = read_files([file])
    changed = found.record.model_copy(update={"reason": f"round {number}"})
    called = time.time()
    done = asyncio.run(
        commit(installation.settings.kafka, Intent(), lambda _: {found.key: changed.to_json()})
    )
    in_force_again = _in_force(installation, done.book.version)
    now = asyncio.run(standing(installation.settings.kafka))
    written = max(change.at.timestamp() for change in now.changes)
    return {
        "from_command": in_force - began,
        "command_cpu": used,
        "from_call": in_force_again - called,
        "from_written": in_force_again - written,
    }


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _in_force(installation: Installation, version: str) -> float:
    return max(_came_into_force(installation, role.name, version) for role in installation.roles)


def _came_into_force(installation: Installation, role: str, version: str) -> float:
    """Epoch seconds, to the millisecond, as the role's log says. Raises RunFailed."""
    log, needle = Path(installation.folder) / f"{role}.log", f"config version {version} in force"
    until = time.monotonic() + _PATIENCE_S
    while True:
        for line in log.read_text(encoding="utf-8").splitlines():
            if needle in line and (found := _TIME.search(line)):
                return parse_timestamp(found[0]).timestamp()
        if time.monotonic() > until:
            raise RunFailed(f"{role} does not go by {version} within {_PATIENCE_S:g} s")
        time.sleep(_LOOK_S)


def _figures(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50": round(ordered[len(ordered) // 2], 3),
        "p90": round(ordered[min(len(ordered) * 9 // 10, len(ordered) - 1)], 3),
        "max": round(ordered[-1], 3),
    }


if __name__ == "__main__":
    sys.exit(main())
