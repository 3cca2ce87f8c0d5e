"""Ingest side by side with others, on one filled topic: `make bench-ingest`.

A table on stderr and one JSON line on stdout. Exit status 1 if any output was not as expected.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.contest import Run, run_limit, run_tidegate
from benchmarks.cores import machine, stay_with_the_broker
from benchmarks.filled import FilledTopic, filled_topic
from benchmarks.page import write_block
from benchmarks.process import RunFailed
from benchmarks.rival import run_rival
from benchmarks.traffic import Spec
from service.kafka.embedded.apache import KAFKA_VERSION

NAMES: Final = {
    "tidegate": "**Tidegate ingest**, all of it",
    "limit": "bare `getmany` loop: the limit",
    "faust": "Faust, sum only",
    "quix": "Quix Streams, sum only",
    "bytewax": "Bytewax, sum only",
}
CONTESTANTS: Final = tuple(NAMES)
RIVALS_FOLDER: Final = Path(__file__).parent / "rivals"


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--rate", type=float, default=25_000.0, help="calls per second of event time")
    parser.add_argument(
        "--only", default=",".join(CONTESTANTS), help="some of the contestants, by comma; a name may repeat"
    )
    parser.add_argument(
        "--reuse", type=Path, metavar="DIR", help="keep the filled broker's data there, and use it again"
    )
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(CONTESTANTS):
        parser.error(f"no such contestant: {', '.join(sorted(unknown))}")
    stay_with_the_broker()
    spec = Spec(options.events, rate=options.rate)
    runs: dict[str, Run] = {}
    failed: list[str] = []
    with filled_topic(spec, options.reuse) as filled:
        load = round(os.getloadavg()[0], 2)
        for name in names:
            try:
                run = _run(name, filled)
            except RunFailed as failure:
                failed.append(name)
                sys.stderr.write(f"{failure}\n")
                continue
            sys.stderr.write(_row(run) + "\n")
            if name not in runs or run.eps > runs[name].eps:
                runs[name] = run
    sys.stderr.write("\n" + table(runs, failed) + "\n")
    sys.stdout.write(json.dumps(summary(spec, runs, load)) + "\n")
    if options.write_docs and "tidegate" in runs:
        write_block("ingest", f"{table(runs, failed)}\n\n{_conditions(spec, runs)}")
    return 1 if failed else 0


def _run(name: str, filled: FilledTopic) -> Run:
    if name == "tidegate":
        return run_tidegate(filled)
    return run_limit(filled) if name == "limit" else run_rival(name, filled)


def _row(run: Run) -> str:
    return (
        f"{run.name:<10} {run.eps:>11,.0f}/s  {run.seconds:>7.2f} s  {run.cpu_s:>7.2f} s CPU"
        f"  {run.eps_cpu:>11,.0f}/CPU s  {run.rss_mb:>6.0f} MB  {json.dumps(run.extra)}"
    )


def table(runs: dict[str, Run], failed: Sequence[str] = ()) -> str:
    """The best run of each, as a table in Markdown; of the failed ones, that they are."""
    ours = runs.get("tidegate")
    lines = [
        "| | events/s | Tidegate is | seconds | CPU seconds | events per CPU second | Tidegate is"
        " | peak memory, MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, run in runs.items():
        by_wall = by_cpu = ""
        if ours and run is not ours:
            by_wall, by_cpu = f"{ours.eps / run.eps:.2f} ×", f"{ours.eps_cpu / run.eps_cpu:.2f} ×"
        lines.append(
            f"| {NAMES[name]} | {run.eps:,.0f} | {by_wall} | {run.seconds:.1f} | {run.cpu_s:.1f}"
            f" | {run.eps_cpu:,.0f} | {by_cpu} | {run.rss_mb:.0f} |"
        )
    lines += [
        f"| {NAMES[name]} | no run that counts: its output was not as expected | | | | | | |"
        for name in dict.fromkeys(failed)
        if name not in runs
    ]
    return "\n".join(lines)


def _conditions(spec: Spec, runs: dict[str, Run]) -> str:
    ours = runs.get("tidegate")
    rollups = f" {ours.extra['rollups_per_event']:.3f} rollups an event." if ours else ""
    versions = ", ".join(f"{name} {version}" for name, version in _versions().items())
    return (
        f"{spec.events:,} events at {spec.rate:,.0f} a second of event time,"
        f" {spec.workflows:,} workflows.{rollups} {machine()}; {versions}."
    )


def _versions() -> dict[str, str]:
    pins = re.findall(
        r"^([a-z-]+)(?:\[\w+\])?==(\S+)", (RIVALS_FOLDER / "requirements.txt").read_text(), re.M
    )
    return {"kafka": KAFKA_VERSION, "tidegate": version("tidegate"), **dict(pins)}


def summary(spec: Spec, runs: dict[str, Run], load: float) -> dict[str, Any]:
    """The JSON line. `load`: what else ran when the first run began, as the one minute load average."""
    line: dict[str, Any] = {f"{name}_eps": round(run.eps) for name, run in runs.items()}
    if ours := runs.get("tidegate"):
        line |= {f"ratio_{n}": round(ours.eps / r.eps, 3) for n, r in runs.items() if r is not ours}
        line |= {"rss_mb": round(ours.rss_mb), "rollups_per_event": ours.extra["rollups_per_event"]}
        line |= {"tidegate_late": ours.extra["late"], "transactions": ours.extra["transactions"]}
        line |= {
            f"ratio_cpu_{n}": round(ours.eps_cpu / r.eps_cpu, 3) for n, r in runs.items() if r is not ours
        }
    line |= {f"{name}_cpu_s": round(run.cpu_s, 2) for name, run in runs.items()}
    line |= {f"{name}_eps_cpu": round(run.eps_cpu) for name, run in runs.items()}
    line |= {"events": spec.events, "seed": spec.seed, "rate": spec.rate, "machine": machine()}
    line |= {"load_before": load, "versions": _versions()}
    return line


if __name__ == "__main__":
    sys.exit(main())
