"""Who runs where: the broker on one core, whoever is measured on another, the same for every contestant."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Final

CONSUMER_CORE: Final = 0
BROKER_CORE: Final = 1


def stay_with_the_broker() -> None:
    """Keep this process, and what it starts from now on, on the broker's core.

    Raises
    ------
    SystemExit
        There is only one core: broker and consumer would be measured together.
    """
    if not {CONSUMER_CORE, BROKER_CORE} <= os.sched_getaffinity(0):
        raise SystemExit(f"this benchmark needs cores {CONSUMER_CORE} and {BROKER_CORE}")
    os.sched_setaffinity(0, {BROKER_CORE})


def pinned(command: list[str], core: int) -> list[str]:
    """The command, on one core."""
    return ["taskset", "-c", str(core), *command]


def cpu_seconds(pid: int) -> float:
    """User and system time of a living process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Largest resident set of a living process so far. (`ru_maxrss` would count its parent's before exec.)"""
    return _status_kb(pid, "VmHWM:") / 1024


def resident_mb(pid: int) -> float:
    """Resident set of a living process now."""
    return _status_kb(pid, "VmRSS:") / 1024


def _status_kb(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def machine() -> str:
    """One line for the page of results."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores of {model}, {memory_gb:.0f} GiB, Linux {platform.release()},"
        f" Python {platform.python_version()}"
    )
