"""`tidegate dead-letters`: what is shown is what is there, and what is replayed is published once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.dead_letters import DeadLetter, DeadLetterReplay
from schemas.topics import COST_EVENTS, DEAD_LETTER_REPLAYS, DEAD_LETTERS, OUTCOMES, ROLLUPS
from service.kafka import producer, started
from service.kafka.embedded.broker import EmbeddedBroker
from service.settings import KafkaSettings
from tests.service.commands.conftest import Tidegate
from tests.service.dead_letters.letters import event, letter
from tests.support.broker import read_all

pytestmark = pytest.mark.broker


@pytest.fixture
def kafka(broker: EmbeddedBroker, topic_prefix: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix)


def put(kafka: KafkaSettings, *letters: DeadLetter) -> None:
    """Letters onto the dead-letters topic, and under another topic's name than theirs."""

    async def send() -> None:
        async with started(producer(kafka, client_id="test"), kafka) as sender:
            for one in letters:
                await sender.send_and_wait(kafka.topic(DEAD_LETTERS), key=one.record_key, value=one.to_json())

    asyncio.run(send())


def publish(kafka: KafkaSettings, value: bytes, partition: int) -> None:
    async def send() -> None:
        async with started(producer(kafka, client_id="test"), kafka) as sender:
            await sender.send_and_wait(kafka.topic(COST_EVENTS), value, partition=partition)

    asyncio.run(send())


def refused(kafka: KafkaSettings, number: int, **fields: Any) -> DeadLetter:
    """A letter from offset `number` of partition 1 whose cost is negative."""
    value = event(**{"event_id": f"e-{number}", "cost_usd": -1, "gateway": f"gw-{number % 2}", **fields})
    return letter(value, number, partition=1, topic=kafka.topic(COST_EVENTS))


def records(kafka: KafkaSettings, topic: Any) -> list[Any]:
    return asyncio.run(read_all(kafka.bootstrap_servers, kafka.topic(topic)))


def events(kafka: KafkaSettings) -> list[str]:
    return sorted(json.loads(record.value)["event_id"] for record in records(kafka, COST_EVENTS))


def test_letters_are_listed_filtered_and_counted(cluster: Tidegate, kafka: KafkaSettings) -> None:
    lost = letter(None, 9, partition=0, topic=kafka.topic(ROLLUPS))
    put(kafka, *(refused(kafka, n) for n in range(4)), lost)

    def listed(*options: str) -> list[str]:
        result = cluster("dead-letters", "list", *options)
        assert result.exit_code == 0, result.output
        return [line.split()[0].removeprefix(kafka.topic_prefix) for line in result.stdout.splitlines()]

    assert listed() == [*(f"cost-events/1/{n}" for n in range(4)), "rollups/0/9"]
    assert listed("--reason", "empty") == listed("--topic", "rollups") == ["rollups/0/9"]
    assert listed("--partition", "1", "--gateway", "gw-1") == ["cost-events/1/1", "cost-events/1/3"]
    assert listed("--limit", "2") == ["cost-events/1/3", "rollups/0/9"]
    assert listed("--since", "1h") == []
    assert len(listed("--until", "1h", "--since", "2026-01-31T09:30:00Z")) == 5
    summary = cluster("dead-letters", "list", "--summary").stdout.splitlines()
    assert summary[1].split() == ["4", "0", kafka.topic(COST_EVENTS), "negative", "cost_usd"]
    assert summary[-1].split() == ["5", "0", "in", "all"]
    first = json.loads(cluster("dead-letters", "list", "--json").stdout.splitlines()[0])
    assert (first["event"]["event_id"], first["reason"], first["replayed"]) == ("e-0", "negative", None)


def test_what_is_asked_for_wrongly_is_told(cluster: Tidegate) -> None:
    assert "is no time" in cluster("dead-letters", "list", "--since", "soon").stderr
    assert cluster("dead-letters", "list", "--reason", "bad").exit_code == 2
    assert "no origin" in cluster("dead-letters", "show", "x").stderr
    assert cluster("dead-letters", "show", "cost-events/0/1").exit_code == 1
    nothing = cluster("dead-letters", "replay")
    assert (nothing.exit_code, "say which" in nothing.stderr) == (2, True)
    assert cluster("dead-letters", "replay", "--all", "--export", "f", "--set", "a=1").exit_code == 2
    assert "not JSON" in cluster("dead-letters", "replay", "--all", "--set", "a=b").stderr
    assert cluster("dead-letters", "replay", "--all", "--author", "\x1b").exit_code == 1


