"""Spoiled bytes never raise anything but `Refused`, and what is taken all the same is within the contract."""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas.base import json_schema
from schemas.catalog import EXAMPLES, SCHEMAS
from schemas.decode import decode, parse_object
from schemas.events import CostEvent
from schemas.reasons import Reason, Refused

MUTATIONS = 20_000
NAMES = list(SCHEMAS)
EACH = -(-MUTATIONS // len(NAMES))
TOKENS = [
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b"-", b"0", b"9", b"e", b".", b" ", b"\n", b"\x00"),
    *(
        b"null",
        b"true",
        b"1e999",
        b"-1",
        b"NaN",
        b"[]",
        b"{}",
        b'""',
        b"\\u0000",
        b"\\ud800",
        b"\xff",
        b"\xc3",
    ),
    *(b"9" * 20, b'"a":1,"a":1', b"[" * 2_000, b"x" * 300, "😀".encode()),
]


def spoil(data: bytes, dice: random.Random) -> bytes:
    """One to three small edits: a byte or bit changed, a piece cut, doubled or moved, a token put in."""
    spoiled = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        at = dice.randrange(len(spoiled) + 1)
        length = dice.randrange(1, 20)
        match dice.randrange(6):
            case 0 if at < len(spoiled):
                spoiled[at] = dice.randrange(256)
            case 1 if at < len(spoiled):
                spoiled[at] ^= 1 << dice.randrange(8)
            case 2:
                del spoiled[at : at + length]
            case 3:
                spoiled[at:at] = spoiled[at : at + length]
            case 4:
                spoiled[at : at + dice.choice((0, length))] = dice.choice(TOKENS)
            case _:
                spoiled[at:at] = bytes(dice.choices(data, k=length))
    return bytes(spoiled)


@pytest.mark.parametrize("name", NAMES)
def test_spoiled_examples_are_refused_with_a_reason_or_lie_within_the_contract(name: str) -> None:
    model, dice = SCHEMAS[name], random.Random(name)
    schema = Draft202012Validator(json_schema(model))
    example = orjson.dumps(EXAMPLES[name])
    outcomes: Counter[Reason | None] = Counter()
    for _ in range(EACH):
        spoiled = spoil(example, dice)
        try:
            record = decode(model, spoiled)
        except Refused as refused:
            outcomes[refused.reason] += 1
        else:
            outcomes[None] += 1
            assert decode(model, record.to_json()) == record
            assert schema.is_valid(orjson.loads(spoiled)), spoiled
    assert sum(outcomes.values()) == EACH
    assert outcomes[None] > 0
    assert len(outcomes) > 5, "the mutations are too dull"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(name=st.sampled_from(NAMES), data=st.data(), value=json_values)
def test_any_value_in_any_field_is_refused_or_lies_within_the_contract(
    name: str, data: st.DataObject, value: Any
) -> None:
    model = SCHEMAS[name]
    field = data.draw(st.sampled_from(sorted(model.model_fields)))
    document = {**EXAMPLES[name], field: value}
    with suppress(Refused):
        record = decode(model, orjson.dumps(document))
        assert decode(model, record.to_json()) == record
        assert Draft202012Validator(json_schema(model)).is_valid(orjson.loads(orjson.dumps(document)))


@settings(deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_at_all_are_refused_or_read(data: bytes) -> None:
    with pytest.raises(Refused):
        decode(CostEvent, data)


pairs = st.lists(st.tuples(st.text('ab":\\ \n{', max_size=3), json_values), max_size=5)


@settings(deadline=None)
@given(
    pairs=pairs,
    ascii_only=st.booleans(),
    colon=st.sampled_from([":", ": ", " :", " : ", "\n:", "\t:", "\r\n:\r\n", "  :"]),
    comma=st.sampled_from([",", ", ", " ,\n"]),
)
def test_a_key_that_comes_twice_is_always_found(
    pairs: list[tuple[str, Any]], ascii_only: bool, colon: str, comma: str
) -> None:
    text = comma.join(
        json.dumps(key, ensure_ascii=ascii_only) + colon + orjson.dumps(value).decode()
        for key, value in pairs
    )
    data = ("{" + text + "}").encode()
    keys = [key for key, _ in pairs]
    if len(set(keys)) == len(keys):
        assert list(parse_object(data)) == keys
    else:
        with pytest.raises(Refused) as caught:
            parse_object(data)
        assert caught.value.reason is Reason.DUPLICATE_KEY
