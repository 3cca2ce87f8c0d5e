"""`tidegate ingest` as deployed, watched from outside: it knows nothing of benchmarks."""

from __future__ import annotations

import asyncio
import sys
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from aiokafka import TopicPartition

from benchmarks.process import Process, RunFailed
from schemas.topics import COST_EVENTS
from service.kafka.clients import consumer, started
from service.kafka.embedded.broker import free_port
from service.kafka.stable_offsets import committed
from service.settings import Settings

_ASK_S: Final = 0.05


class IngestRole:
    """The process, from start to end; with its defaults, and a group of its own.

    Use as a context manager: it is surely ended.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._group, self._port = f"bench-{uuid.uuid4().hex[:8]}", free_port()
        self.process = Process(
            "tidegate",
            [sys.executable, "-m", "service.cli", "ingest"],
            {
                "TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
                "TIDEGATE_INGEST__GROUP_ID": self._group,
                "TIDEGATE_HEALTH__PORT": str(self._port),
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.child.pid

    def first_lane(self, timeout_s: float = 60) -> float:
        """Wait until it opens its first lane, a moment before its first record; when that was. Raises RunFailed."""
        until = time.monotonic() + timeout_s
        while self.process.alive and time.monotonic() < until:
            for when, line in self.process.lines:
                if "remembering from" in line:
                    return when
            time.sleep(0.005)
        raise RunFailed(f"tidegate opened no lane\n{self.process.tail()}")

    async def until_committed(self, ends: Mapping[int, int], timeout_s: float) -> None:
        """Wait until the broker has these offsets as committed, for good. Raises RunFailed, TimeoutError."""
        kafka = self._settings.kafka
        # It reads the group's offsets and never joins.
        async with started(consumer(kafka, group_id=self._group), kafka) as reader:
            sources = [TopicPartition(kafka.topic(COST_EVENTS), p) for p in ends]
            reader.assign(sources)
            async with asyncio.timeout(timeout_s):
                for source in sources:
                    while (await committed(reader, self._group, source) or 0) < ends[source.partition]:
                        if not self.process.alive:
                            raise RunFailed(f"tidegate has ended\n{self.process.tail()}")
                        await asyncio.sleep(_ASK_S)

    def counters(self) -> Counter[str]:
        """Its own counters, summed over labels, by name without prefix and suffix."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found: Counter[str] = Counter()
        for line in text.splitlines():
            if line.startswith("tidegate_ingest_") and "_total" in line:
                name = line.removeprefix("tidegate_ingest_").split("_total", 1)[0]
                found[name] += int(float(line.rsplit(" ", 1)[1]))
        return found

    def end(self) -> None:
        """Ask it to end, as an orchestrator would. Raises RunFailed when it does not end well."""
        _ = self.process.alive  # looks at the memory
        if status := self.process.end():
            raise RunFailed(f"tidegate ended with status {status}\n{self.process.tail()}")
