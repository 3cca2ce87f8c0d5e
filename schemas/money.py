"""Money as integer nano-dollars (1e-9 USD): sums are exact and their order does not matter.

A single call can cost less than a micro-dollar, and a float sum of a million of them depends on the order
in which they arrive; two replicas would disagree about the bill. An int never does.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

NANOS_PER_USD = 1_000_000_000
MAX_USD = Decimal(1_000_000)
"""The dearest single event that is believed. A call above this is a gateway's unit mistake, not a bill."""
MAX_DIGITS = 40
"""Longest decimal string that is read as an amount: bounds the work that a hostile `cost_usd` can ask for."""

_PLAIN: Final = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_FINEST: Final = Decimal("1e-30")
_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_ONE = Decimal(1)
_NANOS = Decimal(NANOS_PER_USD)


def decimal_usd(value: object) -> Decimal:
    """Read a dollar amount that a gateway wrote as a decimal string or as a JSON number.

    Parameters
    ----------
    value : str, int, float or Decimal
        A float is read by its shortest decimal form, which is what the gateway printed.

    Returns
    -------
    Decimal
        Between 0 and `MAX_USD`, of at most 30 decimals (finer ones are rounded half to even), so that it can
        be written in fewer than `MAX_DIGITS` characters.

    Raises
    ------
    TypeError
        Not a number or string (a bool is neither).
    ValueError
        Not finite, negative, above `MAX_USD`, or not a plain decimal; `args[0]` is the name of the reason.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise TypeError("wrong_type")
    text = value if isinstance(value, str) else "0" if value == 0 else str(value)
    if len(text) > MAX_DIGITS:
        raise ValueError("too_long")
    if not _PLAIN.fullmatch(text):  # Decimal() would read "١", "1_0" and " 1"
        raise ValueError(_why_no_amount(text))
    whole, _, exponent = text.lower().partition("e")
    if exponent and not len(whole) - 31 <= (power := int(exponent)) <= 0:
        return _scaled(Decimal(whole), power)
    amount = Decimal(text)
    if amount > MAX_USD:
        raise ValueError("out_of_range")
    return amount if len(text) <= 31 else _CONTEXT.quantize(amount, _FINEST)


def _scaled(significand: Decimal, exponent: int) -> Decimal:
    """The significand times ten to the exponent, written out: `1e-999999999` must not become a gigabyte."""
    magnitude = significand.adjusted() + exponent
    if not significand or magnitude < -31:
        return Decimal(0)
    if magnitude > 6 or (amount := significand.scaleb(exponent, _CONTEXT)) > MAX_USD:
        raise ValueError("out_of_range")
    return Decimal(format(_CONTEXT.quantize(amount, _FINEST).normalize(_CONTEXT), "f"))


def _why_no_amount(text: str) -> str:
    if text.lower().lstrip("+-") in ("nan", "snan", "inf", "infinity"):
        return "not_finite"
    return "negative" if text.startswith("-") and _PLAIN.fullmatch(text, 1) else "invalid_amount"


def nanos(usd: Decimal) -> int:
    """Dollars to nano-dollars, rounded half to even."""
    return int(_CONTEXT.quantize(_CONTEXT.multiply(usd, _NANOS), _ONE))


def usd(amount_nanos: int) -> Decimal:
    """Nano-dollars to an exact decimal number of dollars."""
    return _CONTEXT.divide(Decimal(amount_nanos), _NANOS)


def format_usd(amount_nanos: int) -> str:
    """Nano-dollars for people: `$1,234.56`, and more digits below a dollar (`$0.0042`)."""
    amount = usd(abs(amount_nanos))
    sign = "-" if amount_nanos < 0 else ""
    if amount >= 1 or amount == 0:
        return f"{sign}${amount:,.2f}"
    if amount >= Decimal("0.01"):
        return f"{sign}${amount:.3f}"
    return f"{sign}${amount:.2g}" if amount >= Decimal("0.000001") else f"{sign}${amount:.9f}"
