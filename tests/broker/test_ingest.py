"""Ingest on a real broker: what goes in comes out once, and only what goes in."""

from __future__ import annotations

import signal
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

from schemas.control import Price
from schemas.topics import CONFIG, COST_EVENTS, DEAD_LETTERS
from service.ingest.instant import EPOCH
from tests.broker.ingest import T0_S, Install, Installation, Start, events, ingest_fixtures
from tests.support.broker import read_all

pytestmark = pytest.mark.broker
install, start = ingest_fixtures()


async def drained(here: Installation, start: Start) -> str:
    """Run one worker until everything is committed, stop it, and return its log."""
    worker = start(here)
    await here.until_read_up(worker)
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0, worker.log()
    return worker.log()


async def test_totals_are_equal_to_the_nano_dollar_with_duplicates_and_bad_events(
    install: Install, start: Start
) -> None:
    here = install()
    await here.create()
    sent = events(4_000, duplicates=0.05, bad=0.05)
    await here.publish(sent.records)
    await drained(here, start)
    outcome = await here.outcome()
    assert outcome.calls() == sent.calls
    assert outcome.cost_nanos() == sent.cost_nanos
    assert len(outcome.dead_letters) == sent.bad
    # A workflow is always on the same partition: detect keeps its state there.
    homes = {(rollup.workflow, partition) for partition, rollup in outcome.rollups}
    assert len(homes) == len(sent.calls)


async def test_ids_are_remembered_across_a_restart(install: Install, start: Start) -> None:
    here = install(dedup_offsets=2_000)
    await here.create()
    first, more = events(1_000), events(1_000, seed=2)
    await here.publish(first.records)
    await drained(here, start)
    await here.publish(first.records[200:] + more.records)
    log = await drained(here, start)
    assert "remembering from 0" in log
    outcome = await here.outcome()
    assert outcome.calls() == first.calls + more.calls
    assert outcome.cost_nanos() == first.cost_nanos + more.cost_nanos


async def test_a_dead_letter_carries_the_original_and_where_it_lies(install: Install, start: Start) -> None:
    here = install()
    await here.create()
    topic = here.topic(COST_EVENTS)
    future = orjson.dumps({**orjson.loads(events(1).records[0][1]), "occurred_at": T0_S + 10_000})
    at_ms = int(T0_S * 1_000)
    async with AIOKafkaProducer(bootstrap_servers=here.bootstrap) as producer:
        await producer.send_and_wait(topic, events(1).records[0][1], partition=2, timestamp_ms=at_ms)
        await producer.send_and_wait(
            topic,
            b"\xff\x00 not json",
            key=b"\x01key",
            partition=2,
            timestamp_ms=at_ms + 1,
            headers=[("trace", b"\xfe"), ("trace", b"")],
        )
        await producer.send_and_wait(topic, None, key=b"tombstone", partition=1, timestamp_ms=at_ms)
        await producer.send_and_wait(topic, future, partition=0, timestamp_ms=at_ms)
    await drained(here, start)
    letters = {letter.origin.partition: letter for letter in (await here.outcome()).dead_letters}
    assert {p: (x.reason.value, x.origin.offset) for p, x in letters.items()} == {
        0: ("in_the_future", 0),
        1: ("empty", 0),
        2: ("invalid_utf8", 1),
    }
    assert (letters[2].key, letters[2].value) == (b"\x01key", b"\xff\x00 not json")
    assert [(h.key, h.value) for h in letters[2].headers] == [("trace", b"\xfe"), ("trace", b"")]
    assert letters[2].timestamp.timestamp() == T0_S + 0.001
    assert letters[2].origin.topic == topic
    keys = {record.key for record in await read_all(here.bootstrap, here.topic(DEAD_LETTERS))}
    assert keys == {f"{topic}/{p}/{int(p == 2)}".encode() for p in (0, 1, 2)}


async def test_a_poison_streak_stops_the_process_and_commits_nothing(install: Install, start: Start) -> None:
    here = install(dead_letter_max_streak=50)
    await here.create(lanes=1)
    good = [(0, value) for _, value in events(10).records]
    await here.publish(good + [(0, b"{}")] * 60)
    worker = start(here)
    assert await worker.ended() == 4, worker.log()
    assert "50 records in a row were refused" in worker.log()
    assert await here.lag() == {0: 70}
    outcome = await here.outcome()
    assert (outcome.rollups, outcome.dead_letters) == ([], [])


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd", None])
async def test_every_compression_is_read(install: Install, start: Start, codec: str | None) -> None:
    here = install()
    await here.create(lanes=1)
    sent = events(300, lanes=1)
    await here.publish(sent.records, compression_type=codec)
    await drained(here, start)
    assert (await here.outcome()).cost_nanos() == sent.cost_nanos


