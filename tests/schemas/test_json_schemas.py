"""schemas/json says the same as the models, for gateways that do not speak Python."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from schemas.base import json_schema
from schemas.catalog import EXAMPLES, SCHEMAS
from schemas.control import CONTROL_KINDS
from schemas.decode import decode
from schemas.generate import FOLDER, files, stale, write
from schemas.reasons import Reason, Refused
from schemas.topics import TOPICS
from tests.schemas.events import SMALLEST


def published(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")))


def test_the_published_files_are_up_to_date() -> None:
    assert stale() == [], "run `make schemas`"


def test_stale_files_are_found_and_written_again(tmp_path: Any) -> None:
    assert len(write(tmp_path)) == len(files()) == 2 * len(SCHEMAS) + 1  # and that of YAML files
    (tmp_path / "tick.schema.json").write_text("{}")
    (tmp_path / "alert.example.json").unlink()
    (tmp_path / "left-over.schema.json").write_text("{}")
    assert stale(tmp_path) == ["alert.example.json", "left-over.schema.json", "tick.schema.json"]
    write(tmp_path)
    assert stale(tmp_path) == []
    assert not (tmp_path / "left-over.schema.json").exists()


def test_every_record_of_every_topic_is_published() -> None:
    models = set(SCHEMAS.values())
    for topic in TOPICS:
        for record in topic.records:
            assert record in models or any(issubclass(model, record) for model in models), record


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_golden_example_fits_its_schema_and_its_model(name: str) -> None:
    schema = published(name)
    Draft202012Validator.check_schema(schema.schema)
    golden = (FOLDER / f"{name}.example.json").read_bytes()
    schema.validate(json.loads(golden))
    schema.validate(EXAMPLES[name])
    record = decode(SCHEMAS[name], golden)
    assert decode(SCHEMAS[name], orjson.dumps(EXAMPLES[name])) == record
    schema.validate(json.loads(record.to_json()))


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_names_every_field_and_says_which_are_required(name: str) -> None:
    schema, model = json_schema(SCHEMAS[name]), SCHEMAS[name]
    assert list(schema["properties"]) == list(model.model_fields)
    assert set(schema.get("required", [])) == {n for n, f in model.model_fields.items() if f.is_required()}
    assert schema["properties"]["schema_version"]["const"] == 1


@pytest.mark.parametrize("name", [f"config-{kind}" for kind in CONTROL_KINDS])
def test_an_editor_sees_typos_in_control_records(name: str) -> None:
    assert not published(name).is_valid({**EXAMPLES[name], "typo": 1})


STRICTER: list[tuple[str, dict[str, Any], Reason]] = [
    ("a fraction that is whole", {"input_tokens": 3.0}, Reason.WRONG_TYPE),
    ("a version that is a fraction", {"schema_version": 1.0}, Reason.UNKNOWN_SCHEMA_VERSION),
    ("more cached than there is", {"input_tokens": 1, "cached_input_tokens": 2}, Reason.CACHED_EXCEEDS_INPUT),
    ("more reasoning than there is", {"reasoning_tokens": 2}, Reason.REASONING_EXCEEDS_OUTPUT),
    (
        "a charge of unknown cost",
        {"charge": {"kind": "seats", "quantity": 1, "unit": "seat"}},
        Reason.CHARGE_WITHOUT_COST,
    ),
    ("a string of too many dollars", {"cost_usd": "1000000.01"}, Reason.OUT_OF_RANGE),
    ("a date that is none", {"occurred_at": "2026-02-30T00:00:00Z"}, Reason.BAD_TIMESTAMP),
    ("a time without an offset", {"occurred_at": "2026-01-31T00:00:00"}, Reason.BAD_TIMESTAMP),
    ("an unknown field that is deep", {"x": [[[[[[[[[[[[1]]]]]]]]]]]]}, Reason.TOO_DEEP),
    ("an event that is long", {"x": "x" * 65_536}, Reason.TOO_LARGE),
]


@pytest.mark.parametrize(("fields", "reason"), [pytest.param(f, r, id=name) for name, f, r in STRICTER])
def test_where_the_model_is_stricter_than_the_schema(fields: dict[str, Any], reason: Reason) -> None:
    """docs/wire-format.md lists these: a schema cannot say them, or validators do not look."""
    document = {**SMALLEST, **fields}
    assert published("cost-event").is_valid(document)
    with pytest.raises(Refused) as caught:
        decode(SCHEMAS["cost-event"], orjson.dumps(document))
    assert caught.value.reason is reason
