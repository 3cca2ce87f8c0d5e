"""`tidegate replay` twice on one file of a million events: the same bytes, and how fast.

Prints one JSON line. Exit status 1 if the two outputs differ. Run it with `make bench-replay`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.events import event_lines

ROOT = Path(__file__).parents[1]
OUTPUTS = ("alerts.jsonl", "throttles.jsonl", "summary.json")


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--workflows", type=int, default=50)
    parser.add_argument("--hours", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        folder = Path(name)
        source = folder / "events.jsonl"
        sys.stderr.write(f"writing {options.events:,} events …\n")
        with source.open("wb") as out:
            out.writelines(
                event_lines(options.events, workflows=options.workflows, span_s=options.hours * 3_600)
            )
        digests, runs = zip(*(_run(source, folder / f"run{i}") for i in (1, 2)), strict=True)
    line = {
        "events": options.events,
        "workflows": options.workflows,
        "identical": digests[0] == digests[1],
        "events_per_second": [round(options.events / run["cpu_s"]) for run in runs],
        **{figure: [run[figure] for run in runs] for figure in ("wall_s", "cpu_s", "peak_mb")},
    }
    sys.stdout.write(json.dumps(line) + "\n")
    return 0 if line["identical"] else 1


def _run(source: Path, out: Path) -> tuple[str, dict[str, float]]:
    """One replay in a process of its own, on one core."""
    out.mkdir()
    command = [sys.executable, "-m", "service.cli", "replay", str(source), "--no-progress"]
    for name in OUTPUTS:
        command += [f"--{name.split('.')[0]}", str(out / name)]
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"replay failed: {os.waitstatus_to_exitcode(status)}")
    digest = hashlib.sha256(b"".join((out / name).read_bytes() for name in OUTPUTS)).hexdigest()
    return digest, {
        "wall_s": round(time.monotonic() - began, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


if __name__ == "__main__":
    sys.exit(main())
