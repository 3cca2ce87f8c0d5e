"""One run of one contestant: a process of its own, its times, and its output held against what is expected.

The clock runs from the first records that a contestant takes to the moment everything it made of the last ones is
flushed and committed. Rivals and the bare loop say so themselves (`{"began", "ended", "cpu_s"}` on stdout, by the
machine's monotonic clock). Ingest is run as deployed and knows nothing of benchmarks, so it is watched from
outside: from its first open lane, a moment before its first record, until the broker has its last offset as
committed, asked every 50 ms. Both are to its disadvantage.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from benchmarks.cores import cpu_seconds
from benchmarks.filled import FilledTopic, end_offsets, read_from
from benchmarks.ingest_role import IngestRole
from benchmarks.process import Process, RunFailed
from benchmarks.traffic import WINDOW_MS
from schemas.topics import DEAD_LETTERS, ROLLUPS

Sums = Counter[tuple[str, int]]


@dataclass
class Run:
    """What one run took.

    Attributes
    ----------
    seconds, cpu_s : float
        Of wall time and of the process's own CPU time, from the first record to the last commit.
    rss_mb : float
        Largest resident set of the whole process.
    """

    name: str
    records: int
    seconds: float
    cpu_s: float
    rss_mb: float
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def eps(self) -> float:
        """Records per second of wall time."""
        return self.records / self.seconds

    @property
    def eps_cpu(self) -> float:
        """Records per second of CPU time: what else the machine does counts less."""
        return self.records / self.cpu_s


def run_reporting(
    name: str,
    command: list[str],
    filled: FilledTopic,
    timeout_s: float,
    environ: Mapping[str, str] | None = None,
) -> Run:
    """A contestant that reports its own times, and ends by itself."""
    process = Process(
        name, command, {"TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": filled.bootstrap, **(environ or {})}
    )
    try:
        status = process.wait(timeout_s)
        reports = [line for line in process.said if line.startswith("{")]
        if status or not reports:
            raise RunFailed(f"{name} ended with status {status}\n{process.tail()}")
        report = json.loads(reports[-1])
    finally:
        process.kill()
    seconds = report["ended"] - report["began"]
    rest = {k: v for k, v in report.items() if k not in {"began", "ended", "cpu_s", "records"}}
    return Run(name, report["records"], seconds, report["cpu_s"], process.rss_mb, rest)


def run_limit(filled: FilledTopic) -> Run:
    """The bare loop, which must have seen every byte."""
    group = f"bench-limit-{uuid.uuid4().hex[:8]}"
    expected = filled.expected
    command = [sys.executable, "-m", "benchmarks.getmany_loop", group, str(expected.records)]
    run = run_reporting("limit", command, filled, 300)
    if (run.records, run.extra.pop("value_bytes")) != (expected.records, expected.value_bytes):
        raise RunFailed(f"limit read {run.records} records of {expected.records}")
    return run


def run_tidegate(filled: FilledTopic, timeout_s: float = 900) -> Run:
    """`tidegate ingest` with its defaults, its output read back and compared. Raises RunFailed."""
    topics = [filled.settings.kafka.topic(t) for t in (ROLLUPS, DEAD_LETTERS)]
    starts = {topic: asyncio.run(end_offsets(filled.settings, topic)) for topic in topics}
    with IngestRole(filled.settings) as role:
        began = role.first_lane()
        cpu = cpu_seconds(role.pid)
        asyncio.run(role.until_committed(filled.ends, timeout_s))
        seconds = time.monotonic() - began
        cpu = cpu_seconds(role.pid) - cpu
        counted = role.counters()
        role.end()
    run = Run("tidegate", filled.expected.records, seconds, cpu, role.process.rss_mb)
    asyncio.run(_verify(filled, run, starts, counted))
    return run


async def _verify(
    filled: FilledTopic, run: Run, starts: dict[str, dict[int, int]], counted: Counter[str]
) -> None:
    """Every sum, read as a consumer of rollups would: committed records only.

    Raises
    ------
    RunFailed
    """
    expected, settings = filled.expected, filled.settings
    rollups_topic, letters_topic = starts
    calls: Sums = Counter()
    nanos: Sums = Counter()
    reasons: Counter[str] = Counter()
    rollups = rollup_bytes = late = unpriced = 0
    async for record in read_from(settings, rollups_topic, starts[rollups_topic]):
        rollup = orjson.loads(record.value)
        if rollup["type"] != "rollup":
            continue
        start = datetime.fromisoformat(rollup["bucket_start"]).timestamp()
        key = rollup["workflow"], int(start * 1_000) // WINDOW_MS
        calls[key] += rollup["calls"]
        nanos[key] += rollup["cost_nanos"]
        late += rollup.get("late", 0)
        unpriced += rollup.get("unpriced_calls", 0)
        rollups += 1
        rollup_bytes += len(record.value)
    async for record in read_from(settings, letters_topic, starts[letters_topic]):
        reasons[orjson.loads(record.value)["reason"]] += 1
    same("tidegate: calls by workflow and window", calls, expected.calls)
    same("tidegate: nano-dollars by workflow and window", nanos, expected.nanos)
    same("tidegate: dead letters by reason", reasons, expected.bad)
    same(
        "tidegate: its counters",
        Counter({name: counted[name] for name in ("events", "duplicates", "dead_letters", "unpriced_calls")}),
        Counter(
            events=expected.records,
            duplicates=expected.duplicates,
            dead_letters=sum(expected.bad.values()),
            unpriced_calls=0,
        ),
    )
    run.extra |= {
        "rollups": rollups,
        "rollups_per_event": round(rollups / expected.records, 4),
        "rollup_bytes": round(rollup_bytes / max(rollups, 1)),
        "transactions": counted["transactions"],
        "late": late,
    }


def same(what: str, found: Mapping[Any, int], expected: Mapping[Any, int]) -> None:
    """Compare numbers by key; a missing one is 0. Raises RunFailed with a few that differ."""
    wrong = [key for key in found.keys() | expected.keys() if found.get(key, 0) != expected.get(key, 0)]
    if wrong:
        some = ", ".join(
            f"{key}: {found.get(key, 0)} for {expected.get(key, 0)}" for key in sorted(wrong)[:5]
        )
        raise RunFailed(f"{what}: {len(wrong)} are not as expected ({some})")
