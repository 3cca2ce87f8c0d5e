"""Times and amounts in their commonest spellings, read without a detour; what is odd is read by `schemas`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import modf
from typing import Final

from pydantic_core import PydanticCustomError

from schemas.base import MAX_EPOCH_SECONDS, parse_timestamp
from schemas.money import NANOS_PER_USD, decimal_usd, nanos

_MAX_KNOWN: Final = 4_096
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_seconds: Final[dict[str, int]] = {}
"""`2026-01-31T14:07:31` to epoch microseconds: events of one second come together."""
_rests: Final[dict[str, int]] = {}
"""`.250Z` to microseconds: what stands behind the second, the distance from UTC included."""
_UTC: Final = ("Z", "+00:00")
_NEAR: Final = 4e9  # of times before the year 2096 a microsecond is four steps of a float, or more


def since_epoch(instant: datetime) -> int:
    """Microseconds since 1970 in UTC."""
    return (instant - _EPOCH) // _MICROSECOND


def micros_of(spelt: str | float) -> int:
    """Epoch microseconds, as `schemas.base.parse_timestamp` reads them. Raises ValueError where that refuses."""
    if isinstance(spelt, str):
        second, rest = _seconds.get(spelt[:19]), _rests.get(spelt[19:])
        if second is not None and rest is not None:
            return second + rest
        return _first_met(spelt, second)
    return _micros(spelt)


def _micros(spelt: float) -> int:
    if not 0 <= spelt <= MAX_EPOCH_SECONDS:
        raise ValueError
    if spelt <= _NEAR:
        micros = spelt * 1e6
        nearest = int(micros + 0.5)
        # The product errs by an eighth at most, so this far from the middle both ways round the same.
        if -0.25 < micros - nearest < 0.25:
            return nearest
    part, whole = modf(spelt)
    return int(whole) * 1_000_000 + round(part * 1e6)  # as datetime.fromtimestamp rounds


def _first_met(spelt: str, second: int | None) -> int:
    digits = spelt[20:26]
    if (
        second is not None
        and spelt[19:20] == "."
        and spelt[26:] in _UTC
        and digits.isascii()
        and digits.isdigit()
    ):
        return second + int(digits)  # too many to remember
    try:
        instant = parse_timestamp(spelt)
    except PydanticCustomError as error:
        raise ValueError from error
    at = since_epoch(instant)
    if 1971 <= instant.year <= 9000:  # so that no distance from UTC leaves the calendar
        second = since_epoch(parse_timestamp(spelt[:19] + "Z"))
        if len(_seconds) >= _MAX_KNOWN:
            _seconds.clear()
        _seconds[spelt[:19]] = second
        if len(_rests) < _MAX_KNOWN:
            _rests[spelt[19:]] = at - second
    return at


_POWERS: Final[tuple[int, ...]] = tuple(10 ** (9 - digits) for digits in range(10))


def nanos_of(spelt: str | float) -> int:
    """Nano-dollars, as `schemas.money` reads them. Raises ValueError or TypeError where that refuses."""
    if isinstance(spelt, str):
        whole, _, part = spelt.partition(".")
        # Six digits and nine decimals: below the greatest amount and without rounding.
        if len(whole) <= 6 and len(part) <= 9 and whole.isdigit() and part.isdigit() and spelt.isascii():
            return int(whole) * NANOS_PER_USD + int(part) * _POWERS[len(part)]
        return nanos(decimal_usd(spelt))
    nearest = _nanos(spelt)
    return nearest if nearest >= 0 else nanos(decimal_usd(spelt))


def _nanos(spelt: float) -> int:
    """-1 where it is too near the middle of two."""
    if 0 <= spelt <= 1_000:
        exact = spelt * 1e9
        nearest = int(exact + 0.5)
        # The product errs by less than 0.001, so this far from the middle the decimals round the same way.
        if -0.25 < exact - nearest < 0.25:
            return nearest
    return -1
