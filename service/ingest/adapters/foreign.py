"""Reading the fields of records that somebody else defined.

Two rules. What decides money is read or refused, with its path in the foreign record. What only names it
(team, workflow, user) is read or left out: money is never refused for want of a label.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from pydantic_core import PydanticCustomError

from schemas.base import MAX_LABEL, MAX_TOKENS, format_timestamp, parse_timestamp
from schemas.money import decimal_usd
from schemas.reasons import Reason, Refused
from service.ingest.service_class import service_class

UNKNOWN: Final = "unknown"
"""Provider or model where a format does not oblige its writers to name one. Counted, and unpriced."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_DIGITS: Final = re.compile(r"\d{1,19}", re.ASCII)
_DIGEST: Final = 32
_NOTHING: Final[Mapping[str, Any]] = {}


def part(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The object below these keys, or an empty one if anything else lies there."""
    here = document
    for key in keys:
        below = here.get(key)
        # Asking for the very type first: the records are parsed JSON, and an abstract class takes its time.
        if type(below) is not dict and not isinstance(below, Mapping):
            return _NOTHING
        here = below
    return here


def label(value: object) -> str | None:
    """A name or id within the bounds of `schemas.base.Label`; None when there is nothing usable.

    Control characters become spaces. What is too long keeps its beginning and gets a digest of the whole, so
    that two long names stay two names. Whole numbers are ids that somebody did not quote.
    """
    if type(value) is int:
        value = str(value) if abs(value) < 10**19 else None
    if not isinstance(value, str):
        return None
    if value.isascii() and value.isprintable() and len(value) <= MAX_LABEL:
        return value.strip(" ") or None
    text = _CONTROL.sub(" ", value).strip()
    return _bounded(text, value) if text else None


def first_label(*values: object) -> str | None:
    """The first of the values that makes a label."""
    for value in values:
        if value is not None and (text := label(value)) is not None:
            return text
    return None


def required_label(value: object, path: str) -> str:
    """A label that the event cannot do without. Raises `Refused`: `missing_field`, `wrong_type`, `too_short`."""
    if value is None:
        raise Refused(Reason.MISSING_FIELD, "the event needs it", path)
    text = label(value)
    if text is None:
        reason = Reason.TOO_SHORT if isinstance(value, str) else Reason.WRONG_TYPE
        raise Refused(reason, "expected a name or an id", path)
    return text


def event_id(text: str) -> str:
    """The text itself where it can be an id, else a readable beginning and a digest of all of it."""
    cleaned = _CONTROL.sub(" ", text).strip()
    return _bounded(cleaned, text, changed=cleaned != text)


def digest(text: str) -> str:
    """SHA-256, hexadecimal. Works on what is not UTF-8 too."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def pseudonym(value: object) -> str | None:
    """A label for a person: what looks like an address or a full name is replaced by its digest."""
    text = label(value)
    if text is None or not ("@" in text or " " in text):
        return text
    return "sha256:" + digest(text)[:_DIGEST]


def key_name(value: object) -> str | None:
    """A label for an API key: what looks like the key itself is replaced by its SHA-256.

    That is how LiteLLM hashes its virtual keys, so that a leaked key and its hash are the same one here.
    """
    text = label(value)
    if text is None or not text.startswith(("sk-", "sk_", "Bearer ", "AIza")):
        return text
    return digest(text.removeprefix("Bearer "))


def tier(value: object) -> str | None:
    """A class of service as pricing names it; None for the standard one."""
    return service_class(label(value))


def count(value: object, path: str) -> int | None:
    """Tokens: a whole number, also as a float without a fraction or as a string of digits; None for null.

    Raises
    ------
    Refused
        `wrong_type`, `negative` or `out_of_range`.
    """
    if value is None:
        return None
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise Refused(Reason.WRONG_TYPE, "expected a whole number", path)
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(Reason.WRONG_TYPE, "expected a whole number", path)
    if value < 0:
        raise Refused(Reason.NEGATIVE, "below zero", path)
    if value > MAX_TOKENS:
        raise Refused(Reason.OUT_OF_RANGE, f"more than {MAX_TOKENS:,} tokens", path)
    return value


def dollars(value: object, path: str) -> Decimal | None:
    """A dollar amount, number or decimal string; None for null. Raises `Refused` as `schemas.money` does."""
    if value is None:
        return None
    try:
        return decimal_usd(value)
    except (TypeError, ValueError) as error:
        raise Refused(Reason(str(error)), "expected a dollar amount, 0 to 1,000,000", path) from None


def instant(value: object, path: str) -> datetime:
    """A time, RFC 3339 or epoch seconds. Raises `Refused`: `missing_field`, `bad_timestamp`, `wrong_type`."""
    if value is None:
        raise Refused(Reason.MISSING_FIELD, "an event needs a time", path)
    try:
        return parse_timestamp(value)
    except PydanticCustomError as error:
        raise Refused(Reason(error.type), error.message(), path) from None


def wholes(inputs: int, cache: int, output: int, reasoning: int, total: int | None = None) -> tuple[int, int]:
    """ALL input and ALL output, whether or not the writer counted the cache and the reasoning in.

    They were counted in, unless that is impossible (more cached than input) or contradicts the writer's own
    total. Anthropic's and Bedrock's raw `input_tokens` exclude cache reads and writes; Gemini's candidates
    exclude thoughts.

    Parameters
    ----------
    cache : int
        Tokens read from and written to the cache.
    total : int or None
        The writer's own sum of everything, if it gave one.

    Returns
    -------
    tuple of int
        Input, output.
    """
    readings = [
        (whole_in, whole_out)
        for whole_in in (inputs, inputs + cache)
        for whole_out in (output, output + reasoning)
        if whole_in >= cache and whole_out >= reasoning
    ]
    return next((reading for reading in readings if sum(reading) == total), readings[0])


def event(**fields: Any) -> dict[str, Any]:
    """The wire form of an event: what is None left out, and so are zero tokens and what is the default."""
    document: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None or value == [] or (name.endswith("_tokens") and value == 0):
            continue
        if isinstance(value, datetime):
            value = format_timestamp(value)
        elif isinstance(value, Decimal):
            value = format(value, "f")
        document[name] = value
    return document


def _bounded(text: str, original: str, *, changed: bool = False) -> str:
    if len(text) <= MAX_LABEL and not changed:
        return text
    return f"{text[: MAX_LABEL - _DIGEST - 1]}~{digest(original)[:_DIGEST]}"
