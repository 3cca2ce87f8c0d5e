"""The fast reading of events against the contract's own: one verdict, one outcome."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import CostEvent
from schemas.reasons import Reason, Refused
from service.ingest import wire
from service.ingest.call import Call
from service.ingest.spelt import Spelt
from service.ingest.wire import read
from tests.fuzz.corpus import mutated
from tests.schemas.strategies import records
from tests.service.ingest.events import fields

_UNREAD = {"user", "environment", "session_id", "request_tags", "latency_ms", "attempt", "schema_version"}
_RENAMED = {"occurred_at": "at", "cost_usd": "cost_nanos"}
_LOOKED_AT = [_RENAMED.get(name, name) for name in CostEvent.model_fields if name not in _UNREAD]


def plain(outcome: Call | Refused) -> Any:
    """What can be compared."""
    if isinstance(outcome, Refused):
        return outcome.reason, outcome.path, outcome.detail
    return [getattr(outcome, name) for name in _LOOKED_AT]


def by_the_book(value: bytes | None) -> Call | Refused:
    try:
        return wire.by_the_book(value)
    except Refused as refused:
        return refused


def assert_same(values: Sequence[bytes | None]) -> None:
    for value, outcome in zip(values, read(list(values)), strict=True):
        assert plain(outcome) == plain(by_the_book(value)), value


def recognised(values: Sequence[bytes]) -> int:
    """How many need not go by the book."""
    return sum(call is not None for call in wire.recognised(list(values)))


@pytest.mark.parametrize("seed", range(4))
def test_mutated_events_are_accepted_and_refused_as_the_contract_says(seed: int) -> None:
    values = list(mutated(3_000, seed))
    assert_same(values)
    assert 0 < recognised(values) < len(values)


@given(st.lists(records(CostEvent), min_size=1, max_size=4))
def test_whatever_fits_the_contract_comes_out_with_its_values(events: list[CostEvent]) -> None:
    assert_same([event.to_json() for event in events])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(field=st.sampled_from(sorted(CostEvent.model_fields)), value=_JSON)
def test_any_value_of_any_field_has_one_verdict(field: str, value: Any) -> None:
    assert_same([_json(fields() | {field: value})])


def _json(document: dict[str, Any]) -> bytes:
    import json  # which writes NaN and integers of any size, and escapes

    return json.dumps(document).encode()


@given(st.data())
def test_edited_bytes_have_one_verdict(data: st.DataObject) -> None:
    value = bytearray(orjson.dumps(fields(cost_usd="0.25", trace_id="t", team="a", latency_ms=1.5)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(value) - 1))
        value[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    assert_same([bytes(value)])


@given(st.text(st.sampled_from("0123456789.eE+-_ ١"), max_size=14) | st.floats() | st.integers())
def test_amounts_are_read_as_the_contract_reads_them(amount: Any) -> None:
    assert_same([_json(fields(cost_usd=amount))])


_TIMES = st.one_of(
    st.datetimes().map(lambda at: at.isoformat() + "Z"),
    st.from_regex(
        r"(19|20)\d\d-[01]\d-[0-3]\d[Tt ][0-2]\d:[0-5]\d:[0-6]\d(\.\d{1,10})?([Zz]|[+-]\d\d:\d\d)",
        fullmatch=True,
    ),
    st.text(st.sampled_from("0123456789-T:.Z+"), max_size=27),
    st.floats(),
    st.floats(0, 2e11),
    st.integers(-5, 10**12),
)


@given(st.lists(_TIMES, min_size=1, max_size=5))
def test_times_are_read_as_the_contract_reads_them(times: list[Any]) -> None:
    # Twice: the second time what was learnt from the first is known.
    for _ in range(2):
        assert_same([_json(fields(at=0) | {"occurred_at": time}) for time in times])


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-31T09:30:00Z",
        "2026-01-31T09:30:00.25Z",
        "2026-01-31T09:30:00.123456Z",
        "2026-01-31T09:30:00.123456+00:00",
        "2026-01-31T09:30:00.123456789Z",
        "2026-01-31t09:30:00.5z",
        "2026-01-31 09:30:00+05:45",
        "2026-01-31T09:30:00.١٢٣٤٥٦Z",
        "2026-01-31T09:30:60Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        1_769_851_800,
        1_769_851_800.1234567,
        0.0000005,
        -0.0,
    ],
)
def test_each_spelling_of_a_time(time: Any) -> None:
    for _ in range(2):
        assert_same([_json(fields() | {"occurred_at": time})])


def test_a_repeated_key_is_found_among_healthy_neighbours() -> None:
    healthy = [orjson.dumps(fields(f"e-{i}", team="a")) for i in range(300)]
    twice = healthy[150].replace(b'"team":"a"', b'"team":"a","team":"b"')
    outcomes = read([*healthy[:150], twice, *healthy[151:]])
    assert [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Refused)] == [150]
    refused = outcomes[150]
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.path) == (Reason.DUPLICATE_KEY, "team")


def test_a_key_hidden_by_a_space_does_not_make_up_for_a_repeated_one() -> None:
    twice = orjson.dumps(fields("a", team="x")).replace(b'"team":"x"', b'"team":"x","team":"y"')
    spaced = orjson.dumps(fields("b", team="x")).replace(b'"team":', b'"team" :')
    outcomes = read([twice, spaced])
    assert isinstance(outcomes[0], Refused)
    assert isinstance(outcomes[1], Call)


def test_the_usual_event_need_not_go_by_the_book() -> None:
    usual = [
        _json(fields("a", cost_usd="0.0004125", trace_id="t", customer="Łódź", latency_ms=812)),
        orjson.dumps(fields("b", cost_usd=0.0004125, request_tags=["x", "y"], charge=None, schema_version=1)),
        orjson.dumps(fields("c") | {"team": None, "occurred_at": "2026-01-31T09:30:00.250Z"}),
    ]
    assert recognised(usual[1:]) == 2
    assert recognised([usual[0]]) == 0, "escapes are unusual"
    assert recognised([usual[0].decode("unicode_escape").encode()]) == 1


def test_every_field_of_the_contract_is_known() -> None:
    names = {field.encode_name for field in msgspec.structs.fields(Spelt)}
    assert names == set(CostEvent.model_fields)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.EMPTY),
        (b"", Reason.EMPTY),
        (b"\x1f\x8b\x08gzip", Reason.INVALID_UTF8),
        (b"{", Reason.INVALID_JSON),
        (b"[]", Reason.NOT_AN_OBJECT),
        (b'{"event_id":"a"}', Reason.MISSING_FIELD),
        (orjson.dumps(fields(user="u" * 70_000)), Reason.TOO_LARGE),
        (orjson.dumps(fields(input_tokens=1, cached_input_tokens=2)), Reason.CACHED_EXCEEDS_INPUT),
        (orjson.dumps(fields(output_tokens=1, reasoning_tokens=2)), Reason.REASONING_EXCEEDS_OUTPUT),
        (
            orjson.dumps(fields() | {"charge": {"kind": "seats", "quantity": 1, "unit": "seat"}}),
            Reason.CHARGE_WITHOUT_COST,
        ),
    ],
)
def test_what_cannot_be_read_says_why(value: bytes | None, reason: Reason) -> None:
    (outcome,) = read([value])
    assert isinstance(outcome, Refused)
    assert outcome.reason is reason


def test_a_charge_is_read() -> None:
    charge = {"kind": "gpu_hours", "quantity": 2.5, "unit": "hour"}
    (outcome,) = read([orjson.dumps(fields(cost_usd="7.50", charge=charge))])
    assert isinstance(outcome, Call)
    assert outcome.charge is not None
    assert (outcome.charge.kind, outcome.cost_nanos) == ("gpu_hours", 7_500_000_000)


def test_the_order_of_records_is_kept_over_stretches() -> None:
    dice = random.Random(3)
    values = [orjson.dumps(fields(f"e-{i}")) if dice.random() < 0.9 else b"{" for i in range(500)]
    found = [o.event_id if isinstance(o, Call) else None for o in read(values)]
    assert found == [f"e-{i}" if value != b"{" else None for i, value in enumerate(values)]


def test_a_refusal_holds_on_to_nothing_that_was_read_beside_it() -> None:
    (outcome,) = read([b'{"event_id": 1}'])
    assert isinstance(outcome, Refused)
    assert (outcome.__traceback__, outcome.__context__, outcome.__cause__) == (None, None, None)


@pytest.mark.parametrize("digits", [17, 30, 400])
@pytest.mark.parametrize("field", ["occurred_at", "cost_usd"])
def test_a_number_beyond_any_float_is_left_to_the_book(field: str, digits: int) -> None:
    text = orjson.dumps(fields(cost_usd=0) | {field: 7_654_321})
    assert_same([text.replace(b"7654321", b"9" * digits)])
