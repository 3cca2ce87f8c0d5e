"""Commands that talk to the broker: what they write can be read, and what they show is what is there."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from schemas.catalog import EXAMPLES
from schemas.topics import COST_EVENTS, DEAD_LETTERS, ROLLUPS, Topic
from service.kafka import producer, started
from service.kafka.config_view import ConfigView
from service.kafka.embedded.broker import EmbeddedBroker
from service.runtime.clock import SystemClock
from service.settings import KafkaSettings
from tests.service.commands.conftest import Tidegate
from tests.support.broker import read_all

pytestmark = pytest.mark.broker


@pytest.fixture
def kafka(broker: EmbeddedBroker, topic_prefix: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix)


def event(number: int, workflow: str | None = "support") -> dict[str, object]:
    return {
        "event_id": f"e{number}",
        "occurred_at": "2026-01-31T14:07:30Z",
        "provider": "openai",
        "model": "gpt-5",
        "workflow": workflow,
        "cost_usd": "0.01",
    }


def jsonl(*events: object) -> bytes:
    return b"".join(json.dumps(e).encode() + b"\n" for e in events)


def put(kafka: KafkaSettings, topic: Topic, *records: tuple[bytes | None, bytes | None]) -> None:
    async def send() -> None:
        async with started(producer(kafka, client_id="test"), kafka) as sender:
            for key, value in records:
                await sender.send_and_wait(kafka.topic(topic), key=key, value=value)

    asyncio.run(send())


def everything(kafka: KafkaSettings, topic: Topic) -> list[tuple[bytes | None, bytes]]:
    records = asyncio.run(read_all(kafka.bootstrap_servers, kafka.topic(topic)))
    return [(record.key, record.value) for record in records]


@contextmanager
def worker(kafka: KafkaSettings) -> Iterator[None]:
    """A role that follows the config topic, in a thread."""
    ready, stop = threading.Event(), threading.Event()

    async def follow() -> None:
        async with ConfigView(kafka, SystemClock(), "detect"):
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(follow(),))
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        stop.set()
        thread.join()


def test_topics_created_are_as_they_should_be(cluster: Tidegate) -> None:
    assert cluster("topics", "check").stdout == "all topics are as they should be\n"
    again = cluster("topics", "create")
    assert {line.split()[0] for line in again.stdout.splitlines()} == {"exists"}


def test_topics_that_differ_are_told_with_status_7(cluster: Tidegate) -> None:
    result = cluster("topics", "check", TIDEGATE_KAFKA__PARTITIONS="3")
    assert result.exit_code == 7
    assert "cost-events: partitions should be 3, is 2" in result.stdout


def test_published_events_are_keyed_by_workflow_and_unchanged(
    cluster: Tidegate, kafka: KafkaSettings, tmp_path: Path
) -> None:
    events = [event(1), event(2, "Übersetzung"), event(3, None)]
    file = tmp_path / "events.jsonl"
    file.write_bytes(jsonl(*events).rstrip(b"\n") + b"\n\n")
    result = cluster("publish", str(file))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("published 3 events")
    stored = {json.loads(value)["event_id"]: (key, value) for key, value in everything(kafka, COST_EVENTS)}
    assert [stored[f"e{n}"][0] for n in (1, 2, 3)] == [b"support", "Übersetzung".encode(), b"unattributed"]
    assert stored["e2"][1] + b"\n" == jsonl(events[1])


@pytest.mark.parametrize("compress", [gzip.compress, lambda data: zstandard.ZstdCompressor().compress(data)])
def test_compressed_files_and_standard_input_are_published(
    cluster: Tidegate, kafka: KafkaSettings, tmp_path: Path, compress: object
) -> None:
    assert callable(compress)
    file = tmp_path / "events"  # what it is compressed with is in its first bytes, not in its name
    file.write_bytes(compress(jsonl(*(event(n) for n in range(3_000)))))
    assert cluster("publish", str(file)).stdout.startswith("published 3,000 events")
    assert cluster("publish", "-", stdin=jsonl(event(1))).stdout.startswith("published 1 events")
    assert len(everything(kafka, COST_EVENTS)) == 3_001


def test_bad_lines_are_told_counted_and_left_out(cluster: Tidegate, kafka: KafkaSettings) -> None:
    lines = jsonl(event(1), {**event(2), "cost_usd": -1}) + b"{\n" + jsonl(event(4))
    result = cluster("publish", "-", stdin=lines)
    assert result.exit_code == 1
    assert "published 2 events" in result.stdout
    assert "refused 1: invalid_json" in result.stdout
    assert "standard input:2: negative: cost_usd: " in result.stderr
    assert "standard input:3: invalid_json: " in result.stderr
    assert len(everything(kafka, COST_EVENTS)) == 2


def test_without_validation_everything_is_published(cluster: Tidegate, kafka: KafkaSettings) -> None:
    result = cluster("publish", "--no-validate", "-", stdin=b"{\n" + jsonl({"workflow": "a"}))
    assert result.exit_code == 0, result.output
    assert sorted(everything(kafka, COST_EVENTS), key=str) == [(None, b"{"), (b"a", b'{"workflow": "a"}')]


def test_a_damaged_file_is_one_line(cluster: Tidegate, tmp_path: Path) -> None:
    file = tmp_path / "cut.jsonl.gz"
    file.write_bytes(gzip.compress(jsonl(*(event(n) for n in range(100))))[:-20])
    result = cluster("publish", str(file))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"tidegate: {file}: ")
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_topic_says_what_to_do(tidegate: Tidegate, broker: EmbeddedBroker) -> None:
    result = tidegate(
        "publish",
        "-",
        stdin=jsonl(event(1)),
        TIDEGATE_KAFKA__BOOTSTRAP_SERVERS=broker.bootstrap,
        TIDEGATE_KAFKA__TOPIC_PREFIX="nobody.",
    )
    assert result.exit_code == 3
    assert "nobody.cost-events (run `tidegate topics create`)" in result.stderr


def test_tail_hides_ticks_and_ends_where_it_is_told(cluster: Tidegate, kafka: KafkaSettings) -> None:
    rollup, tick = (json.dumps(EXAMPLES[name]).encode() for name in ("rollup", "tick"))
    put(kafka, ROLLUPS, (b"w", tick), (b"w", rollup), (b"w", tick), (b"w", rollup), (b"w", rollup))
    shown = cluster("tail", "rollups", "--from-start", "--max", "2").stdout.splitlines()
    assert len(shown) == 2
    assert all(str(EXAMPLES["rollup"]["workflow"]) in line for line in shown)
    with_ticks = cluster("tail", "rollups", "--from-start", "--no-follow", "--ticks").stdout
    assert with_ticks.count(" tick partition ") == 2
    physical = cluster("tail", kafka.topic(ROLLUPS), "--from-start", "--no-follow").stdout
    assert len(physical.splitlines()) == 3


def test_dead_letters_are_decoded_and_cannot_drive_the_terminal(
    cluster: Tidegate, kafka: KafkaSettings
) -> None:
    from base64 import b64encode

    letter = {**EXAMPLES["dead-letter"], "value": b64encode(b'{"model": "\x1b[31mred\xff"').decode()}
    put(kafka, DEAD_LETTERS, (b"k", json.dumps(letter).encode()), (b"k", b"\xff"))
    shown = cluster("tail", "dead-letters", "--from-start", "--no-follow").stdout
    assert "\x1b" not in shown
    assert r'{"model": "\x1b[31mred\xff"' in shown
    assert str(letter["reason"]) in shown
    assert "unreadable: invalid_utf8" in shown


def test_every_topic_of_the_contract_can_be_tailed(cluster: Tidegate, kafka: KafkaSettings) -> None:
    from schemas.catalog import SCHEMAS
    from schemas.topics import TOPICS

    for topic in TOPICS:
        for name, model in SCHEMAS.items():
            key = f"{name.removeprefix('config-')}/{EXAMPLES[name].get('name')}"
            if any(issubclass(model, wanted) for wanted in topic.records):
                put(kafka, topic, (key.encode(), json.dumps(EXAMPLES[name]).encode()))
        result = cluster("tail", topic.name, "--from-start", "--no-follow", "--ticks")
        assert result.exit_code == 0, result.output
        assert "unreadable" not in result.stdout
        assert bool(result.stdout) == bool(topic.records)
    as_json = cluster("tail", "alerts", "--from-start", "--no-follow", "--json").stdout
    assert json.loads(as_json)["record"]["fingerprint"] == EXAMPLES["alert"]["fingerprint"]