async def test_a_batch_that_cannot_be_decoded_stops_the_process_with_its_place(
    install: Install, start: Start
) -> None:
    here = install()
    await here.create(lanes=2)
    sent = events(200, lanes=2)
    await here.publish(sent.records)
    in_partition = sum(partition == 1 for partition, _ in sent.records)
    async with AIOKafkaProducer(bootstrap_servers=here.bootstrap, enable_idempotence=False) as producer:
        batch = producer.create_batch()
        batch.append(key=None, value=b"{}", timestamp=None, headers=[("name", b"v")])
        # A header's name that is not UTF-8: brokers let it pass, aiokafka raises.
        data = batch._build()
        data[data.index(b"name")] = 0xFF
        data[17:21] = calc_crc32c(bytes(data[21:])).to_bytes(4, "big")
        await (await producer.send_batch(batch, here.topic(COST_EVENTS), partition=1))
    worker = start(here)
    assert await worker.ended() == 6, worker.log()
    assert f"partition 1, at offset {in_partition}" in worker.log()
    # Everything before the batch and on the other partition is accounted for, or will be; nothing twice.
    lag = await here.lag()
    outcome = await here.outcome()
    assert sum(outcome.calls().values()) == 201 - sum(lag.values())


async def test_aborted_events_are_not_read(install: Install, start: Start) -> None:
    here = install()
    await here.create(lanes=1)
    kept, dropped = events(100, lanes=1), events(100, lanes=1, seed=2)
    async with AIOKafkaProducer(
        bootstrap_servers=here.bootstrap, transactional_id=f"{here.prefix}gateway"
    ) as producer:
        for sent, keep in ((kept, True), (dropped, False)):
            await producer.begin_transaction()
            for partition, value in sent.records:
                await producer.send(here.topic(COST_EVENTS), value, partition=partition)
            await (producer.commit_transaction() if keep else producer.abort_transaction())
    worker = start(here)
    await worker.said("remembering")
    await here.until_calls(100)
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0
    assert (await here.outcome()).cost_nanos() == kept.cost_nanos


async def test_time_passes_on_every_rollups_partition_also_where_nothing_is_called(
    install: Install, start: Start
) -> None:
    here = install(idle_timeout_s=1.0)
    await here.create(lanes=3)
    sent = [(0, value) for _, value in events(400, lanes=1).records]  # two seconds of event time
    await here.publish(sent)
    worker = start(here)
    await here.until_ticks(idle=True, sources={0, 1, 2})
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0
    ticks = (await here.outcome()).ticks
    assert {partition for partition, tick in ticks if tick.idle} == {0, 1, 2}
    for home in (0, 1, 2):
        for source in (0, 1, 2):
            marks = [t.watermark for p, t in ticks if p == home and t.partition == source]
            assert marks == sorted(marks)
            assert (marks[-1] > datetime.fromtimestamp(T0_S - 5, UTC)) == (source == 0)
            assert source == 0 or set(marks) == {EPOCH}
    assert {tick.partitions for _, tick in ticks} == {3}


async def test_a_price_of_the_config_topic_is_used(install: Install, start: Start) -> None:
    here = install()
    await here.create(lanes=1)
    price = Price(
        name="house",
        provider="in-house",
        model="owl-1",
        effective_from=EPOCH,
        input_usd_per_mtok=Decimal(4),
        output_usd_per_mtok=Decimal(8),
    )
    event = {
        "event_id": "a",
        "occurred_at": T0_S,
        "provider": "in-house",
        "model": "owl-1",
        "input_tokens": 1_000,
        "output_tokens": 10,
    }
    async with AIOKafkaProducer(bootstrap_servers=here.bootstrap) as producer:
        await producer.send_and_wait(here.topic(CONFIG), price.to_json(), key=b"price/house")
    await here.publish([(0, orjson.dumps(event))])
    await drained(here, start)
    outcome = await here.outcome()
    assert outcome.cost_nanos() == Counter(unattributed=1_000 * 4_000 + 10 * 8_000)


async def test_missing_topics_are_named(install: Install, start: Start) -> None:
    here = install()
    worker = start(here)
    assert await worker.ended() == 3
    assert f"no such topic: {here.topic(COST_EVENTS)}" in worker.log()