def test_a_letter_is_shown_whole_and_cannot_drive_the_terminal(
    cluster: Tidegate, kafka: KafkaSettings
) -> None:
    topic = kafka.topic(COST_EVENTS)
    headers = [("trace\x1b[2J", b"\xff\x1b"), ("none", None)]
    put(
        kafka,
        letter(b'{"model": "\x1b[31mred"}', 1, topic=topic, key=b"\x9b\xff", headers=headers),
        letter(b"\x1b]0;owned\x07\xff\xfe", 2, topic=topic),
        letter(event(cost_usd=-1, model="\u202edesrever", user="\x9b"), 3, topic=topic),
        letter(None, 4, topic=topic),
    )
    pages = [cluster("dead-letters", "show", f"cost-events/2/{n}").stdout for n in (1, 2, 3, 4)]
    for page in pages:
        assert all(char == "\n" or char.isprintable() for char in page)
    assert r'{"model": "\x1b[31mred"}' in pages[0]
    assert r"key      \x9b\xff" in pages[0]
    assert r"header   trace\x1b[2J: \xff\x1b" in pages[0]
    assert "00000000  1b 5d 30 3b 6f 77 6e 65 64 07 ff fe              .]0;owned..." in pages[1]
    assert r'"model": "\u202edesrever"' in pages[2]
    assert "reason   negative\npath     cost_usd" in pages[2]
    assert "value    (none)" in pages[3]


