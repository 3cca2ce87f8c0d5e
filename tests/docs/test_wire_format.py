"""docs/wire-format.md stays true: its tables, its examples, its links."""

from __future__ import annotations

import json
import re
import sys
from asyncio import create_subprocess_exec, subprocess

import orjson
import pytest

from schemas.catalog import SCHEMAS
from schemas.control import file
from schemas.decode import MAX_BYTES, MAX_DEPTH, decode
from schemas.document import PAGE, TABLES, meanings, render
from schemas.events import CostEvent
from schemas.generate import FOLDER
from schemas.money import MAX_DIGITS, MAX_USD
from schemas.reasons import Reason
from schemas.topics import COST_EVENTS, TOPICS
from service.kafka.clients import admin_client, consumer, started
from service.kafka.embedded.broker import EmbeddedBroker
from service.settings import IngestSettings, KafkaSettings, Settings

TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)(?: ([\w-]+))?\n(.*?)```", TEXT, re.DOTALL)


def test_the_tables_say_what_the_models_say() -> None:
    assert render(TEXT) == TEXT, "run `make schemas`"
    for name in TABLES:
        assert f"<!-- table: {name} -->" in TEXT


def test_every_reason_has_its_meaning_in_the_table() -> None:
    assert set(meanings()) == set(Reason)
    for reason in Reason:
        assert f"| `{reason.value}` | {meanings()[reason]}" in TEXT


def test_every_field_of_an_event_and_every_topic_is_in_a_table() -> None:
    for name in CostEvent.model_fields:
        assert f"| `{name}` |" in TEXT
    for topic in TOPICS:
        assert f"| `{topic.name}` |" in TEXT


def test_a_table_that_is_stale_is_written_again() -> None:
    spoiled = TEXT.replace("| `too_deep` |", "| `two_deep` |")
    assert spoiled != TEXT
    assert render(spoiled) == TEXT


@pytest.mark.parametrize(("name", "text"), [(name, text) for kind, name, text in BLOCKS if kind == "json"])
def test_an_example_is_a_valid_record(name: str, text: str) -> None:
    decode(SCHEMAS[name], text.encode())


def test_the_python_examples_publish_valid_events() -> None:
    for kind, name, text in BLOCKS:
        if kind == "python":
            compile(text, name, "exec")
            event = re.search(r"event = (\{.*?\n *\})", text, re.DOTALL)
            assert event is not None
            decode(CostEvent, orjson.dumps(eval(event[1])))


def test_the_go_example_names_fields_of_the_contract() -> None:
    (go,) = (text for kind, _, text in BLOCKS if kind == "go")
    named = re.findall(r'json:"(\w+)', go)
    assert len(named) > 5
    assert set(named) <= set(CostEvent.model_fields)


def test_the_javascript_example_names_fields_of_the_contract() -> None:
    (js,) = (text for kind, _, text in BLOCKS if kind == "js")
    event = re.search(r"const event = \{(.*?)\n  \};", js, re.DOTALL)
    assert event is not None
    named = re.findall(r"^    (\w+):", event[1], re.MULTILINE)
    assert {n for n, f in CostEvent.model_fields.items() if f.is_required()} <= set(named)
    assert set(named) <= set(CostEvent.model_fields)


def test_the_numbers_in_the_text_are_those_of_the_code() -> None:
    ingest = IngestSettings()
    for said in (
        f"at most {MAX_BYTES:,} bytes",
        f"nested at most {MAX_DEPTH} deep",
        f"${MAX_USD:,}",
        f"at most {MAX_DIGITS} characters",
        f"last {ingest.dedup_offsets:,} records",
        f"more than {ingest.future_allowance_s:g} s",
        f"last {ingest.dead_letter_ratio_window:,} records",
        f"or {ingest.dead_letter_max_streak} in a row",
    ):
        assert said in " ".join(TEXT.split()), said
    assert ingest.dead_letter_max_ratio == 0.5


def test_every_topic_in_the_text_has_the_default_prefix() -> None:
    assert set(re.findall(r"tidegate\.([a-z]+-[a-z-]+)", TEXT)) <= {topic.name for topic in TOPICS}
    assert KafkaSettings().topic(COST_EVENTS) in TEXT


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (PAGE.parent / target).exists(), target
    published = {path.name.removesuffix(".schema.json") for path in FOLDER.glob("*.schema.json")}
    assert published == {*SCHEMAS, file.NAME}


@pytest.mark.broker
async def test_the_aiokafka_example_publishes(embedded_broker: EmbeddedBroker, topic_prefix: str) -> None:
    from aiokafka.admin import NewTopic

    settings = Settings(
        kafka=KafkaSettings(bootstrap_servers=embedded_broker.bootstrap, topic_prefix=topic_prefix)
    )
    topic = settings.kafka.topic(COST_EVENTS)
    async with started(admin_client(settings.kafka), settings.kafka) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    (code,) = (text for kind, name, text in BLOCKS if name == "aiokafka")
    code = code.replace("localhost:9092", settings.kafka.bootstrap_servers).replace(
        "tidegate.cost-events", topic
    )
    run = await create_subprocess_exec(sys.executable, "-c", code, stderr=subprocess.PIPE)
    _, said = await run.communicate()
    assert run.returncode == 0, said.decode()
    async with started(consumer(settings.kafka, topic, group_id=None), settings.kafka) as reader:
        record = await reader.getone()
    assert record.key == b"support-agent"
    assert decode(CostEvent, record.value).event_id == json.loads(record.value)["event_id"]
