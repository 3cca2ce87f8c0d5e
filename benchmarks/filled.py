"""A broker of its own with one filled topic, which every contestant reads from the beginning."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic

from benchmarks.traffic import Expected, Spec, Traffic
from schemas.topics import COST_EVENTS
from service.kafka.admin import create_topics
from service.kafka.clients import admin_client, consumer, producer, require_topics, started
from service.kafka.embedded.apache import ApacheKafka
from service.settings import Settings

BATCH_BYTES: Final = 65_536
"""Of the producer's batches before compression: some 130 events each."""
_EXPECTED: Final = "expected.json"


@dataclass(frozen=True)
class FilledTopic:
    """Where the topic is, and what must come of it.

    Attributes
    ----------
    ends : dict of int to int
        Offset after the last record, by partition.
    """

    broker: ApacheKafka
    settings: Settings
    spec: Spec
    expected: Expected
    ends: dict[int, int]

    @property
    def topic(self) -> str:
        """Its name on the broker."""
        return self.settings.kafka.topic(COST_EVENTS)

    @property
    def bootstrap(self) -> str:
        return self.broker.bootstrap


@contextmanager
def filled_topic(spec: Spec, folder: Path | None) -> Iterator[FilledTopic]:
    """Apache Kafka with the topics of a new installation, cost-events filled as `spec` says.

    Parameters
    ----------
    folder : Path or None
        Keeps the broker's data: if it was filled from the same spec before, that is used again. None: a
        temporary one.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of every retry; errors are raised
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as scratch:
        home = (folder or Path(scratch)).resolve()
        home.mkdir(parents=True, exist_ok=True)
        known = _read(home / _EXPECTED, spec)
        if known is None and any(home.iterdir()):
            raise SystemExit(f"{home} holds something else: give an empty or new folder")
        with ApacheKafka(data_dir=home / "kafka") as broker:
            settings = Settings.model_validate({"kafka": {"bootstrap_servers": broker.bootstrap}})
            asyncio.run(create_topics(settings))
            if known is None:
                traffic = Traffic(spec)
                known = traffic.expected
                asyncio.run(_fill(settings, traffic))
                (home / _EXPECTED).write_bytes(_written(spec, known))
            ends = asyncio.run(end_offsets(settings, settings.kafka.topic(COST_EVENTS)))
            if sum(ends.values()) != known.records:
                raise SystemExit(f"{ends} on the topic, {known.records} records sent")
            yield FilledTopic(broker, settings, spec, known, ends)


@contextmanager
def empty_topics() -> Iterator[Settings]:
    """Apache Kafka with the topics of a new installation; its data is thrown away in the end."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with ApacheKafka() as broker:
        settings = Settings.model_validate({"kafka": {"bootstrap_servers": broker.bootstrap}})
        asyncio.run(create_topics(settings))
        yield settings


async def _fill(settings: Settings, traffic: Traffic) -> None:
    topic = settings.kafka.topic(COST_EVENTS)
    began = time.monotonic()
    client = producer(settings.kafka, client_id="bench-fill", max_batch_size=BATCH_BYTES)
    async with started(client, settings.kafka):
        batches = {p: client.create_batch() for p in range(traffic.spec.partitions)}
        waiting: set[asyncio.Future[Any]] = set()
        for sent in traffic.records():
            batch = batches[sent.partition]
            if batch.append(timestamp=None, key=sent.key, value=sent.value) is None:
                waiting.add(await client.send_batch(batch, topic, partition=sent.partition))
                batches[sent.partition] = batch = client.create_batch()
                batch.append(timestamp=None, key=sent.key, value=sent.value)
                if len(waiting) > 64:
                    waiting = await _some_done(waiting)
        for partition, batch in batches.items():
            if batch.record_count():
                waiting.add(await client.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*waiting)
    expected = traffic.expected
    sys.stderr.write(
        f"filled {expected.records:,} records, {expected.value_bytes / 1e6:,.0f} MB before compression,"
        f" in {time.monotonic() - began:.0f} s\n"
    )


async def _some_done(waiting: set[asyncio.Future[Any]]) -> set[asyncio.Future[Any]]:
    done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for one in done:
        one.result()
    return left


async def create(settings: Settings, topic: str, partitions: int) -> None:
    """A topic for the output of one run."""
    async with started(admin_client(settings.kafka), settings.kafka) as admin:
        answer = await admin.create_topics([NewTopic(topic, partitions, 1)])
        for name, code, message in answer.topic_errors:
            if code:
                raise SystemExit(f"cannot create {name}: {message}")


async def end_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Offset after the last readable record of each partition."""
    async with started(consumer(settings.kafka, group_id=None), settings.kafka) as reader:
        found = await require_topics(reader, [topic])
        reader.assign(found[topic])
        return {tp.partition: end for tp, end in (await reader.end_offsets(found[topic])).items()}


async def read_from(settings: Settings, topic: str, starts: dict[int, int]) -> AsyncIterator[Any]:
    """Every committed record of `topic` from `starts` (by partition) to the end as of now."""
    reader: AIOKafkaConsumer
    async with started(consumer(settings.kafka, group_id=None), settings.kafka) as reader:
        sources = [TopicPartition(topic, p) for p in starts]
        reader.assign(sources)
        ends = await reader.end_offsets(sources)
        for source in sources:
            reader.seek(source, starts[source.partition])
        # Positions and not records tell the end: the last offsets may be transaction markers.
        while any([await reader.position(tp) < ends[tp] for tp in sources]):
            for records in (await reader.getmany(timeout_ms=200)).values():
                for record in records:
                    yield record


def _written(spec: Spec, expected: Expected) -> bytes:
    sums = {
        name: [[*key, value] for key, value in getattr(expected, name).items()]
        for name in ("calls", "nanos", "plain_nanos")
    }
    counts = {name: getattr(expected, name) for name in ("records", "duplicates", "late", "value_bytes")}
    return orjson.dumps({"spec": asdict(spec), "bad": expected.bad, **counts, **sums})


def _read(path: Path, spec: Spec) -> Expected | None:
    if not path.exists():
        return None
    document = orjson.loads(path.read_bytes())
    if Spec(**document.pop("spec")) != spec:
        return None
    expected = Expected()
    for name, value in document.items():
        found: Any = getattr(expected, name)
        if name == "bad":
            found.update(value)
        elif isinstance(value, list):
            found.update({(workflow, window): number for workflow, window, number in value})
        else:
            setattr(expected, name, value)
    return expected