def test_mended_letters_are_published_once_to_where_they_came_from(
    cluster: Tidegate, kafka: KafkaSettings
) -> None:
    one = DeadLetter.model_validate(
        {**refused(kafka, 5).model_dump(), "headers": [{"key": "trace", "value": b"\xff"}]}
    )
    put(kafka, one, refused(kafka, 6))
    dry = cluster("dead-letters", "replay", "--all", "--set", 'cost_usd="1.5"', "--dry-run")
    assert dry.exit_code == 0
    assert dry.stdout.count("would be published") == 2
    assert records(kafka, COST_EVENTS) == records(kafka, DEAD_LETTER_REPLAYS) == []

    done = cluster(
        "dead-letters", "replay", "cost-events/1/5", "--set", 'cost_usd="1.5"', "--unset", "gateway",
        "--author", "ada",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"published {one.origin} as e-5" in done.stdout
    (published,) = records(kafka, COST_EVENTS)
    assert json.loads(published.value) == {**json.loads(event(event_id="e-5")), "cost_usd": "1.5"}
    assert (published.partition, published.key) == (1, b"support")
    assert published.headers == (("trace", b"\xff"), ("tidegate-replay-of", one.record_key))
    (mark,) = records(kafka, DEAD_LETTER_REPLAYS)
    assert mark.key == one.record_key
    assert DeadLetterReplay.from_json(mark.value).by == "ada"

    again = cluster("dead-letters", "replay", "--all", "--set", 'cost_usd="1.5"', "--unset", "gateway")
    assert again.stdout.splitlines()[-1] == "1 published, 1 done"
    assert events(kafka) == ["e-5", "e-6"]
    assert cluster("dead-letters", "list", "--pending").stdout == ""
    assert "settled  published as e-5" in cluster("dead-letters", "show", "cost-events/1/5").stdout


def test_other_content_is_refused_unless_again_and_the_same_id_is_never_published_twice(
    cluster: Tidegate, kafka: KafkaSettings
) -> None:
    put(kafka, refused(kafka, 5))
    assert cluster("dead-letters", "replay", "--all", "--set", "cost_usd=1").exit_code == 0
    other = cluster("dead-letters", "replay", "--all", "--set", "cost_usd=2")
    assert other.exit_code == 1
    assert "conflict" in other.stdout
    assert "--again" in other.stderr
    same_id = cluster("dead-letters", "replay", "--all", "--set", "cost_usd=2", "--again")
    assert "e-5 is counted already" in same_id.stdout
    renamed = cluster(
        "dead-letters", "replay", "--all", "--set", "cost_usd=2", "--set", 'event_id="x"', "--again"
    )
    assert renamed.stdout.splitlines()[-1] == "1 published"
    assert events(kafka) == ["e-5", "x"]


def test_what_a_gateway_has_sent_again_is_not_published(cluster: Tidegate, kafka: KafkaSettings) -> None:
    # The letter's own record lies at offset 0; at offset 1 the gateway has sent it again, mended.
    publish(kafka, event(event_id="e-0", cost_usd=-1), 1)
    publish(kafka, event(event_id="e-0"), 1)
    put(kafka, refused(kafka, 0))
    unlooked = cluster("dead-letters", "replay", "--all", "--set", "cost_usd=1", "--no-look", "--dry-run")
    assert "would be published" in unlooked.stdout
    result = cluster("dead-letters", "replay", "--all", "--set", "cost_usd=1")
    assert result.exit_code == 0, result.output
    assert "e-0 is counted already: at 1@1" in result.stdout
    assert len(records(kafka, COST_EVENTS)) == 2
    (mark,) = records(kafka, DEAD_LETTER_REPLAYS)
    assert DeadLetterReplay.from_json(mark.value).outcome == "counted"


def test_what_was_valid_all_along_is_published_unless_it_is_counted(
    cluster: Tidegate, kafka: KafkaSettings
) -> None:
    """A release that refused good events: their own records must not pass for having been counted."""
    publish(kafka, event(event_id="e-0"), 1)
    put(kafka, refused(kafka, 0, cost_usd="0.25"))
    assert cluster("dead-letters", "replay", "--all").stdout.splitlines()[-1] == "1 published"


def test_exported_letters_are_edited_and_replayed(
    cluster: Tidegate, kafka: KafkaSettings, tmp_path: Path
) -> None:
    topic = kafka.topic(COST_EVENTS)
    put(
        kafka, refused(kafka, 1), letter(b'{"event_id": "cut', 2, partition=1, topic=topic), refused(kafka, 3)
    )
    file = tmp_path / "letters.jsonl"
    assert cluster("dead-letters", "replay", "--all", "--export", str(file)).exit_code == 0
    assert cluster("dead-letters", "replay", "--all", "--export", str(file)).exit_code == 1, "edited already?"
    first, second, third = map(json.loads, file.read_text().splitlines())
    first["event"]["cost_usd"] = "0.5"
    del second["text"]
    second["event"] = json.loads(event(event_id="whole"))
    edited = [first, second, {**third, "origin": "cost-events/1/99"}]
    file.write_bytes(b"\n".join(map(orjson.dumps, edited)) + b"\n\n")
    result = cluster("dead-letters", "replay", "--from", str(file))
    assert result.exit_code == 1
    assert f"unknown   {topic}/1/99 is no dead letter" in result.stdout
    assert result.stdout.splitlines()[-1] == "2 published"
    assert events(kafka) == ["e-1", "whole"]
    again = cluster("dead-letters", "replay", "--from", "-", stdin=file.read_bytes())
    assert again.stdout.splitlines()[-1] == "2 done"
    doubled = cluster(
        "dead-letters", "replay", "--from", "-", stdin=orjson.dumps(first) + b"\n" + orjson.dumps(first)
    )
    assert "comes twice" in doubled.stderr


def test_what_cannot_be_settled_is_told_with_status_1(cluster: Tidegate, kafka: KafkaSettings) -> None:
    rollup = letter(b"{}", 3, topic=kafka.topic(ROLLUPS))
    put(kafka, refused(kafka, 1), rollup)
    result = cluster("dead-letters", "replay", "--all")
    assert result.exit_code == 1
    assert "refused " in result.stdout
    assert "negative: cost_usd" in result.stdout
    assert "foreign" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 refused, 1 foreign"
    assert records(kafka, COST_EVENTS) == []
    mended = cluster("dead-letters", "replay", "--all", "--set", "cost_usd=0")
    assert mended.exit_code == 0, "nobody asked for the rollup by name"
    assert cluster("dead-letters", "replay", "rollups/2/3").exit_code == 1


def test_outcomes_are_replayed_too(cluster: Tidegate, kafka: KafkaSettings) -> None:
    value = b'{"outcome_id":"o-1","occurred_at":1769851800,"trace_id":"t"}'
    put(kafka, letter(value, 3, partition=0, topic=kafka.topic(OUTCOMES), key=b"t"))
    assert cluster("dead-letters", "replay", "--topic", "outcomes", "--set", 'kind="ticket"').exit_code == 0
    (published,) = records(kafka, OUTCOMES)
    assert json.loads(published.value)["kind"] == "ticket"


def test_a_limit_goes_on_where_it_ended(cluster: Tidegate, kafka: KafkaSettings) -> None:
    put(kafka, *(refused(kafka, n) for n in range(5)))
    for _ in range(3):
        assert (
            cluster("dead-letters", "replay", "--all", "--limit", "2", "--set", "cost_usd=1").exit_code == 0
        )
    assert events(kafka) == [f"e-{n}" for n in range(5)]
    assert len(records(kafka, DEAD_LETTER_REPLAYS)) == 5


def test_many_letters_take_several_transactions(cluster: Tidegate, kafka: KafkaSettings) -> None:
    put(kafka, *(refused(kafka, n) for n in range(250)))
    result = cluster("dead-letters", "replay", "--all", "--set", "cost_usd=1")
    assert result.stdout.splitlines()[-1] == "250 published"
    assert len(set(events(kafka))) == len(events(kafka)) == 250
