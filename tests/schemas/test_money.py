"""Money: exact sums in any order, amounts as gateways write them, and dollars as people read them."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.money import MAX_DIGITS, MAX_USD, NANOS_PER_USD, decimal_usd, format_usd, nanos, usd
from tests.schemas.strategies import amounts


@given(costs=st.lists(amounts(), max_size=50), seed=st.integers())
def test_the_sum_does_not_depend_on_the_order(costs: list[Decimal], seed: int) -> None:
    shuffled = list(costs)
    random.Random(seed).shuffle(shuffled)
    assert sum(map(nanos, shuffled)) == sum(map(nanos, costs))


def test_a_million_small_costs_lose_nothing() -> None:
    """The float sum of the same is off, which is why money is never a float here."""
    cost = decimal_usd(0.0000001)
    assert nanos(cost) * 1_000_000 == NANOS_PER_USD // 10
    assert sum([0.0000001] * 1_000_000) != 0.1


@given(amounts())
def test_an_amount_is_rounded_half_to_even_once(amount: Decimal) -> None:
    exact = Fraction(amount) * NANOS_PER_USD
    assert nanos(amount) == round(exact)
    assert 0 <= nanos(amount) <= MAX_USD * NANOS_PER_USD


@given(st.integers(-(2**63), 2**63))
def test_nanos_survive_being_dollars(amount: int) -> None:
    assert nanos(usd(amount)) == amount


@given(st.floats(0, 1e6))
def test_a_float_is_read_as_it_was_printed(cost: float) -> None:
    amount = decimal_usd(cost)
    assert abs(Fraction(amount) - Fraction(repr(cost) if cost else "0")) <= Fraction(1, 2 * 10**30)
    assert decimal_usd(repr(cost) if cost else "0") == amount


@given(
    whole=st.integers(0, 10**9),
    decimals=st.text("0123456789", max_size=36),
    exponent=st.none() | st.integers(-(10**12), 10**12) | st.integers(-50, 10),
)
def test_an_amount_is_always_short_when_written_out(whole: int, decimals: str, exponent: int | None) -> None:
    text = f"{whole}{'.' if decimals else ''}{decimals}{'' if exponent is None else f'e{exponent}'}"
    try:
        amount = decimal_usd(text)
    except ValueError as error:
        assert error.args[0] in ("too_long", "out_of_range")  # noqa: PT017
        return
    written = format(amount, "f")
    assert len(written) <= MAX_DIGITS
    assert decimal_usd(written) == amount
    if exponent is None or abs(exponent) < 60:
        assert abs(Fraction(text) - Fraction(amount)) <= Fraction(1, 2 * 10**30)


@given(st.text(max_size=12))
def test_any_text_is_an_amount_or_a_reason(text: str) -> None:
    try:
        amount = decimal_usd(text)
    except ValueError as error:
        assert error.args[0] in ("invalid_amount", "negative", "not_finite", "out_of_range")  # noqa: PT017
    else:
        assert 0 <= amount <= MAX_USD


@pytest.mark.parametrize("value", [True, None, [], {}, b"1", 1j])
def test_what_is_no_number_is_no_amount(value: object) -> None:
    with pytest.raises(TypeError, match="wrong_type"):
        decimal_usd(value)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (-1, "-$0.000000001"),
        (999, "$0.000000999"),
        (1_234, "$0.0000012"),
        (4_200_000, "$0.0042"),
        (12_345_678, "$0.012"),
        (203_000_000, "$0.203"),
        (999_499_999, "$0.999"),
        (1_000_000_000, "$1.00"),
        (-1_015_000_000, "-$1.02"),
        (12_345_678_900_000, "$12,345.68"),
        (-2_310_000_000_000, "-$2,310.00"),
        (2**63, "$9,223,372,036.85"),
    ],
)
def test_dollars_for_people(amount: int, shown: str) -> None:
    assert format_usd(amount) == shown


@given(st.integers(-(10**18), 10**18))
def test_dollars_for_people_are_close_and_never_in_e_notation(amount: int) -> None:
    shown = format_usd(amount)
    assert "e" not in shown.lower()
    assert shown.startswith("-$" if amount < 0 else "$")
    told = nanos(Decimal(shown.replace("$", "").replace(",", "").lstrip("-")))
    assert abs(told - abs(amount)) <= max(abs(amount) // 20, 5_000_000 if abs(amount) >= NANOS_PER_USD else 0)
