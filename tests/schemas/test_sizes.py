"""A record that fits the bounds of its fields fits its `max_bytes`, and Kafka's default limit of a record."""

from __future__ import annotations

import orjson
import pytest

from schemas.catalog import EXAMPLES, SCHEMAS
from schemas.dead_letters import DeadLetter
from schemas.decode import MAX_BYTES, decode
from schemas.events import CostEvent
from schemas.notifications import ParkedNotification
from schemas.reasons import Reason, Refused
from tests.schemas.events import padded
from tests.schemas.extremes import largest

KAFKA_DEFAULT = 1_048_576
BOUNDED = [name for name in SCHEMAS if name != "dead-letter"]


@pytest.mark.parametrize("name", BOUNDED)
def test_the_largest_record_can_be_written_and_read(name: str) -> None:
    model = SCHEMAS[name]
    record = model.model_validate(orjson.loads(orjson.dumps(largest(model))))
    written = record.to_json()
    assert len(written) <= model.max_bytes
    assert decode(model, written) == record


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_record_fits_a_broker_with_default_settings(name: str) -> None:
    assert SCHEMAS[name].max_bytes < KAFKA_DEFAULT - 10_000, "leave room for the key and the batch"


def test_an_alert_that_can_be_written_can_be_parked() -> None:
    assert ParkedNotification.max_bytes - SCHEMAS["alert"].max_bytes > 6 * 4_000


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_record_beyond_its_bound_is_refused(name: str) -> None:
    model = SCHEMAS[name]
    spare = model.max_bytes - len(orjson.dumps({**EXAMPLES[name], "padding": ""}))
    with pytest.raises(Refused) as caught:
        decode(model, orjson.dumps({**EXAMPLES[name], "padding": "x" * (spare + 1)}))
    assert caught.value.reason is Reason.TOO_LARGE


def test_a_caller_may_bound_what_it_reads() -> None:
    assert decode(CostEvent, padded(1_000), max_bytes=1_000)
    with pytest.raises(Refused):
        decode(CostEvent, padded(1_001), max_bytes=1_000)
    assert decode(CostEvent, padded(MAX_BYTES + 1), max_bytes=MAX_BYTES + 1)


def test_a_dead_letter_keeps_the_largest_event() -> None:
    value = padded(MAX_BYTES)
    letter = DeadLetter.of(
        "t", 0, 1, Refused(Reason.TOO_LARGE, "x"), timestamp_ms=0, key=b"k" * MAX_BYTES, value=value
    )
    assert decode(DeadLetter, letter.to_json()).value == value
