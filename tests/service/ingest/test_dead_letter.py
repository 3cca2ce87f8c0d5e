from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letters import DeadLetter
from schemas.reasons import Reason, Refused
from service.errors import TooManyDeadLetters
from service.ingest.dead_letter import DeadLetterLimits, dead_letter
from service.ingest.record import RawRecord
from tests.service.ingest.events import raw

WHY = Refused(Reason.NEGATIVE, "must not be negative", "input_tokens")
bytes_or_none = st.none() | st.binary(max_size=200)


@given(
    bytes_or_none,
    bytes_or_none,
    st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=20)), max_size=5),
)
def test_original_bytes_headers_and_origin_survive_the_wire(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    letter = dead_letter(RawRecord(3, 41, 1_769_851_800_123, key, value, headers), "t.cost-events", WHY)
    again = DeadLetter.from_json(letter.to_json())
    assert again == letter
    assert (again.key, again.value) == (key, value)
    assert [(h.key, h.value) for h in again.headers] == headers
    assert (again.origin.topic, again.origin.partition, again.origin.offset) == ("t.cost-events", 3, 41)
    assert (again.reason, again.path, again.detail) == (WHY.reason, WHY.path, WHY.detail)
    assert again.timestamp.timestamp() == 1_769_851_800.123
    assert again.record_key == b"t.cost-events/3/41"


def test_a_record_too_large_to_keep_says_where_its_bytes_are() -> None:
    letter = dead_letter(raw(9, b"x" * 1_000_000), "t", WHY)
    assert letter.value is None
    assert "only at the origin" in letter.detail
    largest = dead_letter(raw(9, b"\xff" * 700_000), "t", WHY)
    assert largest.value is not None
    assert len(largest.to_json()) < 1_000_000


def test_more_headers_than_a_dead_letter_holds_are_counted() -> None:
    letter = dead_letter(raw(9, b"x")._replace(headers=[("k", b"v")] * 1_500), "t", WHY)
    assert len(letter.headers) == 1_000
    assert "500 more headers" in letter.detail


def test_a_record_without_a_time_gets_the_epoch() -> None:
    assert dead_letter(raw(1, b"x")._replace(timestamp=-1), "t", WHY).timestamp.timestamp() == 0


def test_a_streak_of_refusals_stops_ingest() -> None:
    limits = DeadLetterLimits(max_ratio=1.0, window=1_000, max_streak=3)
    for _ in range(5):
        limits.refused(raw(), WHY)
        limits.refused(raw(), WHY)
        limits.accepted()
    limits.refused(raw(), WHY)
    limits.refused(raw(), WHY)
    with pytest.raises(
        TooManyDeadLetters, match=r"3 records in a row .* offset 77, the last for negative at input_tokens"
    ):
        limits.refused(raw(77), WHY)
    assert TooManyDeadLetters.exit_code == 4


def test_a_ratio_of_refusals_stops_ingest_but_only_over_a_full_window() -> None:
    limits = DeadLetterLimits(max_ratio=0.5, window=10, max_streak=1_000)
    for _ in range(9):
        limits.refused(raw(), WHY)
    limits.accepted()  # the window is full, 9 of 10
    with pytest.raises(TooManyDeadLetters, match="9 of the last 10"):
        limits.refused(raw(), WHY)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 8))
def test_the_ratio_is_that_of_the_last_records(bad: list[bool], window: int) -> None:
    limits = DeadLetterLimits(max_ratio=0.5, window=window, max_streak=1_000)
    for i, refused in enumerate(bad):
        recent = bad[max(0, i + 1 - window) : i + 1]
        too_many = refused and len(recent) == window and sum(recent) > window / 2
        if not refused:
            limits.accepted()
        elif too_many:
            with pytest.raises(TooManyDeadLetters):
                limits.refused(raw(), WHY)
        else:
            limits.refused(raw(), WHY)
