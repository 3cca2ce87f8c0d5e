"""What is refused, and why. Every reason of the contract stands in one of these tables."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest

from schemas.base import Record
from schemas.catalog import EXAMPLES, SCHEMAS
from schemas.control import Launch, Price, Route, Rule, Silence, Tuning, Watch
from schemas.dead_letters import DeadLetter
from schemas.decode import MAX_BYTES, MAX_DEPTH, decode
from schemas.events import CostEvent, Outcome
from schemas.reasons import MAX_DETAIL, MAX_PATH, Reason, Refused
from schemas.rollups import Rollup, Tick
from schemas.throttles import ThrottleCommand
from tests.schemas.events import SMALLEST, padded, with_field, without

DEEP = 100_000


def why_refused(model: type[Record], data: bytes | None) -> Refused:
    with pytest.raises(Refused) as caught:
        decode(model, data)
    return caught.value


BYTES: list[tuple[str, bytes | None, Reason]] = [
    ("a tombstone", None, Reason.EMPTY),
    ("no bytes", b"", Reason.EMPTY),
    ("65,537 bytes", padded(MAX_BYTES + 1), Reason.TOO_LARGE),
    ("a bomb of 100,000 brackets", b"[" * DEEP + b"]" * DEEP, Reason.TOO_LARGE),
    ("a byte that is not UTF-8", b'{"a": "\xff"}', Reason.INVALID_UTF8),
    ("a surrogate in UTF-8", b'{"a": "\xed\xa0\x80"}', Reason.INVALID_UTF8),
    ("an overlong slash in UTF-8", b'{"a": "\xc0\xaf"}', Reason.INVALID_UTF8),
    ("half a character at the end", '{"a": "é"}'.encode()[:8], Reason.INVALID_UTF8),
    ("UTF-16", json.dumps(SMALLEST).encode("utf-16"), Reason.INVALID_UTF8),
    ("UTF-16 without a mark", json.dumps(SMALLEST).encode("utf-16-le"), Reason.INVALID_JSON),
    ("Latin-1", '{"workflow": "Büro"}'.encode("latin-1"), Reason.INVALID_UTF8),
    ("a byte order mark", b"\xef\xbb\xbf" + json.dumps(SMALLEST).encode(), Reason.INVALID_JSON),
    ("only space", b" \n\t ", Reason.INVALID_JSON),
    ("cut short", json.dumps(SMALLEST).encode()[:-1], Reason.INVALID_JSON),
    ("two values", b"{} {}", Reason.INVALID_JSON),
    ("a trailing comma", b'{"a": 1,}', Reason.INVALID_JSON),
    ("a comment", b'{"a": 1 /* b */}', Reason.INVALID_JSON),
    ("single quotes", b"{'a': 1}", Reason.INVALID_JSON),
    ("a bare key", b"{a: 1}", Reason.INVALID_JSON),
    ("a raw line feed in a string", b'{"a": "\n"}', Reason.INVALID_JSON),
    ("a NUL in a string", b'{"a": "\x00"}', Reason.INVALID_JSON),
    ("a lone leading surrogate", rb'{"a": "\ud800"}', Reason.INVALID_JSON),
    ("a lone trailing surrogate", rb'{"a": "\udc00"}', Reason.INVALID_JSON),
    ("swapped surrogates", rb'{"a": "\udc00\ud800"}', Reason.INVALID_JSON),
    ("a lone surrogate in a key", rb'{"\ud800": 1}', Reason.INVALID_JSON),
    ("a leading zero", b'{"a": 01}', Reason.INVALID_JSON),
    ("a plus sign", b'{"a": +1}', Reason.INVALID_JSON),
    ("hexadecimal", b'{"a": 0x10}', Reason.INVALID_JSON),
    ("a list", b"[]", Reason.NOT_AN_OBJECT),
    ("a list of events", json.dumps([SMALLEST]).encode(), Reason.NOT_AN_OBJECT),
    ("a string", b'"event"', Reason.NOT_AN_OBJECT),
    ("a number", b"3", Reason.NOT_AN_OBJECT),
    ("null", b"null", Reason.NOT_AN_OBJECT),
    ("lists nested 13 deep", with_field("x", "[" * MAX_DEPTH + "]" * MAX_DEPTH), Reason.TOO_DEEP),
    ("objects nested 13 deep", with_field("x", '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH), Reason.TOO_DEEP),
    ("lists nested 1,000 deep", with_field("x", "[" * 1_000 + "]" * 1_000), Reason.TOO_DEEP),
    ("lists nested 30,000 deep", with_field("x", "[" * 30_000 + "]" * 30_000), Reason.TOO_DEEP),
    ("objects nested 10,000 deep", with_field("x", '{"a":' * 10_000 + "1" + "}" * 10_000), Reason.TOO_DEEP),
    ("60,000 brackets never closed", b"[" * 60_000, Reason.TOO_DEEP),
    (
        "a bomb under a key that comes again",
        with_field("x", "[" * 1_000 + "]" * 1_000 + ', "x": 1'),
        Reason.TOO_DEEP,
    ),
    ("a key twice", with_field("x", '1, "x": 1'), Reason.DUPLICATE_KEY),
    ("a field twice", with_field("model", '"a", "model": "b"'), Reason.DUPLICATE_KEY),
    ("a key thrice", with_field("x", '1, "x": 1, "x": 2'), Reason.DUPLICATE_KEY),
    ("a key twice without space", b'{"a":1,"a":2}', Reason.DUPLICATE_KEY),
    ("space before the second colon", b'{"a":1,"a" :2}', Reason.DUPLICATE_KEY),
    ("two spaces before the colons", b'{"a"  :1,"a"  :2}', Reason.DUPLICATE_KEY),
    ("a line feed before the second colon", b'{"a":1,"a"\n:2}', Reason.DUPLICATE_KEY),
    ("a tab before the second colon", b'{"a":1,"a"\t:2}', Reason.DUPLICATE_KEY),
    ("a return before the second colon", b'{"a":1,"a"\r:2}', Reason.DUPLICATE_KEY),
    ("space and line feed before the colon", b'{"a":1,"a" \n:2}', Reason.DUPLICATE_KEY),
    ("an escaped key twice", rb'{"a":1,"\u0061":2}', Reason.DUPLICATE_KEY),
    ("an escaped quote in the key", rb'{"\"":1,"\u0022":2}', Reason.DUPLICATE_KEY),
    ("a key that ends like one", rb'{"a\":":1,"a\":":2}', Reason.DUPLICATE_KEY),
    ("an empty key twice", b'{"":1,"":2}', Reason.DUPLICATE_KEY),
    ("twice within an unknown field", with_field("x", '{"a": 1, "a": 2}'), Reason.DUPLICATE_KEY),
    ("twice within a list", with_field("x", '[1, {"a": 1, "a": 1}]'), Reason.DUPLICATE_KEY),
    ("twice in an object that is dropped", with_field("x", '{"a": 1, "a": 1}, "x": 1'), Reason.DUPLICATE_KEY),
    ("the same object twice", with_field("x", '{"a": 1, "b": 2}, "x": {"c": 1}'), Reason.DUPLICATE_KEY),
]


@pytest.mark.parametrize(("data", "reason"), [pytest.param(d, r, id=n) for n, d, r in BYTES])
def test_bytes_that_no_reader_should_take(data: bytes | None, reason: Reason) -> None:
    assert why_refused(CostEvent, data).reason is reason


FIELDS: list[tuple[str, str, Reason]] = [
    # Versions: nothing else is said about an event of a version that is not known.
    ("schema_version", "2", Reason.UNKNOWN_SCHEMA_VERSION),
    ("schema_version", "0", Reason.UNKNOWN_SCHEMA_VERSION),
    ("schema_version", "-1", Reason.UNKNOWN_SCHEMA_VERSION),
    ("schema_version", '"1"', Reason.UNKNOWN_SCHEMA_VERSION),
    ("schema_version", "1.0", Reason.UNKNOWN_SCHEMA_VERSION),
    ("schema_version", "true", Reason.UNKNOWN_SCHEMA_VERSION),
    ("schema_version", "null", Reason.UNKNOWN_SCHEMA_VERSION),
    ("schema_version", '2, "attempt": "x", "input_tokens": -1', Reason.UNKNOWN_SCHEMA_VERSION),
    # Tokens.
    ("input_tokens", "NaN", Reason.INVALID_JSON),
    ("input_tokens", "Infinity", Reason.INVALID_JSON),
    ("input_tokens", "-Infinity", Reason.INVALID_JSON),
    ("input_tokens", "1e999", Reason.INVALID_JSON),
    ("input_tokens", "9" * 5_000, Reason.INVALID_JSON),
    ("input_tokens", "-1", Reason.NEGATIVE),
    ("output_tokens", "-1", Reason.NEGATIVE),
    ("output_tokens", "1000000001", Reason.OUT_OF_RANGE),
    ("output_tokens", "9223372036854775808", Reason.OUT_OF_RANGE),
    ("output_tokens", "18446744073709551616", Reason.WRONG_TYPE),
    ("output_tokens", "9" * 300, Reason.WRONG_TYPE),
    ("input_tokens", "true", Reason.WRONG_TYPE),
    ("input_tokens", "-0.0", Reason.WRONG_TYPE),
    ("input_tokens", "3.0", Reason.WRONG_TYPE),
    ("input_tokens", "1e3", Reason.WRONG_TYPE),
    ("input_tokens", '"3"', Reason.WRONG_TYPE),
    ("input_tokens", "null", Reason.WRONG_TYPE),
    ("input_tokens", "[3]", Reason.WRONG_TYPE),
    # Amounts.
    ("cost_usd", '"NaN"', Reason.NOT_FINITE),
    ("cost_usd", '"sNaN"', Reason.NOT_FINITE),
    ("cost_usd", '"Infinity"', Reason.NOT_FINITE),
    ("cost_usd", '"-inf"', Reason.NOT_FINITE),
    ("cost_usd", "NaN", Reason.INVALID_JSON),
    ("cost_usd", "-0.01", Reason.NEGATIVE),
    ("cost_usd", '"-0.01"', Reason.NEGATIVE),
    ("cost_usd", '"-0"', Reason.NEGATIVE),
    ("cost_usd", '"-1e-9"', Reason.NEGATIVE),
    ("cost_usd", "1000000.01", Reason.OUT_OF_RANGE),
    ("cost_usd", '"1000000.000000001"', Reason.OUT_OF_RANGE),
    ("cost_usd", '"1e7"', Reason.OUT_OF_RANGE),
    ("cost_usd", '"1e999999999"', Reason.OUT_OF_RANGE),
    ("cost_usd", "1e300", Reason.OUT_OF_RANGE),
    ("cost_usd", "18446744073709551616", Reason.OUT_OF_RANGE),
    ("cost_usd", f'"{"1" * 41}"', Reason.TOO_LONG),
    ("cost_usd", f'"0.{"0" * 60_000}1"', Reason.TOO_LONG),
    ("cost_usd", '""', Reason.INVALID_AMOUNT),
    ("cost_usd", '" 1"', Reason.INVALID_AMOUNT),
    ("cost_usd", '"1_000"', Reason.INVALID_AMOUNT),
    ("cost_usd", '"1,000.00"', Reason.INVALID_AMOUNT),
    ("cost_usd", '"$5"', Reason.INVALID_AMOUNT),
    ("cost_usd", '"+5"', Reason.INVALID_AMOUNT),
    ("cost_usd", '".5"', Reason.INVALID_AMOUNT),
    ("cost_usd", '"5."', Reason.INVALID_AMOUNT),
    ("cost_usd", '"٣"', Reason.INVALID_AMOUNT),
    ("cost_usd", '"0x10"', Reason.INVALID_AMOUNT),
    ("cost_usd", "true", Reason.WRONG_TYPE),
    ("cost_usd", "[1]", Reason.WRONG_TYPE),
    ("cost_usd", '{"usd": 1}', Reason.WRONG_TYPE),
    # Instants.
    ("occurred_at", '"2026-01-31T14:07:31"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"2026-01-31"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"2026-02-30T00:00:00Z"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"2016-12-31T23:59:60Z"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"2026-01-31T24:00:00Z"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"2026-01-31T14:60:00Z"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"2026-01-31T14:07:31+24:00"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"2026-01-31T14:07:31+05:99"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"2026-01-31T14:07:31+0530"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"2026-01-31T14:07:31 Z"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"2026-01-31T14:07:31.Z"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"2026-01-31T14:07:31,5Z"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"2026-01-31T14:07:31.0123456789Z"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"20260131T140731Z"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"2026-W05-6T14:07:31Z"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"Sat, 31 Jan 2026 14:07:31 GMT"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"\uff12026-01-31T14:07:31Z"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"0001-01-01T00:00:00+14:00"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"9999-12-31T23:59:59-14:00"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"0000-01-01T00:00:00Z"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '"1769868451"', Reason.BAD_TIMESTAMP),
    ("occurred_at", '""', Reason.BAD_TIMESTAMP),
    ("occurred_at", f'"{"2" * 60_000}"', Reason.BAD_TIMESTAMP),
    ("occurred_at", "1769868451250", Reason.BAD_TIMESTAMP),
    ("occurred_at", "1769868451250000000", Reason.BAD_TIMESTAMP),
    ("occurred_at", "100000000000.5", Reason.BAD_TIMESTAMP),
    ("occurred_at", "-1", Reason.BAD_TIMESTAMP),
    ("occurred_at", "1e300", Reason.BAD_TIMESTAMP),
    ("occurred_at", "NaN", Reason.INVALID_JSON),
    ("occurred_at", "true", Reason.WRONG_TYPE),
    ("occurred_at", "null", Reason.WRONG_TYPE),
    ("occurred_at", "[2026, 1, 31]", Reason.WRONG_TYPE),
    # Names.
    ("workflow", '""', Reason.TOO_SHORT),
    ("workflow", f'"{"w" * 201}"', Reason.TOO_LONG),
    ("workflow", f'"{"w" * 60_000}"', Reason.TOO_LONG),
    ("workflow", r'"a\nb"', Reason.CONTROL_CHARACTERS),
    ("workflow", r'"a\n"', Reason.CONTROL_CHARACTERS),
    ("workflow", r'"\u0000"', Reason.CONTROL_CHARACTERS),
    ("workflow", r'"\u001b[31m"', Reason.CONTROL_CHARACTERS),
    ("workflow", '"\x7f"', Reason.CONTROL_CHARACTERS),
    ("workflow", "7", Reason.WRONG_TYPE),
    ("workflow", "true", Reason.WRONG_TYPE),
    ("workflow", '["a"]', Reason.WRONG_TYPE),
    ("event_id", "null", Reason.WRONG_TYPE),
    ("request_tags", json.dumps(["t"] * 33), Reason.TOO_LONG),
    ("request_tags", '"beta"', Reason.WRONG_TYPE),
    ("request_tags", '{"a": "b"}', Reason.WRONG_TYPE),
    # The rest.
    ("status", '"ok"', Reason.INVALID_VALUE),
    ("status", "1", Reason.INVALID_VALUE),
    ("status", "null", Reason.INVALID_VALUE),
    ("usage_source", '"guessed"', Reason.INVALID_VALUE),
    ("attempt", "0", Reason.OUT_OF_RANGE),
    ("attempt", "-1", Reason.NEGATIVE),
    ("attempt", "10001", Reason.OUT_OF_RANGE),
    ("attempt", "true", Reason.WRONG_TYPE),
    ("latency_ms", "-1", Reason.NEGATIVE),
    ("latency_ms", "1e12", Reason.OUT_OF_RANGE),
    ("latency_ms", "true", Reason.WRONG_TYPE),
    ("latency_ms", '"812"', Reason.WRONG_TYPE),
    ("charge", "[]", Reason.WRONG_TYPE),
]


@pytest.mark.parametrize(
    ("field", "text", "reason"), [pytest.param(*row, id=f"{row[0]}={row[1][:40]}") for row in FIELDS]
)
def test_values_that_no_field_takes(field: str, text: str, reason: Reason) -> None:
    refused = why_refused(CostEvent, with_field(field, text))
    assert refused.reason is reason
    assert refused.path == ("" if reason is Reason.INVALID_JSON else field)


@pytest.mark.parametrize("field", SMALLEST)
def test_an_event_without_a_required_field(field: str) -> None:
    refused = why_refused(CostEvent, without(field))
    assert (refused.reason, refused.path) == (Reason.MISSING_FIELD, field)


WHOLES: list[tuple[dict[str, object], Reason]] = [
    ({"input_tokens": 10, "cached_input_tokens": 11}, Reason.CACHED_EXCEEDS_INPUT),
    ({"input_tokens": 10, "cache_write_tokens": 11}, Reason.CACHED_EXCEEDS_INPUT),
    ({"input_tokens": 10, "cached_input_tokens": 6, "cache_write_tokens": 5}, Reason.CACHED_EXCEEDS_INPUT),
    (
        {"input_tokens": 10, "cache_write_tokens": 3, "cache_write_1h_tokens": 4},
        Reason.CACHED_EXCEEDS_INPUT,
    ),
    ({"cached_input_tokens": 1}, Reason.CACHED_EXCEEDS_INPUT),
    ({"output_tokens": 10, "reasoning_tokens": 11}, Reason.REASONING_EXCEEDS_OUTPUT),
    ({"reasoning_tokens": 1}, Reason.REASONING_EXCEEDS_OUTPUT),
    ({"charge": {"kind": "seats", "quantity": 1, "unit": "seat"}}, Reason.CHARGE_WITHOUT_COST),
    (
        {"charge": {"kind": "seats", "quantity": 1, "unit": "seat"}, "cost_usd": None},
        Reason.CHARGE_WITHOUT_COST,
    ),
]


@pytest.mark.parametrize(("fields", "reason"), WHOLES)
def test_parts_that_exceed_their_whole(fields: dict[str, object], reason: Reason) -> None:
    refused = why_refused(CostEvent, json.dumps({**SMALLEST, **fields}).encode())
    assert (refused.reason, refused.path) == (reason, "")


STEP = {"above_input_tokens": 200_000, "input_usd_per_mtok": "4.20", "output_usd_per_mtok": "12.60"}
_FIRST_STEP = "steps.0.above_input_tokens"
_FIRST_INPUT = "steps.0.input_usd_per_mtok"

CHANGES: list[tuple[type[Record], str, dict[str, object], Reason, str]] = [
    (
        CostEvent,
        "cost-event",
        {"charge": {"kind": "x", "quantity": 1, "unit": "u"}},
        Reason.INVALID_VALUE,
        "charge.kind",
    ),
    (
        CostEvent,
        "cost-event",
        {"charge": {"kind": "seats", "quantity": 0, "unit": "u"}},
        Reason.OUT_OF_RANGE,
        "charge.quantity",
    ),
    (
        CostEvent,
        "cost-event",
        {"charge": {"kind": "seats", "quantity": -1, "unit": "u"}},
        Reason.NEGATIVE,
        "charge.quantity",
    ),
    (
        CostEvent,
        "cost-event",
        {"charge": {"kind": "seats", "quantity": 1}},
        Reason.MISSING_FIELD,
        "charge.unit",
    ),
    (CostEvent, "cost-event", {"request_tags": ["a"] * 12 + [""]}, Reason.TOO_SHORT, "request_tags.12"),
    (Outcome, "outcome", {"quantity": 0}, Reason.OUT_OF_RANGE, "quantity"),
    (Rollup, "rollup", {"type": "tick"}, Reason.INVALID_VALUE, "type"),
    (Rollup, "rollup", {"calls": 2**63}, Reason.OUT_OF_RANGE, "calls"),
    (Rollup, "rollup", {"cost_nanos": 2**63}, Reason.OUT_OF_RANGE, "cost_nanos"),
    (Rollup, "rollup", {"cost_nanos": 1.5}, Reason.WRONG_TYPE, "cost_nanos"),
    (Rollup, "rollup", {"traces": "not base64"}, Reason.INVALID_VALUE, "traces"),
    (Rollup, "rollup", {"traces": "QUJD\n"}, Reason.INVALID_VALUE, "traces"),
    (Rollup, "rollup", {"traces": "é"}, Reason.INVALID_VALUE, "traces"),
    (Rollup, "rollup", {"traces": 1}, Reason.WRONG_TYPE, "traces"),
    (Rollup, "rollup", {"traces": "A" * 12_000}, Reason.TOO_LONG, "traces"),
    (
        Rollup,
        "rollup",
        {"source": {"partition": -1, "first_offset": 0, "last_offset": 0}},
        Reason.NEGATIVE,
        "source.partition",
    ),
    (Tick, "tick", {"partitions": 0}, Reason.OUT_OF_RANGE, "partitions"),
    (Tick, "tick", {"idle": 1}, Reason.WRONG_TYPE, "idle"),
    (
        ThrottleCommand,
        "throttle-command",
        {"action": {"action": "stop"}},
        Reason.INVALID_VALUE,
        "action.action",
    ),
    (ThrottleCommand, "throttle-command", {"action": {}}, Reason.MISSING_FIELD, "action.action"),
    (ThrottleCommand, "throttle-command", {"action": "block"}, Reason.WRONG_TYPE, "action"),
    (
        ThrottleCommand,
        "throttle-command",
        {"action": {"action": "block"}},
        Reason.MISSING_FIELD,
        "action.message",
    ),
    (ThrottleCommand, "throttle-command", {"action": {"action": "cap"}}, Reason.MISSING_FIELD, "action"),
    (
        ThrottleCommand,
        "throttle-command",
        {"action": {"action": "cap", "max_output_tokens": 0}},
        Reason.OUT_OF_RANGE,
        "action.max_output_tokens",
    ),
    (
        ThrottleCommand,
        "throttle-command",
        {"action": {"action": "slow", "max_rps": 0}},
        Reason.OUT_OF_RANGE,
        "action.max_rps",
    ),
    (ThrottleCommand, "throttle-command", {"expires_at": "2026-01-31T14:08:05Z"}, Reason.OUT_OF_RANGE, ""),
    (
        ThrottleCommand,
        "throttle-command",
        {"scope": {"kind": "planet", "value": "x"}},
        Reason.INVALID_VALUE,
        "scope.kind",
    ),
    (DeadLetter, "dead-letter", {"reason": "bad mood"}, Reason.INVALID_VALUE, "reason"),
    (DeadLetter, "dead-letter", {"reason": 1}, Reason.WRONG_TYPE, "reason"),
    (DeadLetter, "dead-letter", {"value": "***"}, Reason.INVALID_VALUE, "value"),
    (DeadLetter, "dead-letter", {"headers": [{"value": "QQ=="}]}, Reason.MISSING_FIELD, "headers.0.key"),
    # A typo on the config topic must not pass for a setting.
    (Tuning, "config-tuning", {"setings": {}}, Reason.UNKNOWN_FIELD, "setings"),
    (
        Tuning,
        "config-tuning",
        {"settings": {"page_budgets": 3}},
        Reason.UNKNOWN_FIELD,
        "settings.page_budgets",
    ),
    (
        Tuning,
        "config-tuning",
        {"settings": {"page_budget": 101}},
        Reason.OUT_OF_RANGE,
        "settings.page_budget",
    ),
    (
        Tuning,
        "config-tuning",
        {"settings": {"min_excess_usd": "-1"}},
        Reason.NEGATIVE,
        "settings.min_excess_usd",
    ),
    (Tuning, "config-tuning", {"scope": {"team": "a", "workflow": "b"}}, Reason.INVALID_VALUE, "scope"),
    (Rule, "config-rule", {"scope": "planet"}, Reason.INVALID_VALUE, "scope"),
    (Rule, "config-rule", {"match": {"kinds": []}}, Reason.TOO_SHORT, "match.kinds"),
    (
        Rule,
        "config-rule",
        {"match": {"kinds": ["retry_loop", "bad mood"]}},
        Reason.INVALID_VALUE,
        "match.kinds.1",
    ),
    (
        Rule,
        "config-rule",
        {"action": {"action": "slow", "max_rps": 1, "burst": 2}},
        Reason.UNKNOWN_FIELD,
        "action.burst",
    ),
    (Rule, "config-rule", {"action": {"action": "release", "all": True}}, Reason.UNKNOWN_FIELD, "action.all"),
    (Launch, "config-launch", {"ends_at": "2026-03-01T08:00:00Z"}, Reason.OUT_OF_RANGE, ""),
    (Silence, "config-silence", {"ends_at": "2026-02-01T07:00:00Z"}, Reason.OUT_OF_RANGE, ""),
    (Route, "config-route", {"receivers": []}, Reason.MISSING_FIELD, "receivers"),
    (Price, "config-price", {"effective_until": "2026-01-01T00:00:00Z"}, Reason.OUT_OF_RANGE, ""),
    (Price, "config-price", {"service_tier": ""}, Reason.TOO_SHORT, "service_tier"),
    (Price, "config-price", {"reasoning_usd_per_mtok": -1}, Reason.NEGATIVE, "reasoning_usd_per_mtok"),
    (Price, "config-price", {"cache_write_usd": "1"}, Reason.UNKNOWN_FIELD, "cache_write_usd"),
    (Price, "config-price", {"steps": [STEP, STEP]}, Reason.INVALID_VALUE, ""),
    (Price, "config-price", {"steps": [{**STEP, "above_input_tokens": 0}]}, Reason.OUT_OF_RANGE, _FIRST_STEP),
    (Price, "config-price", {"steps": [{"above_input_tokens": 1}]}, Reason.MISSING_FIELD, _FIRST_INPUT),
    (Watch, "config-watch", {"min_usd_per_hour": "0"}, Reason.OUT_OF_RANGE, ""),
    (Watch, "config-watch", {"scope": "workflow"}, Reason.INVALID_VALUE, "scope"),
    (Watch, "config-watch", {"max_values": 10_001}, Reason.OUT_OF_RANGE, "max_values"),
    (Rollup, "rollup", {"type": "scope"}, Reason.INVALID_VALUE, ""),
    (Rollup, "rollup", {"scope": {"kind": "team", "value": "care"}}, Reason.INVALID_VALUE, ""),
]


@pytest.mark.parametrize(
    ("model", "name", "change", "reason", "path"),
    [pytest.param(*row, id=f"{row[1]}:{json.dumps(row[2])[:60]}") for row in CHANGES],
)
def test_other_records(
    model: type[Record], name: str, change: dict[str, object], reason: Reason, path: str
) -> None:
    refused = why_refused(model, orjson.dumps({**EXAMPLES[name], **change}))
    assert (refused.reason, refused.path) == (reason, path)


def test_every_reason_is_given_by_something() -> None:
    """Most by reading bytes; IN_THE_FUTURE needs the broker's time, which only ingest has, signatures need keys."""
    tables = {row[2] for row in BYTES} | {row[2] for row in FIELDS} | {row[1] for row in WHOLES}
    here = tables | {row[3] for row in CHANGES} | {Reason.MISSING_FIELD}
    elsewhere = {
        Reason.IN_THE_FUTURE: "ingest/*.py",
        Reason.UNSIGNED: "rules/config_signature.py",
        Reason.BAD_SIGNATURE: "rules/config_signature.py",
    }
    assert set(Reason) - here == set(elsewhere)
    service = Path(__file__).parents[2] / "service"
    for reason, where in elsewhere.items():
        name = f"Reason.{reason.name}"
        assert any(name in path.read_text(encoding="utf-8") for path in service.glob(where))


