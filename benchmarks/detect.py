"""Ten thousand workflows in one detect worker: what a rollup costs, and how large states become.

`make bench-detect`. No broker: a process folds the benchmark's traffic as ingest does and hands the records over as
bytes; another one reads them, applies them to one desk and encodes every state that changed, as the changelog wants
it. Only that process is measured, in CPU time, so other load on the machine matters little.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np

from benchmarks.cores import machine, resident_mb
from benchmarks.detect_worker import BEGIN, Stretch, Watch, Worker
from benchmarks.page import write_block
from benchmarks.traffic import START_MS, Spec, Traffic
from service.ingest.fold import Fold
from service.ingest.price import Pricer
from service.ingest.record import RawRecord
from service.rules.config import ConfigBook
from service.runtime.garbage import collect_rarely
from service.settings import IngestSettings, Settings

_WARM_COMMIT_S: Final = 2.0
"""Warming up, time passes in larger steps: the same buckets in fewer rollups."""
_ARRIVED_MS: Final = START_MS + 365 * 86_400_000
"""No event lies in the future of so late a broker time."""


@dataclass(frozen=True)
class Plan:
    """What to play.

    Attributes
    ----------
    rate : float
        Calls per second of event time, of all workflows together.
    warm, measured, inside : float
        Minutes of event time: before anything is measured; of applying and encoding; of the detectors' own time,
        apart because looking at the clock so often is not free.
    """

    workflows: int = 10_000
    rate: float = 1_000.0
    warm: float = 40.0
    measured: float = 8.0
    inside: float = 3.0
    seed: int = 3

    @property
    def minutes(self) -> float:
        return self.warm + self.measured + self.inside


def batches(plan: Plan, settings: IngestSettings) -> Iterator[list[bytes]]:
    """The rollups topic of such traffic on one partition, a list of records for each commit of ingest."""
    spec = Spec(
        int(plan.rate * plan.minutes * 60),
        workflows=plan.workflows,
        rate=plan.rate,
        partitions=1,
        seed=plan.seed,
    )
    fold = Fold(0, 1, settings, Pricer(ConfigBook.empty().prices))
    waiting: list[RawRecord] = []
    slow_until = int(plan.warm * 60 * plan.rate)
    next_drain = 0.0
    # Without the closing event, far ahead: all buckets ending at once is no pace that ever is.
    for offset, sent in enumerate(islice(Traffic(spec).records(), spec.events)):
        waiting.append(RawRecord(0, offset, _ARRIVED_MS, sent.key, sent.value, ()))
        if offset < next_drain:
            continue
        fold.take(waiting)
        waiting = []
        yield [told.to_json() for told in fold.drain().in_time()]
        commit_s = _WARM_COMMIT_S if offset < slow_until else settings.commit_interval_ms / 1_000
        next_drain = offset + commit_s * plan.rate


def measure(plan: Plan) -> dict[str, Any]:
    """What the JSON line says."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    feeder = context.Process(target=_feed, args=(theirs, plan), daemon=True)
    feeder.start()
    theirs.close()
    try:
        line = _play(plan, ours)
        feeder.join()
    finally:
        feeder.kill()  # it would wait for ever for a reader that failed
        feeder.join()
    if feeder.exitcode:
        raise SystemExit(f"folding ended with {feeder.exitcode}")
    return line


def _feed(out: Connection, plan: Plan) -> None:
    for batch in batches(plan, Settings().ingest):
        out.send(batch)
    out.close()


