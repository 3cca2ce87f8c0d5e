"""From published to readable: how long until an event is in a rollup that anybody may read. `make bench-latency`.

A producer of its own process keeps to a rate and notes when it hands each batch to its client; a `read_committed`
consumer notes when each rollup reaches it. A rollup's latency is from its newest event's publishing to its own
arrival: what `commit_interval_ms` adds to a rollup's older events is told as `oldest_…`. Broker, producer and this
consumer share one core, ingest has the other. One JSON line on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.contest import run_tidegate
from benchmarks.cores import cpu_seconds, machine, stay_with_the_broker
from benchmarks.filled import empty_topics, end_offsets, filled_topic
from benchmarks.ingest_role import IngestRole
from benchmarks.page import write_block
from benchmarks.process import RunFailed
from benchmarks.sender import Sender, same_counts
from benchmarks.traffic import Spec
from schemas.topics import COST_EVENTS, ROLLUPS
from service.kafka.clients import consumer, require_topics, started
from service.settings import Settings

WARM_UP_S: Final = 5.0
_SOURCE: Final = re.compile(rb'"source":\{"partition":(\d+),"first_offset":(\d+),"last_offset":(\d+)\}')
_Floats = npt.NDArray[np.float64]


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, help="events per second; default: half of what ingest can do")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workflows", type=int, default=5_000)
    parser.add_argument("--events", type=int, default=500_000, help="to find out what ingest can do")
    parser.add_argument("--write-docs", action="store_true", help="put the figures into docs/benchmarks.md")
    options = parser.parse_args()
    stay_with_the_broker()
    line: dict[str, Any] = {}
    try:
        rate = options.rate
        if rate is None:
            with filled_topic(Spec(options.events, workflows=options.workflows), None) as filled:
                most = run_tidegate(filled).eps
            line["maximum_eps"] = round(most)
            rate = most / 2
        with empty_topics() as settings:
            line |= measure(settings, rate, options.seconds, options.workflows)
    except RunFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    line["machine"] = machine()
    sys.stdout.write(json.dumps(line) + "\n")
    if options.write_docs:
        write_block("latency", _table(line))
    return 0


def measure(settings: Settings, rate: float, seconds: float, workflows: int) -> dict[str, Any]:
    """Percentiles in milliseconds, at so many events a second. Raises RunFailed."""
    with IngestRole(settings) as role:
        role.first_lane()
        with Sender(settings, rate, seconds, workflows) as sender:
            cpu = cpu_seconds(role.pid)
            arrivals = asyncio.run(_watch(settings, role, sender))
            cpu = cpu_seconds(role.pid) - cpu
            sent, batches = sender.report(), sender.batches()
        counted = role.counters()
        role.end()
    same_counts(sent, counted)
    newest, oldest = latencies(batches, np.array(arrivals, dtype=np.float64))
    return {
        **_percentiles("", newest),
        **_percentiles("oldest_", oldest),
        "rollups": len(newest),
        "events": sent["events"],
        "rate": round(rate),
        "reached_rate": round(sent["events"] / sent["seconds"]),
        "producer_behind_ms": sent["behind_ms"],
        "ingest_cpu": round(cpu / sent["seconds"], 3),
        "commit_interval_ms": settings.ingest.commit_interval_ms,
    }


async def _watch(settings: Settings, role: IngestRole, sender: Sender) -> list[tuple[int, int, int, float]]:
    """Partition, first and last offset of every rollup's events, and when it could be read."""
    kafka = settings.kafka
    arrivals: list[tuple[int, int, int, float]] = []
    topic = kafka.topic(ROLLUPS)
    async with started(consumer(kafka, group_id=None), kafka) as reader:
        reader.assign((await require_topics(reader, [topic]))[topic])

        async def read() -> None:
            while True:
                found = await reader.getmany(timeout_ms=100)
                now = time.monotonic()
                for records in found.values():
                    for record in records:
                        # What is watched besides workflows has no haste.
                        if b'"type":"scope"' in record.value:
                            continue
                        if source := _SOURCE.search(record.value):
                            partition, first, last = map(int, source.groups())
                            arrivals.append((partition, first, last, now))

        reading = asyncio.create_task(read())
        while sender.alive:
            if reading.done() or not role.process.alive:
                raise RunFailed(f"ended before its time\n{role.process.tail()}")
            await asyncio.sleep(0.2)
        ends = await end_offsets(settings, kafka.topic(COST_EVENTS))
        await role.until_committed(ends, 120)
        await asyncio.sleep(1)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    return arrivals


def latencies(batches: _Floats, arrivals: _Floats) -> tuple[_Floats, _Floats]:
    """Milliseconds from publishing to arrival, of each rollup's newest and of its oldest event.

    Parameters
    ----------
    batches : array of (partition, first offset, records, when sent)
    arrivals : array of (partition, first offset, last offset, when readable)
        What arrived within the warm-up is left out.
    """
    newest: list[_Floats] = []
    oldest: list[_Floats] = []
    start = batches[:, 3].min() + WARM_UP_S
    for partition in np.unique(batches[:, 0]):
        sent = batches[batches[:, 0] == partition]
        sent = sent[np.argsort(sent[:, 1])]
        here = arrivals[(arrivals[:, 0] == partition) & (arrivals[:, 3] >= start)]
        for column, found in ((2, newest), (1, oldest)):
            batch = np.searchsorted(sent[:, 1], here[:, column], side="right") - 1
            found.append((here[:, 3] - sent[batch, 3]) * 1_000)
    return np.concatenate(newest), np.concatenate(oldest)


def _percentiles(prefix: str, values: _Floats) -> dict[str, float]:
    shares = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    return {f"{prefix}{name}_ms": round(float(np.percentile(values, q)), 1) for name, q in shares.items()}


def _table(line: dict[str, Any]) -> str:
    names = ("p50", "p95", "p99", "max")
    rows = [
        f"| {what} | " + " | ".join(f"{line[f'{prefix}{name}_ms']:,.0f}" for name in names) + " |"
        for what, prefix in (("newest event of a rollup", ""), ("oldest event of a rollup", "oldest_"))
    ]
    most = f" (half of {line['maximum_eps']:,})" if "maximum_eps" in line else ""
    return "\n".join(
        [
            "| milliseconds from published to readable | " + " | ".join(names) + " |",
            "| --- | ---: | ---: | ---: | ---: |",
            *rows,
            "",
            f"{line['reached_rate']:,} events/s{most}, {line['rollups']:,} rollups. {line['machine']}.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
