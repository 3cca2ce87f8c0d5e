"""`tidegate backtest` over fourteen days of fifty workflows: how long, and how many events a second.

The traffic is that of real clients (benchmarks/detection) with incidents and launches in it, at list prices. The
candidate is about every workflow, so that nothing can be judged once for both. Prints one JSON line; run it with
`make bench-backtest`.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.detection.clients import DAYS, Client
from benchmarks.detection.labelled import chosen, of_client
from benchmarks.detection.stage import lines
from benchmarks.detection.stream import Stream

ROOT = Path(__file__).parents[1]
CANDIDATE = "kind: tuning\nname: all\nsettings: {page_budget: 1.0, min_excess_usd: '2'}\n"


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workflows", type=int, default=50)
    parser.add_argument("--calls", type=int, default=1_000_000, help="About so many in all.")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--processes", type=int, default=None)
    parser.add_argument(
        "--events", type=Path, default=None, help="Keep the events here, or use what is there."
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        folder = Path(name)
        events = options.events or folder / "events.jsonl"
        if not events.exists():
            sys.stderr.write(f"writing {DAYS} days of {options.workflows} workflows …\n")
            write(events, options.workflows, options.calls, options.seed)
        candidate = folder / "candidate.yaml"
        candidate.write_text(CANDIDATE, encoding="utf-8")
        command = [sys.executable, "-m", "service.cli", "backtest", "--json"]
        command += ["--events", str(events), "--config", str(candidate)]
        command += ["--processes", str(options.processes)] if options.processes else []
        with (folder / "out.json").open("wb") as out:
            began = time.monotonic()
            process = subprocess.Popen(command, cwd=ROOT, stdout=out)
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic() - began
        if status:
            raise SystemExit(f"the backtest failed: {os.waitstatus_to_exitcode(status)}")
        found = json.loads((folder / "out.json").read_bytes())
    cpu = usage.ru_utime + usage.ru_stime
    count = found["history"]["events"]
    line = {
        "days": round((found["history"]["end"] - found["history"]["begin"]) / 86_400, 2),
        "workflows": found["history"]["workflows"],
        "events": count,
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "events_per_wall_second": round(count / wall),
        "events_per_cpu_second": round(count / cpu),
        "peak_mb_of_one_process": round(usage.ru_maxrss / 1024),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[1], 1),
        "alerts": [found[side]["alerts"] for side in ("live", "candidate")],
        **{what: len(found[what]) for what in ("gained", "lost", "changed")},
    }
    sys.stdout.write(json.dumps(line) + "\n")
    return 0


def write(path: Path, workflows: int, calls: int, seed: int) -> None:
    """Events of all workflows in order of time, a line each."""
    found = [_stream(client, seed, max(calls // workflows, 100)) for client in clients(workflows)]
    with path.open("wb") as out:
        for _, line in heapq.merge(*map(_dated, found), key=lambda dated: dated[0]):
            out.write(line)


def _stream(client: Client, seed: int, calls: int) -> Stream:
    """With incidents; as it was, where these alone would be more calls than all others."""
    clean, *changed = of_client(client, seed, variants=2, max_calls=calls)
    few = [stream for stream in changed if len(stream.calls) < 2 * len(clean.calls)]
    return min(few, key=lambda stream: len(stream.calls), default=clean)


def clients(count: int) -> list[Client]:
    """Evenly from the quiet to the busy, of both splits."""
    return [*chosen("held_out", (count + 1) // 2), *chosen("train", count // 2)]


def _dated(stream: Stream) -> Iterator[tuple[float, bytes]]:
    mark = f'"event_id":"{stream.workflow}-'.encode()
    for at, line in zip(stream.calls.t.tolist(), lines(stream), strict=True):
        head, _, rest = line.partition(
            b',"cost_usd":'
        )  # the stream's own costs are scaled: none is a list price
        yield at, head.replace(b'"event_id":"', mark, 1) + b"," + rest.partition(b",")[2] + b"\n"


if __name__ == "__main__":
    sys.exit(main())
