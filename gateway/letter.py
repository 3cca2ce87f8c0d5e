"""A Kafka record as one payload of a spool."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

_HEAD: Final = struct.Struct("<BHH")
_VERSION: Final = 1
_HEADERS: Final = (("tidegate-format", b"tidegate"),)


class Letter(NamedTuple):
    """What goes to the broker: `topic` is the physical name."""

    topic: bytes
    key: bytes
    value: bytes

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """It is of the wire format, whatever ingest takes the other records on the topic for."""
        return _HEADERS


def seal(topic: bytes, key: bytes, value: bytes) -> bytes:
    """A version byte, the lengths of topic and key, then all three."""
    return b"".join((_HEAD.pack(_VERSION, len(topic), len(key)), topic, key, value))


def unseal(payload: bytes) -> Letter | None:
    """The record again; None if a later version of this library has written it."""
    version, topic, key = _HEAD.unpack_from(payload)
    if version != _VERSION:
        return None
    at = _HEAD.size
    return Letter(
        payload[at : at + topic], payload[at + topic : at + topic + key], payload[at + topic + key :]
    )
