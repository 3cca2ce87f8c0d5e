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
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson
from aiokafka import TopicPartition

from benchmarks.cores import cpu_seconds, peak_mb, pinned
from benchmarks.filled import FilledTopic, end_offsets, read_from
from benchmarks.traffic import WINDOW_MS
from schemas.topics import DEAD_LETTERS, ROLLUPS
from service.kafka.clients import consumer, started
from service.kafka.embedded.broker import free_port
from service.kafka.stable_offsets import committed

ROOT: Final = Path(__file__).parents[1]
_ASK_S: Final = 0.05
_STEP_S: Final = 0.2

Sums = Counter[tuple[str, int]]


class RunFailed(Exception):
    """A contestant that failed, or whose output is not what is expected."""


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


class _Process:
    """A pinned child: its log, its memory."""

    def __init__(self, name: str, command: list[str], folder: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self._path = folder / f"{name}-{uuid.uuid4().hex[:6]}.log"
        self.lines: list[tuple[float, str]] = []  # when, what it said on stderr
        self.child = subprocess.Popen(
            pinned(command),
            cwd=ROOT,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self.rss_mb = 0.0
        self._readers = [threading.Thread(target=read) for read in (self._read_errors, self._read_output)]
        for reader in self._readers:
            reader.start()

    def _read_errors(self) -> None:
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.lines.append((time.monotonic(), line))

    def _read_output(self) -> None:
        assert self.child.stdout is not None
        self.said.extend(self.child.stdout)

    @property
    def alive(self) -> bool:
        if self.child.poll() is not None:
            return False
        try:
            self.rss_mb = max(self.rss_mb, peak_mb(self.child.pid))
        except (OSError, StopIteration):
            return False  # it is just ending: /proc has nothing more to say
        return True

    def wait(self, timeout_s: float) -> int:
        """Until it ends by itself; its exit status."""
        until = time.monotonic() + timeout_s
        while self.alive:
            if time.monotonic() > until:
                raise RunFailed(f"{self.name}: not done after {timeout_s:g} s\n{self.tail()}")
            time.sleep(_STEP_S)
        self._joined()
        return self.child.returncode

    def end(self) -> int:
        """Ask it to end; its exit status."""
        self.child.send_signal(signal.SIGTERM)
        status = self.child.wait(timeout=40)
        self._joined()
        return status

    def kill(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self._joined()

    def _joined(self) -> None:
        for reader in self._readers:
            reader.join(timeout=10)

    def tail(self) -> str:
        return "".join(line for _, line in self.lines[-30:])


def run_reporting(
    name: str,
    command: list[str],
    filled: FilledTopic,
    folder: Path,
    timeout_s: float,
    environ: Mapping[str, str] | None = None,
) -> Run:
    """A contestant that reports its own times, and ends by itself."""
    process = _Process(name, command, folder, {**_broker(filled), **(environ or {})})
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


def run_limit(filled: FilledTopic, folder: Path) -> Run:
    """The bare loop, which must have seen every byte."""
    group = f"bench-limit-{uuid.uuid4().hex[:8]}"
    expected = filled.expected
    command = [sys.executable, "-m", "benchmarks.getmany_loop", group, str(expected.records)]
    run = run_reporting("limit", command, filled, folder, 300)
    if (run.records, run.extra.pop("value_bytes")) != (expected.records, expected.value_bytes):
        raise RunFailed(f"limit read {run.records} records of {expected.records}")
    return run


def run_tidegate(filled: FilledTopic, folder: Path, timeout_s: float = 900) -> Run:
    """`tidegate ingest` with its defaults, its output read back and compared."""
    group, port = f"bench-{uuid.uuid4().hex[:8]}", free_port()
    environ = {
        **_broker(filled),
        "TIDEGATE_INGEST__GROUP_ID": group,
        "TIDEGATE_HEALTH__PORT": str(port),
    }
    topics = [filled.settings.kafka.topic(t) for t in (ROLLUPS, DEAD_LETTERS)]
    starts = {topic: asyncio.run(end_offsets(filled.settings, topic)) for topic in topics}
    process = _Process("tidegate", [sys.executable, "-m", "service.cli", "ingest"], folder, environ)
    try:
        began, cpu = _first_lane(process)
        asyncio.run(_committed(filled, group, process, timeout_s))
        seconds = time.monotonic() - began
        cpu = cpu_seconds(process.child.pid) - cpu
        counted = _metrics(port)
        _ = process.alive  # looks at the memory
        if status := process.end():
            raise RunFailed(f"tidegate ended with status {status}\n{process.tail()}")
    finally:
        process.kill()
    run = Run("tidegate", filled.expected.records, seconds, cpu, process.rss_mb)
    asyncio.run(_verify(filled, run, starts, counted))
    return run


def _broker(filled: FilledTopic) -> dict[str, str]:
    return {"TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": filled.bootstrap}


def _first_lane(process: _Process) -> tuple[float, float]:
    while process.alive:
        for when, line in process.lines:
            if "remembering from" in line:
                return when, cpu_seconds(process.child.pid)
        time.sleep(0.005)
    raise RunFailed(f"tidegate opened no lane\n{process.tail()}")


async def _committed(filled: FilledTopic, group: str, process: _Process, timeout_s: float) -> None:
    settings = filled.settings
    # It reads the group's offsets and never joins.
    async with started(consumer(settings.kafka, group_id=group), settings.kafka) as reader:
        sources = [TopicPartition(filled.topic, p) for p in filled.ends]
        reader.assign(sources)
        async with asyncio.timeout(timeout_s):
            for source in sources:
                while (await committed(reader, group, source) or 0) < filled.ends[source.partition]:
                    if not process.alive:
                        raise RunFailed(f"tidegate has ended\n{process.tail()}")
                    await asyncio.sleep(_ASK_S)


def _metrics(port: int) -> Counter[str]:
    """The process's own counters, summed over labels, by name without prefix and suffix."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: Counter[str] = Counter()
    for line in text.splitlines():
        if line.startswith("tidegate_ingest_") and "_total" in line:
            name = line.removeprefix("tidegate_ingest_").split("_total", 1)[0]
            found[name] += int(float(line.rsplit(" ", 1)[1]))
    return found


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
