"""Whatever a broker can hold can be kept as a dead letter: nothing that is refused may stop the line."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dead_letters import MAX_HEADERS, DeadLetter
from schemas.decode import decode
from schemas.reasons import Reason, Refused

MEGABYTE = 1_048_576
WHY = Refused(Reason.INVALID_JSON, "not JSON at line 1 column 1", "x" * 1_000)


def letter(
    key: bytes | None = None,
    value: bytes | None = b"{",
    headers: list[tuple[str, bytes | None]] | None = None,
    timestamp_ms: int = 1_769_868_451_250,
    why: Refused = WHY,
) -> DeadLetter:
    return DeadLetter.of(
        "tidegate.cost-events",
        3,
        7,
        why,
        timestamp_ms=timestamp_ms,
        key=key,
        value=value,
        headers=headers or [],
    )


@settings(deadline=None)
@given(
    key=st.none() | st.binary(max_size=50),
    value=st.none() | st.binary(max_size=200),
    headers=st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=9)), max_size=5),
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
)
def test_bytes_are_kept_as_they_came(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], timestamp_ms: int
) -> None:
    kept = letter(key, value, headers, timestamp_ms)
    read = decode(DeadLetter, kept.to_json())
    assert read == kept
    assert (read.key, read.value) == (key, value)
    assert [(header.key, header.value) for header in read.headers] == headers


EXTREMES: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]] = [
    (None, b"\xff" * MEGABYTE, []),
    (b"\xff" * MEGABYTE, None, []),
    (b"\xff" * 500_000, b"\xff" * 500_000, []),
    (None, None, [("h", b"\xff" * MEGABYTE)]),
    (None, None, [("\x00" * MEGABYTE, None)]),
    (None, None, [("\x00" * 170_000, b"")]),
    (None, None, [("", b"")] * 200_000),
    (None, b"\xff" * 740_000, [("h", b"")] * 1_000),
]


@pytest.mark.parametrize("extreme", range(len(EXTREMES)))
def test_what_is_too_large_to_keep_is_left_at_its_origin(extreme: int) -> None:
    kept = letter(*EXTREMES[extreme])
    written = kept.to_json()
    assert len(written) <= DeadLetter.max_bytes
    assert decode(DeadLetter, written) == kept
    assert "only at the origin" in kept.detail
    assert (kept.origin.partition, kept.origin.offset, kept.reason) == (3, 7, Reason.INVALID_JSON)


def test_what_fits_is_kept_whole() -> None:
    value = b"\xff" * 740_000
    kept = letter(value=value)
    assert kept.value == value
    assert kept.detail == WHY.detail
    headers: list[tuple[str, bytes | None]] = [(str(n), None) for n in range(MAX_HEADERS)]
    assert len(letter(headers=headers).headers) == MAX_HEADERS


@pytest.mark.parametrize(
    ("timestamp_ms", "year"), [(-1, 1970), (-(2**63), 1970), (2**63 - 1, 5138), (1_769_868_451_250, 2026)]
)
def test_any_time_a_broker_can_hold_is_written(timestamp_ms: int, year: int) -> None:
    assert letter(timestamp_ms=timestamp_ms).timestamp.year == year


def test_the_time_is_the_brokers_to_the_millisecond() -> None:
    assert letter().timestamp == datetime(2026, 1, 31, 14, 7, 31, 250_000, tzinfo=UTC)


@settings(deadline=None)
@given(
    key=st.none() | st.binary(max_size=9),
    value=st.none() | st.binary(max_size=9),
    timestamp_ms=st.integers(0, 10**12),
)
def test_a_digest_tells_letters_apart_by_time_key_and_value(
    key: bytes | None, value: bytes | None, timestamp_ms: int
) -> None:
    digest = letter(key, value, None, timestamp_ms).digest
    assert digest == letter(key, value, [("h", b"v")], timestamp_ms).digest
    others = [
        letter(key, value, None, timestamp_ms + 1),
        letter((key or b"") + b"x", value, None, timestamp_ms),
        letter(key, (value or b"") + b"x", None, timestamp_ms),
        letter(value, key, None, timestamp_ms) if key != value else letter(b"?", b"?", None, timestamp_ms),
    ]
    assert digest not in {other.digest for other in others}


def test_the_key_of_a_dead_letter_is_its_origin() -> None:
    assert letter().record_key == b"tidegate.cost-events/3/7"
    assert str(letter().origin) == "tidegate.cost-events/3/7"
