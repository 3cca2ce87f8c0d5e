"""Every reason to refuse a record, said once: the dead letter carries it and the metric is labelled by it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import ValidationError


class Reason(StrEnum):
    """Why a record was refused. Values are stable: dashboards and gateways match on them."""

    EMPTY = "empty"
    """No value (a tombstone) on a topic of facts."""
    TOO_LARGE = "too_large"
    """More bytes than the record's stated bound."""
    INVALID_UTF8 = "invalid_utf8"
    INVALID_JSON = "invalid_json"
    """Not JSON as RFC 8259 has it; NaN and Infinity are not JSON."""
    TOO_DEEP = "too_deep"
    """Nested further than any record of the contract is."""
    DUPLICATE_KEY = "duplicate_key"
    """One object names a key twice: two readers would see two different events."""
    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_SCHEMA_VERSION = "unknown_schema_version"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    """Only where a typo would change behaviour (the config topic); events may carry anything."""
    WRONG_TYPE = "wrong_type"
    INVALID_VALUE = "invalid_value"
    """Right type, but none of the allowed values."""
    INVALID_AMOUNT = "invalid_amount"
    """A dollar amount that is not a plain decimal number."""
    BAD_TIMESTAMP = "bad_timestamp"
    """Neither RFC 3339 with an offset nor epoch seconds."""
    IN_THE_FUTURE = "in_the_future"
    """Later than the broker's own time by more than the allowance."""
    NOT_FINITE = "not_finite"
    NEGATIVE = "negative"
    OUT_OF_RANGE = "out_of_range"
    TOO_LONG = "too_long"
    """A string or list beyond its stated bound."""
    TOO_SHORT = "too_short"
    CONTROL_CHARACTERS = "control_characters"
    CACHED_EXCEEDS_INPUT = "cached_exceeds_input"
    """`input_tokens` counts all input, cache reads and writes included."""
    REASONING_EXCEEDS_OUTPUT = "reasoning_exceeds_output"
    """`output_tokens` counts all output, reasoning included."""
    CHARGE_WITHOUT_COST = "charge_without_cost"
    """A charge that is not a call has no list price: the gateway must say what it cost."""
    CODEC = "codec"
    """The broker's record batch could not be decompressed or decoded."""


class Refused(Exception):
    """A record that cannot be accepted, with the reason and where in the record it lies.

    Attributes
    ----------
    reason : Reason
    path : str
        Dotted path of the field, empty for the whole record.
    detail : str
        One sentence for people; never holds the refused value itself (it may be a secret).
    """

    def __init__(self, reason: Reason, detail: str, path: str = "") -> None:
        super().__init__(f"{path}: {detail}" if path else detail)
        self.reason = reason
        self.path = path
        self.detail = detail


_BY_PYDANTIC_TYPE: Final = {
    "missing": Reason.MISSING_FIELD,
    "extra_forbidden": Reason.UNKNOWN_FIELD,
    "literal_error": Reason.INVALID_VALUE,
    "enum": Reason.INVALID_VALUE,
    "union_tag_invalid": Reason.INVALID_VALUE,
    "union_tag_not_found": Reason.MISSING_FIELD,
    "greater_than": Reason.OUT_OF_RANGE,
    "greater_than_equal": Reason.OUT_OF_RANGE,
    "less_than": Reason.OUT_OF_RANGE,
    "less_than_equal": Reason.OUT_OF_RANGE,
    "finite_number": Reason.NOT_FINITE,
    "string_too_long": Reason.TOO_LONG,
    "too_long": Reason.TOO_LONG,
    "string_too_short": Reason.TOO_SHORT,
    "too_short": Reason.TOO_SHORT,
    "string_pattern_mismatch": Reason.CONTROL_CHARACTERS,
    "value_error": Reason.INVALID_VALUE,
    "assertion_error": Reason.INVALID_VALUE,
}
_OWN: Final = {reason.value: reason for reason in Reason}


def refusal(error: ValidationError) -> Refused:
    """The first complaint of a pydantic error as a `Refused`, whatever the order pydantic found them in.

    Every pydantic error type that is not named here is about a wrong JSON type.
    """
    first = min(error.errors(include_url=False, include_input=True), key=lambda e: [str(p) for p in e["loc"]])
    kind = first["type"]
    reason = _OWN.get(kind) or _BY_PYDANTIC_TYPE.get(kind, Reason.WRONG_TYPE)
    value = first.get("input")
    if kind == "greater_than_equal" and isinstance(value, (int, float)) and value < 0:
        reason = Reason.NEGATIVE
    path = ".".join(str(part) for part in first["loc"])
    if path == "schema_version" and reason in (Reason.INVALID_VALUE, Reason.WRONG_TYPE):
        reason = Reason.UNKNOWN_SCHEMA_VERSION
    return Refused(reason, first["msg"], path)
