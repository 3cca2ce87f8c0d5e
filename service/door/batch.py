"""From a body to events and verdicts. Pure: bytes in, records to publish and refusals out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import msgspec
import orjson

from schemas.base import MAX_LABEL
from schemas.decode import MAX_BYTES, decode
from schemas.events import UNATTRIBUTED, CostEvent
from schemas.reasons import Refused

Form = Literal["json", "ndjson"]

_SPACE: Final = b" \t\r\n"
_COMMAS: Final = 64
"""Per event, at most, in a JSON array: an event of every field has fewer. Bounds what a list of nothing costs."""
_ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])


class Malformed(Exception):
    """The body is not of the form it is said to be, or holds no event."""


class TooMany(Exception):
    """More events than one request may have."""


class Event(NamedTuple):
    """One event to publish: `value` is the very bytes that came."""

    line: int
    key: bytes
    value: bytes


class Rejection(NamedTuple):
    """Why one event is not valid, in the words of the dead letter it would have become."""

    line: int
    event_id: str | None
    reason: str
    path: str
    detail: str


def split(form: Form, body: bytes, max_events: int) -> Iterator[tuple[int, bytes]]:
    """Each event's bytes, without the white space around them, and its line (or place in an array) from 1 on.

    A JSON body is one event, or an array of events. Blank lines of NDJSON are passed over but counted, also
    against `max_events`.

    Raises
    ------
    Malformed
    TooMany
    """
    if form == "ndjson":
        found = _lines(body, max_events)
    elif (whole := body.strip(_SPACE))[:1] == b"[":
        found = _elements(whole, max_events)
    else:
        found = iter([(1, whole)] if whole else [])
    first = next(found, None)
    if first is None:
        raise Malformed("there is no event in the body")
    return _chained(first, found)


def _chained(first: tuple[int, bytes], rest: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    yield first
    yield from rest


def _lines(body: bytes, max_events: int) -> Iterator[tuple[int, bytes]]:
    if body.count(b"\n") + (not body.endswith(b"\n")) > max_events:
        raise TooMany(f"more than {max_events} lines")
    stripped = ((number, line.strip(_SPACE)) for number, line in enumerate(body.split(b"\n"), start=1))
    return ((number, line) for number, line in stripped if line)


def _elements(body: bytes, max_events: int) -> Iterator[tuple[int, bytes]]:
    if body.count(b",") > _COMMAS * max_events:
        raise TooMany(f"more than {max_events} events")
    try:
        elements = _ELEMENTS.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        why = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Malformed(f"not a JSON array: {why}") from None
    if len(elements) > max_events:
        raise TooMany(f"more than {max_events} events")
    return ((place, bytes(element)) for place, element in enumerate(elements, start=1))


def judge(line: int, value: bytes) -> Event | Rejection:
    """One event, by the same definition that ingest reads it with."""
    try:
        workflow = decode(CostEvent, value).workflow
    except Refused as refused:
        return Rejection(line, _event_id(value), refused.reason.value, refused.path, refused.detail)
    return Event(line, (workflow or UNATTRIBUTED).encode(), value)


def _event_id(value: bytes) -> str | None:
    """What a refused event calls itself, if that can be read: the client knows it by that name."""
    if len(value) > MAX_BYTES:
        return None
    try:
        document: Any = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    found = document.get("event_id") if isinstance(document, dict) else None
    return found if isinstance(found, str) and len(found) <= MAX_LABEL else None
