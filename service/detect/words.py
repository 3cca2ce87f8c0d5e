"""Amounts, times and names as a tired person reads them: two or three digits that matter, and no more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from schemas.money import NANOS_PER_USD

_UNITS: Final = ((1e9, "B"), (1e6, "M"), (1e3, "k"))
_NAME: Final = 80
"""Characters of a name in a sentence. The record has all of it."""


def dollars(nanos: int) -> str:
    """Nano-dollars as `$0.003`, `$0.42`, `$3.10`, `$96`, `$1.2k`, `$34M`. The record has them exactly."""
    amount = abs(nanos) / NANOS_PER_USD
    return ("-$" if nanos < 0 else "$") + _amount(amount)


def _amount(amount: float) -> str:
    if amount >= 999.5:
        return _large(amount)
    if amount >= 9.995:
        return f"{amount:.0f}"
    if amount >= 0.0995:
        return f"{amount:.2f}"
    return f"{Decimal(f'{amount:.2g}'):f}" if amount > 0 else "0"


def per_hour(rate: float) -> str:
    """Nano-dollars per second as dollars an hour."""
    return f"{dollars(round(rate * 3_600))}/h"


def times(ratio: float) -> str:
    """`1.4×`, `9×`, `more than 1,000×`."""
    if ratio >= 1_000:
        return "more than 1,000×"
    return f"{ratio:.0f}×" if round(ratio, 1) >= 5 else f"{ratio:.1f}×"


def percent(share: float) -> str:
    """`4 %`; `under 1 %` for what is little, but not nothing."""
    return "under 1 %" if 0 < share < 0.005 else f"{100 * share:,.0f} %"


def number(value: float) -> str:
    """`0.004`, `3.1`, `41`, `1,204`, `2.3M`."""
    if value == 0 or not math.isfinite(value):
        return "0"
    size, sign = abs(value), "-" if value < 0 else ""
    if size >= 1e12 or size < 1e-6:
        return f"{value:.2g}"
    if size >= 999_500:
        return sign + _large(size)
    return f"{value:,.0f}" if size >= 9.95 else sign + f"{Decimal(f'{size:.2g}'):f}"


def _large(size: float) -> str:
    for unit, letter in _UNITS:
        scaled = size / unit
        if scaled >= 0.9995:
            return f"{scaled:.1f}".removesuffix(".0") + letter if scaled < 9.95 else f"{scaled:,.0f}{letter}"
    return f"{size:,.0f}"


def clock(at: float, now: float) -> str:
    """`14:07 UTC`, and with its day if that is not today's: `14:07 UTC on Jan 3`. Both in epoch seconds."""
    when, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    day = "" if when.date() == today.date() else f" on {when:%b} {when.day}"
    return f"{when:%H:%M} UTC{day}"


def name(text: str) -> str:
    """A name from outside, not too long to read."""
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"


def listed(names: Sequence[str]) -> str:
    """`acme`, `acme and globex`, `acme, globex and 2 more`."""
    shown = [name(n) for n in names[:2]]
    return f"{', '.join(shown)} and {len(names) - 2} more" if len(names) > 2 else " and ".join(shown)