SECRET = "hunter2-do-not-repeat-me"


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_refusal_never_repeats_the_value(name: str) -> None:
    """A gateway may put an API key in the wrong field; it must not reach a log through us."""
    said = []
    for field in SCHEMAS[name].model_fields:
        for value in (SECRET, {"action": SECRET, "kind": SECRET}, [SECRET], {"kind": "cap", SECRET[:3]: 1}):
            try:
                decode(SCHEMAS[name], orjson.dumps({**EXAMPLES[name], field: value}))
            except Refused as refused:
                said.append(str(refused))
    assert said
    assert SECRET not in "\n".join(said)


def test_a_refusal_is_short_whatever_was_refused() -> None:
    refused = why_refused(Tuning, orjson.dumps({**EXAMPLES["config-tuning"], "x" * 60_000: 1}))
    assert len(refused.path) == MAX_PATH
    assert len(refused.detail) <= MAX_DETAIL
    assert len(str(refused)) < MAX_PATH + MAX_DETAIL + 3
    refused = why_refused(CostEvent, b'{"%s": 1, "%s": 2}' % (b"x" * 30_000, b"x" * 30_000))
    assert len(refused.path) <= MAX_PATH


def test_the_same_faults_give_the_same_reason_in_any_order_of_fields() -> None:
    faults = {"provider": 1, "attempt": -1, "status": "ok"}
    straight = why_refused(CostEvent, orjson.dumps({**SMALLEST, **faults}))
    turned = why_refused(CostEvent, orjson.dumps(dict(reversed([*{**SMALLEST, **faults}.items()]))))
    assert (straight.reason, straight.path) == (turned.reason, turned.path) == (Reason.NEGATIVE, "attempt")
