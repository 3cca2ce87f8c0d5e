"""Ten minutes at a steady rate: does ingest's memory stay where it is? `make bench-soak`.

The dedup window is full by half-time; `slope_mb_per_min` is the trend over the second half. One JSON line
on stdout, and the resident set over time as docs/images/soak.svg.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.cores import cpu_seconds, machine, resident_mb, stay_with_the_broker
from benchmarks.filled import empty_topics, end_offsets
from benchmarks.ingest_role import IngestRole
from benchmarks.page import write_block
from benchmarks.plot import line_plot
from benchmarks.process import ROOT, RunFailed
from benchmarks.sender import Sender, same_counts
from schemas.topics import COST_EVENTS
from service.settings import Settings

PLOT: Final = ROOT / "docs" / "images" / "soak.svg"


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=30_000.0, help="events per second")
    parser.add_argument("--workflows", type=int, default=20_000)
    parser.add_argument("--plot", type=Path, default=PLOT)
    parser.add_argument("--write-docs", action="store_true", help="put the figures into docs/benchmarks.md")
    options = parser.parse_args()
    stay_with_the_broker()
    try:
        with empty_topics() as settings:
            line, samples = measure(settings, options.rate, options.minutes * 60, options.workflows)
    except RunFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    options.plot.parent.mkdir(parents=True, exist_ok=True)
    title = (
        f"Resident set of tidegate ingest, MB: {line['reached_rate']:,} events/s,"
        f" {options.workflows:,} workflows, {line['minutes']:g} minutes"
    )
    options.plot.write_text(line_plot(title, samples, "minutes", "MB"), encoding="utf-8")
    line["machine"] = machine()
    sys.stdout.write(json.dumps(line) + "\n")
    if options.write_docs:
        write_block("soak", _sentence(line))
    return 0


def measure(
    settings: Settings, rate: float, seconds: float, workflows: int
) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """What the JSON line says, and (minutes, MB) for every second. Raises RunFailed."""
    samples: list[tuple[float, float]] = []
    with IngestRole(settings) as role:
        role.first_lane()
        with Sender(settings, rate, seconds, workflows) as sender:
            sender.until_sending()
            began, cpu = time.monotonic(), cpu_seconds(role.pid)
            while sender.alive:
                if not role.process.alive:
                    raise RunFailed(f"tidegate has ended\n{role.process.tail()}")
                samples.append(((time.monotonic() - began) / 60, resident_mb(role.pid)))
                time.sleep(1)
            cpu = cpu_seconds(role.pid) - cpu
            sent = sender.report()
        caught_up = time.monotonic()
        ends = asyncio.run(end_offsets(settings, settings.kafka.topic(COST_EVENTS)))
        asyncio.run(role.until_committed(ends, 600))
        caught_up = time.monotonic() - caught_up
        counted = role.counters()
        role.end()
    same_counts(sent, counted)
    at, memory = np.array(samples).T
    later = at >= at[-1] / 2
    slope = np.polyfit(at[later], memory[later], 1)[0] if later.sum() > 2 else 0.0
    return {
        "minutes": round(sent["seconds"] / 60, 2),
        "events": sent["events"],
        "rss_start_mb": round(float(memory[0]), 1),
        "rss_end_mb": round(float(memory[-1]), 1),
        "rss_max_mb": round(role.process.rss_mb, 1),
        "slope_mb_per_min": round(float(slope), 3),
        "workflows": workflows,
        "rate": round(rate),
        "reached_rate": round(sent["events"] / sent["seconds"]),
        "caught_up_s": round(caught_up, 2),
        "ingest_cpu": round(cpu / sent["seconds"], 3),
        "dedup_offsets": settings.ingest.dedup_offsets,
    }, samples


def _sentence(line: dict[str, Any]) -> str:
    return (
        "![Resident set of ingest over time](images/soak.svg)\n\n"
        f"{line['events']:,} events in {line['minutes']:g} minutes ({line['reached_rate']:,} a second,"
        f" {line['workflows']:,} workflows, {line['dedup_offsets']:,} offsets of dedup on each partition): resident"
        f" set {line['rss_start_mb']:.0f} MB at the start, {line['rss_end_mb']:.0f} MB at the end,"
        f" {line['rss_max_mb']:.0f} MB at most, {line['slope_mb_per_min']:+.2f} MB a minute over the second half."
        f" {line['machine']}."
    )


if __name__ == "__main__":
    sys.exit(main())
