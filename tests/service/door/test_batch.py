"""From a body to events: every byte as it came, every line accounted for, one definition of what is valid."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.decode import MAX_BYTES, decode
from schemas.events import CostEvent
from schemas.reasons import Refused
from service.door.batch import Event, Form, Malformed, Rejection, TooMany, judge, split
from tests.schemas.events import SMALLEST, padded, with_field, without
from tests.service.door.support import event


def found(form: Form, body: bytes, max_events: int = 100) -> list[tuple[int, bytes]]:
    return list(split(form, body, max_events))


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"a", [(1, b"a")]),
        (b"a\n", [(1, b"a")]),
        (b"a\nb", [(1, b"a"), (2, b"b")]),
        (b"a\r\nb\r\n", [(1, b"a"), (2, b"b")]),
        (b"\n\na\n \t\nb\n\n", [(3, b"a"), (5, b"b")]),
        (b"  a \t\n", [(1, b"a")]),
        (b"a\x0bb\x0c\x85\n", [(1, b"a\x0bb\x0c\x85")]),  # only \n ends a line, whatever str.splitlines says
        ("a\u2028b\n".encode(), [(1, "a\u2028b".encode())]),
    ],
)
def test_lines_end_with_a_newline_and_keep_their_numbers(body: bytes, lines: list[tuple[int, bytes]]) -> None:
    assert found("ndjson", body) == lines


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b'{"a": 1}', [(1, b'{"a": 1}')]),
        (b'\n {"a":\n 1}\r\n', [(1, b'{"a":\n 1}')]),
        (b'[{"a": 1 }]', [(1, b'{"a": 1 }')]),
        (b' [ {"a":1} ,\n{"b": [2, {}]}, "x" ] ', [(1, b'{"a":1}'), (2, b'{"b": [2, {}]}'), (3, b'"x"')]),
        (b"not json", [(1, b"not json")]),
    ],
)  # fmt: skip
def test_a_json_body_is_one_event_or_an_array_of_them(body: bytes, events: list[tuple[int, bytes]]) -> None:
    assert found("json", body) == events


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("ndjson", b""),
        ("ndjson", b"\n \r\n\n"),
        ("json", b""),
        ("json", b" \n"),
        ("json", b"[]"),
        ("json", b"[1,]"),
        ("json", b"[1] 2"),
        ("json", b"[1"),
        ("json", b"[NaN]"),
        ("json", b"[{\"a\": " + b"[" * 100_000),
    ],
)  # fmt: skip
def test_a_body_without_events_is_malformed(form: Form, body: bytes) -> None:
    with pytest.raises(Malformed):
        found(form, body)


@pytest.mark.parametrize(
    ("form", "body", "most"),
    [
        ("ndjson", b"a\nb\nc", 2),
        ("ndjson", b"\n\n\na\n", 3),  # blank lines cost something too
        ("json", b"[1, 2, 3]", 2),
        ("json", b"[" + b"1," * 1_000_000 + b"1]", 5_000),  # found out before a million objects are made
    ],
)
def test_more_events_than_agreed_are_too_many(form: Form, body: bytes, most: int) -> None:
    with pytest.raises(TooMany):
        found(form, body, most)


@given(st.binary(max_size=400), st.integers(1, 40))
def test_no_byte_of_a_line_is_lost_or_changed(body: bytes, most: int) -> None:
    try:
        lines = found("ndjson", body, most)
    except TooMany:
        assert len(body.split(b"\n")) > most
        return
    except Malformed:
        assert not body.strip(b" \t\r\n")
        return
    whole = body.split(b"\n")
    assert len(lines) <= most
    assert [number for number, _ in lines] == [n for n, line in enumerate(whole, 1) if line.strip(b" \t\r")]
    for number, line in lines:
        assert line == whole[number - 1].strip(b" \t\r")


DOCUMENTS = st.dictionaries(
    st.text(max_size=5), st.none() | st.integers() | st.text() | st.lists(st.booleans())
)


@given(st.lists(DOCUMENTS, min_size=1, max_size=8), st.sampled_from([None, 2]), st.booleans())
def test_an_array_and_its_lines_hold_the_same_bytes(
    documents: list[dict[str, Any]], indent: int | None, ascii_only: bool
) -> None:
    texts = [json.dumps(d, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass") for d in documents]
    between = b"," if indent is None else b" ,\n  "
    array = b"[" + between.join(texts) + b"]"
    assert found("json", array) == found("ndjson", b"\n".join(texts)) == list(enumerate(texts, start=1))


@pytest.mark.parametrize(
    "value",
    [event(), padded(MAX_BYTES), padded(MAX_BYTES + 1), without("model"), with_field("cost_usd", '"-1"'),
     with_field("workflow", '""'), b"\xff", b"[]", b'{"event_id": 1, "event_id": 2}', b"{" * 50],
)  # fmt: skip
def test_an_event_is_valid_exactly_when_ingest_can_read_it(value: bytes) -> None:
    wanted: tuple[object, ...]
    try:
        decode(CostEvent, value)
    except Refused as refused:
        wanted = (7, refused.reason.value, refused.path, refused.detail)
    else:
        wanted = Event(7, b"unattributed", value)
    verdict = judge(7, value)
    if isinstance(verdict, Rejection):
        assert (verdict.line, verdict.reason, verdict.path, verdict.detail) == wanted
    else:
        assert verdict == wanted


@pytest.mark.parametrize(
    ("value", "event_id"),
    [
        (with_field("event_id", '"call-7"').replace(b'"openai"', b"7"), "call-7"),
        (with_field("event_id", '"x"')[:-1], None),
        (without("event_id"), None),
        (with_field("event_id", "12"), None),
        (with_field("event_id", json.dumps("x" * 201)), None),
        (padded(MAX_BYTES + 1), None),
        (b"[1]", None),
    ],
)
def test_a_refused_event_is_told_by_its_id_if_it_has_one(value: bytes, event_id: str | None) -> None:
    verdict = judge(1, value)
    assert isinstance(verdict, Rejection)
    assert verdict.event_id == event_id


def test_the_key_is_the_workflow_so_that_a_repetition_meets_the_first() -> None:
    verdict = judge(1, json.dumps({**SMALLEST, "workflow": "prüfung"}).encode())
    assert isinstance(verdict, Event)
    assert verdict.key == "prüfung".encode()
