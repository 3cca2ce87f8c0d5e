"""Dead letters as lines of a file that a person edits, and back."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, NamedTuple

import orjson

from schemas.base import format_timestamp
from schemas.dead_letters import DeadLetter
from schemas.decode import parse_object
from schemas.reasons import Refused
from service.dead_letters.mend import LARGEST, unique
from service.dead_letters.selection import gateway_of, parse_origin
from service.errors import InvalidInput
from service.ingest.adapters import MAX_DEPTH


class Line(NamedTuple):
    """One line of an edited file: what is to be published in place of a dead letter's value."""

    origin: str
    value: bytes


def document(letter: DeadLetter) -> dict[str, Any]:
    """A letter for people and programs: why it was refused, and its value as readable as it can be made.

    The value is `event` if it is a JSON object as the contract has it, else `text` if it is UTF-8, else `base64`;
    none of them if there was no value, or it was too large to be kept.
    """
    found: dict[str, Any] = {
        "origin": str(letter.origin),
        "timestamp": format_timestamp(letter.timestamp),
        "reason": letter.reason.value,
        "path": letter.path,
        "detail": letter.detail,
        "gateway": gateway_of(letter.value),
        "key": None if letter.key is None else letter.key.decode("utf-8", "backslashreplace"),
    }
    return found | value_fields(letter.value)


def value_fields(value: bytes | None) -> dict[str, Any]:
    """The value under the name that says how it is written."""
    if value is None:
        return {}
    try:
        parse_object(value, max_bytes=LARGEST, max_depth=MAX_DEPTH)
    except Refused:
        pass
    else:
        # As it came, digits and order and all; without line ends, for it must stay one line.
        return {"event": orjson.Fragment(value.translate(bytes.maketrans(b"\r\n", b"  ")))}
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode("ascii")}


def parse_line(line: bytes, number: int, prefix: str) -> Line:
    """A line as `document` makes them, edited. Raises InvalidInput, which names the line."""
    where = f"line {number}"
    try:
        found: Any = orjson.loads(line)
        json.loads(line, object_pairs_hook=unique)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{where}: not JSON at column {error.colno}") from None
    except Refused as refused:
        raise InvalidInput(f"{where}: {refused}") from None
    if not isinstance(found, dict) or not isinstance(found.get("origin"), str):
        raise InvalidInput(f"{where}: expected an object with `origin`")
    origin = parse_origin(found["origin"], prefix)
    given = [name for name in ("event", "text", "base64") if name in found]
    if len(given) != 1:
        raise InvalidInput(
            f"{where}: give one of `event`, `text` and `base64`, not {' and '.join(given) or 'none'}"
        )
    value = found[given[0]]
    match given[0]:
        case "event" if isinstance(value, dict):
            return Line(origin, orjson.dumps(value))
        case "text" if isinstance(value, str):
            return Line(origin, value.encode())
        case "base64" if isinstance(value, str):
            try:
                return Line(origin, base64.b64decode(value, validate=True))
            except (binascii.Error, ValueError):
                raise InvalidInput(f"{where}: `base64` is none") from None
    raise InvalidInput(f"{where}: `{given[0]}` must be {'an object' if given[0] == 'event' else 'a string'}")
