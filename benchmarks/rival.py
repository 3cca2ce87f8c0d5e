"""The rivals' runs: each in its own environment, its sums read back from the topic it wrote them to."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson
from aiokafka import TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from benchmarks.contest import Run, Sums, run_reporting, same
from benchmarks.filled import FilledTopic, create, end_offsets, read_from
from benchmarks.process import ROOT, RunFailed
from benchmarks.traffic import CLOSING, WINDOW_MS
from service.kafka.clients import admin_client, consumer, started
from service.settings import Settings

PYTHON: Final = ROOT / ".cache" / "bench-venv" / "bin" / "python"
"""`make bench-ingest` makes it from benchmarks/rivals/requirements.lock."""
_TIMEOUT_S: Final = 1_800


def _of_faust(record: Any) -> tuple[str, int, float]:
    workflow, window = orjson.loads(record.key).split("|")
    return workflow, int(window), orjson.loads(record.value)


def _of_window(record: Any) -> tuple[str, int, float]:
    window = orjson.loads(record.value)
    return record.key.decode(), int(window["start"]) // WINDOW_MS, window["value"]


class Rival(NamedTuple):
    """Where its sums lie, after its name, and how to read one."""

    package: str
    topic_suffix: str
    read: Callable[[Any], tuple[str, int, float]]
    arguments: tuple[str, ...] = ()


RIVALS: Final = {
    "faust": Rival("faust-streaming", "-sums-changelog", _of_faust, ("--loop", "uvloop", "worker")),
    "quix": Rival("quixstreams", "", _of_window),
    "bytewax": Rival("bytewax", "", _of_window),
}


def run_rival(name: str, filled: FilledTopic) -> Run:
    """One run; its sums must be those expected of it, to the nano-dollar.

    Raises
    ------
    RunFailed
    """
    if not PYTHON.exists():
        raise RunFailed(f"{name}: no {PYTHON}; `make bench-ingest` makes it")
    unique = f"bench-{name}-{uuid.uuid4().hex[:8]}"
    output = unique + RIVALS[name].topic_suffix
    if output == unique:
        asyncio.run(create_kept(filled.settings, output, filled.spec.partitions))
    run = run_reporting(
        name,
        [str(PYTHON), "-m", f"benchmarks.rivals.{name}_sum", *RIVALS[name].arguments],
        filled,
        _TIMEOUT_S,
        {
            "BENCH_TOPIC": filled.topic,
            "BENCH_NAME": unique,
            "BENCH_RECORDS": str(filled.expected.records),
        },
    )
    found = asyncio.run(_sums(name, output, filled))
    expected = filled.expected.plain_nanos
    # The closing events end the windows before them; their own may stay open.
    wanted = {key: nanos for key, nanos in expected.items() if nanos and not key[0].startswith(CLOSING)}
    same(f"{name}: nano-dollars by workflow and window", found, wanted)
    return run


async def create_kept(settings: Settings, topic: str, partitions: int) -> None:
    """A topic for output that the broker keeps for ever.

    Quix Streams stamps a window with its start. The traffic's windows are of January 2026, so by the default
    `retention.ms` of a week they are too old already when they are written, and the broker, which looks every five
    minutes, would delete what a run has written so far.

    Raises
    ------
    RunFailed
    """
    await create(settings, topic, partitions)
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "-1"})
    async with started(admin_client(settings.kafka), settings.kafka) as admin:
        for answer in await admin.alter_configs([resource]):
            for code, detail, *_ in answer.resources:
                if code:
                    raise RunFailed(f"cannot keep {topic}: {detail}")


async def all_of(settings: Settings, topic: str) -> dict[int, int]:
    """Offset 0 of each partition of `topic`, where nothing has been deleted.

    Raises
    ------
    RunFailed
        The broker has deleted some of it, for which nobody but this benchmark is to blame.
    """
    sources = [TopicPartition(topic, p) for p in await end_offsets(settings, topic)]
    async with started(consumer(settings.kafka, group_id=None), settings.kafka) as reader:
        firsts = {tp.partition: first for tp, first in (await reader.beginning_offsets(sources)).items()}
    if any(firsts.values()):
        raise RunFailed(f"the broker has deleted some of {topic}: it begins at {firsts}")
    return firsts


async def _sums(name: str, topic: str, filled: FilledTopic) -> Sums:
    starts = await all_of(filled.settings, topic)
    last: dict[tuple[str, int], float] = {}
    async for record in read_from(filled.settings, topic, starts):
        workflow, window, value = RIVALS[name].read(record)
        if name != "faust" and (workflow, window) in last:
            raise RunFailed(f"{name}: window {window} of {workflow} was closed twice")
        if not workflow.startswith(CLOSING):
            last[workflow, window] = value  # of a changelog the last value holds
    sys.stderr.write(f"{name}: {len(last):,} windows read back\n")
    return Counter({key: nanos for key, value in last.items() if (nanos := round(value * 1e9))})
