from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.decode import decode
from schemas.events import CostEvent
from schemas.reasons import Reason, Refused
from service.dead_letters.mend import Check, Edit, Mended, edited, parse_set, parse_unset
from service.errors import InvalidInput
from tests.fuzz.corpus import mutated
from tests.service.dead_letters.letters import AT_S, event

CHECK = Check(datetime.fromtimestamp(AT_S, UTC), 300.0)


def mend(topic: str, value: bytes, edits: Sequence[Edit] = (), check: Check = CHECK) -> Mended:
    return check.read(topic, edited(value, edits))


def changed(value: bytes, *edits: Edit) -> Any:
    return orjson.loads(edited(value, edits))


def test_without_edits_the_bytes_stay_as_they_came() -> None:
    assert edited(b' {"a" : 1.50} ', ()) == b' {"a" : 1.50} '


def test_values_are_put_and_taken_away_at_paths() -> None:
    assert changed(b'{"a":1,"b":2}', parse_set('a="x"'), parse_unset("b")) == {"a": "x"}
    assert changed(b'{"a":{"b":1,"c":2}}', parse_set("a.b=null"), parse_unset("a.c")) == {"a": {"b": None}}
    assert changed(b"{}", parse_set("charge.quantity=3")) == {"charge": {"quantity": 3}}
    assert changed(b'{"tags":["a","b"]}', parse_set('tags.0="x"')) == {"tags": ["x", "b"]}
    assert changed(b'{"tags":["a","b"]}', parse_unset("tags.1")) == {"tags": ["a"]}
    assert changed(b'{"a.b":1}', parse_unset(r"a\.b")) == {}
    assert changed(b"{}", parse_set("a={}"), parse_set("a.b=[1,2]")) == {"a": {"b": [1, 2]}}
    assert changed(b'{"x":1}', parse_unset("y.z")) == {"x": 1}


@pytest.mark.parametrize("bad", ["a", "=1", "a=", "a=x", "a=NaN", ".a=1", "a..b=1", "a.=1", 'a="', ""])
def test_an_edit_that_cannot_be_read_is_told(bad: str) -> None:
    with pytest.raises(InvalidInput):
        parse_set(bad)


def test_a_string_without_quotes_says_how_it_is_written() -> None:
    with pytest.raises(InvalidInput, match='workflow="…"'):
        parse_set("workflow=support")


@pytest.mark.parametrize(
    ("value", "edit", "reason"),
    [
        (b'{"a":1}', "a.b=1", Reason.WRONG_TYPE),
        (b'{"a":[1]}', "a.1=1", Reason.INVALID_VALUE),
        (b'{"a":[1]}', "a.x=1", Reason.INVALID_VALUE),
        (b"[1]", "0=1", Reason.NOT_AN_OBJECT),
        (b'{"a":1,"a":2}', "a=3", Reason.DUPLICATE_KEY),
        (b"\xff", "a=1", Reason.INVALID_UTF8),
        (b"", "a=1", Reason.EMPTY),
        (b'{"a":1', "a=1", Reason.INVALID_JSON),
        (b"[" * 100_000, "a=1", Reason.TOO_DEEP),
    ],
)
def test_what_cannot_be_edited_is_refused_with_a_reason(value: bytes, edit: str, reason: Reason) -> None:
    with pytest.raises(Refused) as caught:
        edited(value, [parse_set(edit)])
    assert caught.value.reason is reason


def test_what_only_a_generous_reader_takes_can_be_mended() -> None:
    """NaN and a byte order mark are what Python and Windows write most."""
    for value in (b'{"cost_usd":NaN,"a":1}', b'\xef\xbb\xbf{"cost_usd":1,"a":1}'):
        assert changed(value, parse_set('cost_usd="1"')) == {"cost_usd": "1", "a": 1}


def test_what_is_mended_is_checked_as_ingest_will() -> None:
    good = mend("cost-events", event(cost_usd=-1), [parse_set("cost_usd=1")])
    assert good.record_id == "e-1"
    assert decode(CostEvent, good.records[0][1]).cost_usd == 1
    with pytest.raises(Refused) as caught:
        mend("cost-events", event(cost_usd=-1))
    assert caught.value.reason is Reason.NEGATIVE
    with pytest.raises(Refused) as caught:
        mend("cost-events", event(occurred_at=AT_S + 301))
    assert caught.value.reason is Reason.IN_THE_FUTURE
    assert mend("cost-events", event(occurred_at=AT_S + 299))


def test_what_says_the_same_has_the_same_content() -> None:
    one = mend("cost-events", event())
    other = mend("cost-events", event(later="ignored").replace(b":", b" : "))
    assert one.records != other.records
    assert one.content == other.content
    assert one.content != mend("cost-events", event(cost_usd="0.26")).content


def test_an_outcome_is_known_by_its_own_id() -> None:
    value = b'{"outcome_id":"o","occurred_at":1,"trace_id":"t","kind":"k"}'
    assert mend("outcomes", value).record_id == "o"


edits = st.lists(
    st.sampled_from(
        [
            parse_set('event_id="mended"'),
            parse_set("occurred_at=1769851800"),
            parse_unset("cost_usd"),
            parse_set("charge.unit=1"),
            parse_set("request_tags.0=null"),
            parse_unset("request_tags"),
        ]
    ),
    max_size=4,
)


@given(st.integers(0, 10**6), edits)
def test_whatever_was_refused_is_mended_or_refused_again(seed: int, some: list[Edit]) -> None:
    for value in mutated(20, seed):
        try:
            result = mend("cost-events", value, some, Check(CHECK.now, 1e6))
        except Refused:
            continue
        assert decode(CostEvent, result.records[0][1]).event_id == result.record_id
