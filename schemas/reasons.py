"""Every reason to refuse a record, said once: the dead letter carries it and the metric is labelled by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from pydantic import ValidationError


class Reason(StrEnum):
    """Why a record was refused. Values are stable: dashboards and gateways match on them."""

    EMPTY = "empty"
    """No value (a tombstone) on a topic of facts."""
    TOO_LARGE = "too_large"
    """More bytes than the record's stated bound."""
    INVALID_UTF8 = "invalid_utf8"
    """Some byte is not UTF-8 (Latin-1, UTF-16, half a character)."""
    INVALID_JSON = "invalid_json"
    """Not JSON as RFC 8259 has it; NaN and Infinity are not JSON."""
    TOO_DEEP = "too_deep"
    """Nested further than any record of the contract is."""
    DUPLICATE_KEY = "duplicate_key"
    """One object names a key twice: two readers would see two different events."""
    NOT_AN_OBJECT = "not_an_object"
    """JSON, but a list, a string, a number or null at the top. One record is one event."""
    UNKNOWN_SCHEMA_VERSION = "unknown_schema_version"
    """`schema_version` is there and is not a version that this reader knows."""
    MISSING_FIELD = "missing_field"
    """A required field is not there."""
    UNKNOWN_FIELD = "unknown_field"
    """Only where a typo would change behaviour (the config topic); events may carry anything."""
    WRONG_TYPE = "wrong_type"
    """Another JSON type than the field's: neither `"3"` nor `3.0` nor `true` is an integer, and null is not 0."""
    INVALID_VALUE = "invalid_value"
    """Right type, but none of the allowed values."""
    INVALID_AMOUNT = "invalid_amount"
    """A dollar amount that is not a plain decimal number."""
    BAD_TIMESTAMP = "bad_timestamp"
    """Neither RFC 3339 with an offset nor epoch seconds."""
    IN_THE_FUTURE = "in_the_future"
    """Later than the broker's own time by more than the allowance."""
    NOT_FINITE = "not_finite"
    """NaN or infinity where a string may name one (`"cost_usd": "NaN"`)."""
    NEGATIVE = "negative"
    """Below zero, where nothing can be."""
    OUT_OF_RANGE = "out_of_range"
    """Beyond the field's stated bounds; or an end that is not after its start."""
    TOO_LONG = "too_long"
    """A string, list or amount beyond its stated length."""
    TOO_SHORT = "too_short"
    """An empty string or list where something is needed."""
    CONTROL_CHARACTERS = "control_characters"
    """A name with a control character (U+0000 to U+001F, U+007F)."""
    CACHED_EXCEEDS_INPUT = "cached_exceeds_input"
    """`input_tokens` counts all input, cache reads and writes included."""
    REASONING_EXCEEDS_OUTPUT = "reasoning_exceeds_output"
    """`output_tokens` counts all output, reasoning included."""
    UNSIGNED = "unsigned"
    """Only on the config topic, where keys are set: no signature, or none that can be read."""
    BAD_SIGNATURE = "bad_signature"
    """… a signature by a key that is not known, of something else, or older than what it would replace."""
    CHARGE_WITHOUT_COST = "charge_without_cost"
    """A charge that is not a call has no list price: the gateway must say what it cost."""


MAX_PATH: Final = 200
MAX_DETAIL: Final = 500
"""Characters. A path can hold a field's name as somebody else wrote it, of any length."""


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
        self.reason = reason
        self.path = path if len(path) <= MAX_PATH else path[: MAX_PATH - 1] + "…"
        self.detail = detail if len(detail) <= MAX_DETAIL else detail[: MAX_DETAIL - 1] + "…"
        super().__init__(f"{self.path}: {self.detail}" if path else self.detail)

    def at_rest(self) -> Refused:
        """The same to be kept: an exception that was raised holds on to every frame it came through."""
        return Refused(self.reason, self.detail, self.path)


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


def refusal(error: ValidationError, document: Mapping[str, Any]) -> Refused:
    """The first complaint of a pydantic error about a document, whatever the order pydantic found them in.

    An unknown version comes before all others: it explains them. Every pydantic error type that is not named
    here is about a wrong JSON type.
    """
    first = min(
        error.errors(include_url=False),
        key=lambda e: (e["loc"][-1:] != ("schema_version",), [str(part) for part in e["loc"]]),
    )
    kind = first["type"]
    reason = _OWN.get(kind) or _BY_PYDANTIC_TYPE.get(kind, Reason.WRONG_TYPE)
    path, detail, value = _path(first["loc"], document, kind), first["msg"], first["input"]
    if kind in ("greater_than", "greater_than_equal") and value < 0:
        reason = Reason.NEGATIVE
    if kind in ("union_tag_invalid", "union_tag_not_found"):  # whose message holds the value
        tag = first["ctx"]["discriminator"].strip("'")
        path, detail = (
            f"{path}.{tag}" if path else tag,
            "expected " + first["ctx"].get("expected_tags", "a tag"),
        )
    if path.endswith("schema_version") and reason is not Reason.UNKNOWN_FIELD:
        reason, detail = Reason.UNKNOWN_SCHEMA_VERSION, "this reader knows version 1"
    return Refused(reason, detail, path)


def _path(loc: Sequence[str | int], document: object, kind: str) -> str:
    """Where in the document: pydantic's own location also names the arms of unions, which no document has."""
    found: list[str] = []
    here: Any = document
    for depth, part in enumerate(loc, start=1):
        if part in here if isinstance(here, Mapping) else isinstance(here, list) and part in range(len(here)):
            here = here[part]
        elif not (kind == "missing" and depth == len(loc)):
            continue
        found.append(str(part))
    return ".".join(found)
