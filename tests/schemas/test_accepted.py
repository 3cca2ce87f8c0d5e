"""What looks odd and is taken all the same: money is not refused for a matter of taste."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from schemas.decode import MAX_BYTES, MAX_DEPTH, decode
from schemas.events import CostEvent
from tests.schemas.events import SMALLEST, padded, with_field

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)

INSTANTS = [
    ('"2026-01-31T12:00:00Z"', NOON),
    ('"2026-01-31t12:00:00z"', NOON),
    ('"2026-01-31 12:00:00Z"', NOON),
    ('"2026-01-31T12:00:00+00:00"', NOON),
    ('"2026-01-31T12:00:00-00:00"', NOON),
    ('"2026-02-01T02:00:00+14:00"', NOON),
    ('"2026-01-31T00:00:00-12:00"', NOON),
    ('"2026-01-31T17:45:00+05:45"', NOON),
    ('"2026-01-31T12:00:00.5Z"', NOON.replace(microsecond=500_000)),
    ('"2026-01-31T12:00:00.250000Z"', NOON.replace(microsecond=250_000)),
    ('"2026-01-31T12:00:00.123456789Z"', NOON.replace(microsecond=123_456)),
    ('"2024-02-29T00:00:00Z"', datetime(2024, 2, 29, tzinfo=UTC)),
    ("1769860800", NOON),
    ("1769860800.0", NOON),
    ("1.7698608e9", NOON),
    ("1769860800.25", NOON.replace(microsecond=250_000)),
    ("0", datetime(1970, 1, 1, tzinfo=UTC)),
    ("-0", datetime(1970, 1, 1, tzinfo=UTC)),
]


@pytest.mark.parametrize(("text", "instant"), INSTANTS)
def test_instants(text: str, instant: datetime) -> None:
    event = decode(CostEvent, with_field("occurred_at", text))
    assert event.occurred_at == instant
    assert event.occurred_at.tzinfo is UTC


AMOUNTS = [
    ('"0"', "0"),
    ("0", "0"),
    ("-0", "0"),
    ("-0.0", "0"),
    ('"0.00"', "0.00"),
    ('"0.00482"', "0.00482"),
    ("0.00482", "0.00482"),
    ("1.35e-05", "0.0000135"),
    ('"1.5E+2"', "150"),
    ('"1e-999999999"', "0"),
    ('"0e999999999"', "0"),
    ("1e-300", "0"),
    ("5e-324", "0"),
    ('"000001.5"', "000001.5"),
    ('"1000000"', "1000000"),
    ("1000000.0", "1000000.0"),
    ('"0.1234567890123456789012345678901"', "0.123456789012345678901234567890"),
]


@pytest.mark.parametrize(("text", "amount"), AMOUNTS)
def test_amounts(text: str, amount: str) -> None:
    event = decode(CostEvent, with_field("cost_usd", text))
    assert event.cost_usd == Decimal(amount)
    written = event.to_json()
    assert len(written) < 500
    assert decode(CostEvent, written) == event


def test_an_amount_that_is_not_known_is_not_zero() -> None:
    assert decode(CostEvent, with_field("cost_usd", "null")).cost_usd is None
    assert decode(CostEvent, with_field("input_tokens", "5")).cost_usd is None


NAMES = [
    "a b",
    "Büro",
    "客服",
    "😀" * 200,
    'say "hi"',
    "back\\slash",
    "\u2028",
    "\ufeff",
    "a:b",
    'x":y',
    "null",
    "{[(",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_names(name: str, ascii_only: bool) -> None:
    text = json.dumps(name, ensure_ascii=ascii_only)
    assert decode(CostEvent, with_field("workflow", text)).workflow == name


DOCUMENTS = [
    ("pretty printed", json.dumps({**SMALLEST, "x": {"a": [1, {"b": 2}]}}, indent=2)),
    ("space before colons", json.dumps(SMALLEST, separators=(" , ", " : "))),
    ("tabs and returns", json.dumps(SMALLEST).replace(" ", "\r\n\t")),
    ("the same key in two objects", with_field("x", '[{"a": 1}, {"a": 2}]').decode()),
    ("a key and its value alike", with_field("x", '"x"').decode()),
    ("keys that differ in case", with_field("x", '1, "X": 2').decode()),
    ("keys that differ in normal form", with_field("x", '1, "é": 2, "e\u0301": 3').decode()),
    ("as deep as allowed", with_field("x", "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)).decode()),
    ("many lists, none deep", with_field("x", "[" + "[]," * 500 + "[]]").decode()),
    ("brackets in strings", with_field("x", json.dumps("[{" * 500)).decode()),
    ("a field of a later version", with_field("tier", '{"name": "batch"}').decode()),
    ("as long as allowed", padded(MAX_BYTES).decode()),
]


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in DOCUMENTS])
def test_documents(text: str) -> None:
    assert len(text.encode()) <= MAX_BYTES
    event = decode(CostEvent, text.encode())
    assert event.event_id == SMALLEST["event_id"]
    assert event == decode(CostEvent, event.to_json())


def test_a_call_that_cost_nothing_known_keeps_its_tokens() -> None:
    event = decode(CostEvent, with_field("input_tokens", '7, "cached_input_tokens": 7'))
    assert (event.input_tokens, event.cached_input_tokens, event.cost_usd) == (7, 7, None)


def test_integers_serve_where_fractions_do() -> None:
    event = decode(CostEvent, with_field("latency_ms", "812"))
    assert event.latency_ms == 812.0
