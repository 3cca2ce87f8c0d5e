"""Fields of foreign records: what is money is read or refused, what is a name is read or left out."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.base import MAX_LABEL, MAX_TOKENS
from schemas.reasons import Reason, Refused
from service.ingest.adapters import foreign


@pytest.mark.parametrize(
    ("counted", "total", "inputs_and_output"),
    [
        # inputs, cache, output, reasoning
        ((1230, 1040, 310, 64), 1540, (1230, 310)),  # OpenAI: both inside
        ((1230, 1040, 310, 64), None, (1230, 310)),
        ((500, 30_000, 800, 0), None, (30_500, 800)),  # more cached than input: it cannot be inside
        ((9_000, 1_500, 100, 0), 10_600, (10_500, 100)),  # the total says that it was not
        ((9_000, 1_500, 100, 0), 9_100, (9_000, 100)),
        ((9_000, 1_500, 100, 0), 12_345, (9_000, 100)),  # a total that fits neither says nothing
        ((1_000, 0, 40, 900), None, (1_000, 940)),  # Gemini: more thought than said
        ((1_000, 0, 400, 300), 1_700, (1_000, 700)),
        ((1_000, 400, 400, 300), 2_100, (1_400, 700)),  # neither was inside
        ((0, 0, 0, 0), 0, (0, 0)),
    ],
)
def test_parts_that_were_not_counted_in_are_added(
    counted: tuple[int, int, int, int], total: int | None, inputs_and_output: tuple[int, int]
) -> None:
    assert foreign.wholes(*counted, total) == inputs_and_output


@given(st.tuples(*[st.integers(0, 10_000)] * 4), st.none() | st.integers(0, 40_000))
def test_parts_never_exceed_their_wholes(counted: tuple[int, int, int, int], total: int | None) -> None:
    inputs, cache, output, reasoning = counted
    whole_in, whole_out = foreign.wholes(*counted, total)
    assert whole_in in (inputs, inputs + cache)
    assert whole_out in (output, output + reasoning)
    assert whole_in >= cache
    assert whole_out >= reasoning


@pytest.mark.parametrize(
    ("value", "number"), [(None, None), (0, 0), (12, 12), (12.0, 12), ("12", 12), (MAX_TOKENS, MAX_TOKENS)]
)
def test_tokens_are_read_in_every_spelling_of_a_whole_number(value: Any, number: int | None) -> None:
    assert foreign.count(value, "n") == number


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (True, Reason.WRONG_TYPE),
        (1.5, Reason.WRONG_TYPE),
        (float("nan"), Reason.WRONG_TYPE),
        (float("inf"), Reason.WRONG_TYPE),
        ("", Reason.WRONG_TYPE),
        ("-1", Reason.WRONG_TYPE),
        (" 1", Reason.WRONG_TYPE),
        ("١", Reason.WRONG_TYPE),
        ("9" * 5000, Reason.WRONG_TYPE),
        ([], Reason.WRONG_TYPE),
        (-1, Reason.NEGATIVE),
        (MAX_TOKENS + 1, Reason.OUT_OF_RANGE),
    ],
)
def test_tokens_that_are_no_whole_number_are_refused_where_they_lie(value: Any, reason: Reason) -> None:
    with pytest.raises(Refused) as caught:
        foreign.count(value, "usage.n")
    assert (caught.value.reason, caught.value.path) == (reason, "usage.n")


@pytest.mark.parametrize("value", [None, True, 1.5, "", " ", "\n", [], {}, 10**19])
def test_what_is_no_name_is_left_out(value: Any) -> None:
    assert foreign.label(value) is None


def test_names_are_cleaned_and_numbers_are_names_too() -> None:
    assert foreign.label(" a\tb\n") == "a b"
    assert foreign.label(4711) == "4711"


@given(st.text(min_size=MAX_LABEL + 1, max_size=300), st.text(min_size=1, max_size=3))
def test_long_names_stay_apart(text: str, more: str) -> None:
    if (first := foreign.label("x" + text)) is not None:
        assert len(first) <= MAX_LABEL
        assert first != foreign.label("x" + text + "y" + more)
    ids = foreign.event_id(text), foreign.event_id(text + more)
    assert ids[0] != ids[1]
    assert max(map(len, ids)) <= MAX_LABEL


def test_ids_that_differ_in_what_is_cleaned_away_stay_apart() -> None:
    assert foreign.event_id("a\x00b") != foreign.event_id("a b")
    assert foreign.event_id("a b") == "a b"


def test_people_become_pseudonyms_and_keys_their_hash() -> None:
    assert foreign.pseudonym("svc-support") == "svc-support"
    assert (
        foreign.pseudonym("jane@example.com") == foreign.pseudonym("jane@example.com") != "jane@example.com"
    )
    assert foreign.pseudonym("Jane Doe") != "Jane Doe"
    assert foreign.key_name("support-prod") == "support-prod"
    assert foreign.key_name("sk-1234") == hashlib.sha256(b"sk-1234").hexdigest()
    assert foreign.key_name("Bearer sk-1234") == foreign.key_name("sk-1234")


@pytest.mark.parametrize(
    ("value", "known"), [("auto", None), ("Default", None), ("Flex", "flex"), (None, None)]
)
def test_the_standard_class_of_service_is_none(value: Any, known: str | None) -> None:
    assert foreign.tier(value) == known
