"""A Kafka record as one payload of a spool."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

_HEAD: Final = struct.Struct("<BBHH")
_VERSION: Final = 1
FORMAT_HEADER: Final = "tidegate-format"
NATIVE: Final = b"tidegate"
"""Format of the records of the wire contract, whatever ingest takes the others on its topic for."""


class Letter(NamedTuple):
    """What goes to the broker: `topic` is the physical name, `format` the value of the header of that name."""

    topic: bytes
    key: bytes
    value: bytes
    format: bytes = NATIVE


def seal(letter: Letter) -> bytes:
    """A version byte, the lengths of format, topic and key, then those three and the value."""
    topic, key, value, name = letter
    return b"".join((_HEAD.pack(_VERSION, len(name), len(topic), len(key)), name, topic, key, value))


def unseal(payload: bytes) -> Letter | None:
    """The record again; None if a later version of this library has written it."""
    version, name, topic, key = _HEAD.unpack_from(payload)
    if version != _VERSION:
        return None
    name += _HEAD.size
    topic += name
    key += topic
    return Letter(payload[name:topic], payload[topic:key], payload[key:], payload[_HEAD.size : name])
