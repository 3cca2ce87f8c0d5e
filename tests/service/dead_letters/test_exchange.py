from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dead_letters.exchange import document, parse_line
from service.errors import InvalidInput
from tests.fuzz.corpus import mutated
from tests.service.dead_letters.letters import event, letter


@given(st.integers(0, 10**6))
def test_an_exported_line_that_nobody_edits_comes_back_as_it_was(seed: int) -> None:
    for value in [*mutated(20, seed), b"\xff\n", b"", b"a\nb"]:
        line = orjson.dumps(document(letter(value)))
        assert b"\n" not in line
        back = parse_line(line, 1, "t.")
        assert back.origin == "t.cost-events/2/7"
        try:
            assert orjson.loads(back.value) == orjson.loads(value)
        except orjson.JSONDecodeError:
            assert back.value == value


def test_a_line_shows_the_value_as_readable_as_it_can_be_made() -> None:
    assert orjson.loads(orjson.dumps(document(letter(event(cost_usd=-1)))))["event"]["cost_usd"] == -1
    assert document(letter(b"{"))["text"] == "{"
    assert document(letter(b'{"a":NaN}'))["text"] == '{"a":NaN}'
    assert document(letter(b"\xff"))["base64"] == "/w=="
    assert not {"event", "text", "base64"} & document(letter(None)).keys()


def test_digits_and_order_of_an_event_are_exported_as_they_came() -> None:
    value = b'{"cost_usd": 0.10000000000000000001,\r\n "a": 1e2, "event_id": 1}'
    assert b'{"cost_usd": 0.10000000000000000001,   "a": 1e2' in orjson.dumps(document(letter(value)))


ORIGIN = b'"origin":"cost-events/1/2"'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 3: not JSON"),
        (b"[]", "expected an object"),
        (b'{"event":{}}', "`origin`"),
        (b'{"origin":"x","event":{}}', "no origin"),
        (b"{" + ORIGIN + b"}", "not none"),
        (b"{" + ORIGIN + b',"event":{},"text":"x"}', "not event and text"),
        (b"{" + ORIGIN + b',"event":[]}', "must be an object"),
        (b"{" + ORIGIN + b',"text":{}}', "must be a string"),
        (b"{" + ORIGIN + b',"base64":"?"}', "`base64` is none"),
        (b"{" + ORIGIN + b',"event":{"a":1,"a":2}}', "a key comes twice"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(line: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse_line(line, 3, "t.")