def _play(plan: Plan, source: Connection) -> dict[str, Any]:
    collect_rarely()
    worker = Worker()
    warm, measured, inside = Stretch(), Stretch(), Stretch()
    watch: Watch | None = None
    sizes: list[int] = []
    rss = 0.0
    lateness = Settings().ingest.allowed_lateness_s
    while True:
        try:
            batch = source.recv()
        except EOFError:
            break
        minute = (worker.desk.watermarks.now + lateness - BEGIN) / 60
        if minute < plan.warm:
            worker.handle(batch, warm)
        elif minute < plan.warm + plan.measured:
            worker.handle(batch, measured)
        else:
            if watch is None:
                sizes, rss = worker.sizes(), resident_mb(os.getpid())
                watch = worker.look_inside()
            worker.handle(batch, inside)
    if watch is None or not measured.active or not inside.active:
        raise SystemExit("the traffic ended before anything was measured")
    seconds = plan.measured * 60
    inner = watch.seconds()
    return {
        "workflows": sum(state.scope is None for state in worker.states.values()),
        "calls_s": plan.rate,
        "minutes": plan.measured,
        "rollups": measured.rollups,
        "rollups_s": round(measured.rollups / measured.judged_s),
        "offered_rollups_s": round(measured.rollups / seconds, 1),
        "us_per_rollup": round(1e6 * measured.judged_s / measured.rollups, 1),
        "us_read_per_rollup": round(1e6 * measured.read_s / measured.rollups, 1),
        "us_encode_per_rollup": round(1e6 * measured.encode_s / measured.rollups, 1),
        "us_per_workflow_minute": round(1e6 * measured.judged_s / len(measured.active), 1),
        "us_detectors_per_workflow_minute": round(1e6 * sum(inner.values()) / len(inside.active), 1),
        "us_a_look": {what: round(1e6 * inner[what] / watch.looks[what], 1) for what in sorted(inner)},
        "workflow_minutes": len(measured.active),
        "woken_by_ticks_s": round(measured.woken / seconds, 1),
        "state_bytes_p50": int(np.quantile(sizes, 0.5)),
        "state_bytes_p99": int(np.quantile(sizes, 0.99)),
        "state_bytes_max": max(sizes),
        "changelog_mb_s": round(measured.changelog_bytes / 1e6 / seconds, 2),
        "rss_mb": round(rss),
        "core_share": round((measured.read_s + measured.judged_s) / seconds, 3),
        "alerts": dict(measured.alerts),
    }


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detect", description=__doc__)
    parser.add_argument("--workflows", type=int, default=Plan.workflows)
    parser.add_argument("--rate", type=float, default=Plan.rate, help="calls per second of event time")
    parser.add_argument("--warm", type=float, default=Plan.warm, help="minutes")
    parser.add_argument("--minutes", type=float, default=Plan.measured, help="that are measured")
    parser.add_argument("--quick", action="store_true", help="200 workflows and a minute: whether it runs")
    parser.add_argument("--write-docs", action="store_true", help="put the figures into docs/benchmarks.md")
    options = parser.parse_args()
    if options.quick and options.write_docs:
        parser.error("--quick gives no figures worth keeping")
    if options.quick:
        plan = Plan(workflows=200, rate=100.0, warm=1.0, measured=0.5, inside=0.5)
    else:
        plan = Plan(options.workflows, options.rate, options.warm, options.minutes)
    line = measure(plan) | {"machine": machine()}
    sys.stdout.write(_text(line) + "\n" + json.dumps(line) + "\n")
    if options.write_docs:
        write_block("detect", _text(line) + f"\n\n{line['machine']}.")
    return 0


def _text(line: dict[str, Any]) -> str:
    rows = (
        ("workflows", f"{line['workflows']:,}"),
        ("calls/s of event time", f"{line['calls_s']:,.0f}"),
        ("rollups/s of event time", f"{line['offered_rollups_s']:,.0f}"),
        ("rollups per CPU second", f"{line['rollups_s']:,}"),
        ("µs per rollup, applied and encoded", f"{line['us_per_rollup']:,.0f}"),
        ("of which encoding", f"{line['us_encode_per_rollup']:,.0f}"),
        ("µs to read a rollup, apart", f"{line['us_read_per_rollup']:,.0f}"),
        ("µs per workflow-minute", f"{line['us_per_workflow_minute']:,.0f}"),
        ("of which inside detectors", f"{line['us_detectors_per_workflow_minute']:,.0f}"),
        ("bytes of state, p50 / p99", f"{line['state_bytes_p50']:,} / {line['state_bytes_p99']:,}"),
        ("changelog, MB/s", f"{line['changelog_mb_s']:.1f}"),
        ("resident set, MB", f"{line['rss_mb']:,}"),
        ("share of one core", f"{line['core_share']:.0%}"),
    )
    return "\n".join(["| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows)])


if __name__ == "__main__":
    sys.exit(main())
