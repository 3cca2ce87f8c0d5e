"""Amounts and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.detect.words import clock, dollars, listed, name, number, per_hour, percent, times


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "$0"),
        (1, "$0.000000001"),
        (42_000, "$0.000042"),
        (3_000_000, "$0.003"),
        (4_200_000, "$0.0042"),
        (99_600_000, "$0.10"),
        (420_000_000, "$0.42"),
        (3_100_000_000, "$3.10"),
        (9_994_000_000, "$9.99"),
        (9_996_000_000, "$10"),
        (96_400_000_000, "$96"),
        (999_400_000_000, "$999"),
        (999_600_000_000, "$1k"),
        (1_234_000_000_000, "$1.2k"),
        (9_960_000_000_000, "$10k"),
        (999_600_000_000_000, "$1M"),
        (34_000_000_000_000_000, "$34M"),
        (2_000_000_000_000_000_000, "$2B"),
        (-12_500_000_000, "-$12"),
        (-1_500_000, "-$0.0015"),
    ],
)
def test_dollars_have_the_digits_that_matter(nanos: int, text: str) -> None:
    assert dollars(nanos) == text


UNITS = {"k": 1e3, "M": 1e6, "B": 1e9}


@given(st.integers(-(2**63), 2**63))
def test_dollars_are_short_and_within_six_percent(nanos: int) -> None:
    text = dollars(nanos)
    assert len(text) <= 14
    digits = text.replace("$", "").replace(",", "")
    unit = UNITS.get(digits[-1], 1.0)
    value = float(digits.rstrip("kMB")) * unit
    assert value == pytest.approx(nanos / 1e9, rel=0.06, abs=1e-9)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_number_is_short(value: float) -> None:
    assert 1 <= len(number(value)) <= 10


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.00412, "0.0041"),
        (3.0, "3"),
        (3.14, "3.1"),
        (9.96, "10"),
        (41.2, "41"),
        (1_204.0, "1,204"),
        (2_300_000.0, "2.3M"),
        (-3.14, "-3.1"),
        (1e30, "1e+30"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_rates_ratios_and_shares() -> None:
    assert per_hour(1e9) == "$3.6k/h"
    assert [times(r) for r in (1.04, 4.96, 9.2, 999.4, 5e9)] == [
        "1.0×",
        "5×",
        "9×",
        "999×",
        "more than 1,000×",
    ]
    assert [percent(s) for s in (0.0, 0.001, 0.126, 4.4)] == ["0 %", "under 1 %", "13 %", "440 %"]


def test_a_time_of_another_day_says_which() -> None:
    at = datetime(2026, 1, 31, 23, 58, tzinfo=UTC).timestamp()
    assert clock(at, at + 60) == "23:58 UTC"
    assert clock(at, at + 600) == "23:58 UTC on Jan 31"


def test_names_are_not_longer_than_one_can_read() -> None:
    assert len(name("x" * 200)) == 80
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c", "d"]) == "a, b and 2 more"
