"""Bytes to a record, refusing with a reason what other JSON readers let through or disagree about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from schemas.reasons import Reason, Refused, refusal

MAX_BYTES: Final = 65_536
"""Largest event or control record, bytes. A cost event carries no prompt and no answer: it is small.

Records that Tidegate itself writes may be larger: each model says so in `max_bytes`.
"""
MAX_DEPTH: Final = 12
"""Deepest nesting of any record of the contract is 6; the rest is room for a gateway's own fields."""

_M = TypeVar("_M", bound=BaseModel)


def decode(model: type[_M], data: bytes | None, *, max_bytes: int | None = None) -> _M:
    """One record from the wire, of at most `max_bytes` or else the model's own bound (`Record.max_bytes`).

    Raises
    ------
    Refused
        With the reason, the field's path and a sentence.
    """
    if max_bytes is None:
        max_bytes = getattr(model, "max_bytes", MAX_BYTES)
    return validate(model, parse_object(data, max_bytes=max_bytes))


def validate(model: type[_M], document: Mapping[str, Any]) -> _M:
    """One record from a parsed JSON object. Raises `Refused`."""
    try:
        record: _M = model.__pydantic_validator__.validate_python(document)
    except ValidationError as error:
        raise refusal(error, document) from None
    return record


def parse_object(
    data: bytes | None, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH
) -> dict[str, Any]:
    """Strict JSON (RFC 8259): one object, UTF-8, finite numbers, no key twice, bounded size and depth.

    Raises
    ------
    Refused
        `empty`, `too_large`, `invalid_utf8`, `invalid_json`, `too_deep`, `duplicate_key` or `not_an_object`.
    """
    if not data:
        raise Refused(Reason.EMPTY, "the record has no value")
    if len(data) > max_bytes:
        raise Refused(Reason.TOO_LARGE, f"{len(data)} bytes, at most {max_bytes} are read")
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _why_not_json(data, error) from None
    if type(document) is not dict:
        raise Refused(Reason.NOT_AN_OBJECT, "expected a JSON object")
    if data.count(b"{") == 1 and data.count(b"[") < max_depth:
        keys = len(document)  # no object in it, nor lists enough to be deep: most events need no walk
    else:
        keys, depth = _measure(document)
        if depth > max_depth:
            raise _too_deep(max_depth)
    if not _surely_unique(data, keys):
        _refuse_repeated_keys(data, max_depth)
    return document


def _surely_unique(data: bytes, keys: int) -> bool:
    # Each key is `"…":` in compact JSON, so as many `":` as distinct keys means that no key came twice (a
    # string holding `":` only makes the count larger). Space before a colon could hide a key from the count,
    # so anything that may have it goes the slow way. Single bytes are found at memchr's speed.
    if data.count(b'":') != keys:
        return False
    if len(data.translate(None, b" \t\n\r")) == len(data):
        return True
    return b"\n" not in data and b"\t" not in data and b"\r" not in data and b" :" not in data


def _refuse_repeated_keys(data: bytes, max_depth: int) -> None:
    try:
        json.loads(data, object_pairs_hook=_unique_pairs)
    except RecursionError:  # the bomb lies under a key that comes again, so the walk did not see it
        raise _too_deep(max_depth) from None


def _too_deep(max_depth: int = MAX_DEPTH) -> Refused:
    return Refused(Reason.TOO_DEEP, f"nested deeper than {max_depth}")


def _measure(document: dict[str, Any]) -> tuple[int, int]:
    """Number of keys in all objects, and how deep they nest."""
    keys = len(document)
    depth = 1
    level: list[Any] = [v for v in document.values() if type(v) is dict or type(v) is list]
    while level:
        depth += 1
        below: list[Any] = []
        for node in level:
            if type(node) is dict:
                keys += len(node)
                below.extend(v for v in node.values() if type(v) is dict or type(v) is list)
            else:
                below.extend(v for v in node if type(v) is dict or type(v) is list)
        level = below
    return keys, depth


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Refused(Reason.DUPLICATE_KEY, "the key comes twice in one object", key[:100])
            seen.add(key)
    return found


def _why_not_json(data: bytes, error: orjson.JSONDecodeError) -> Refused:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as bad:
        return Refused(Reason.INVALID_UTF8, f"byte {bad.start} is not UTF-8")
    # orjson 3.13 says "depth limit exceeded", its elders "recursion limit reached".
    if any(word in str(error).lower() for word in ("recursion", "depth limit")):
        return _too_deep()
    return Refused(Reason.INVALID_JSON, f"not JSON at line {error.lineno} column {error.colno}")
