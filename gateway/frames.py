"""Records as they lie on disk: a length and a checksum before each, so that what a crash cut off is recognised.

A segment begins with `MAGIC`. Each frame is the payload's length (4 bytes), the CRC-32 of length and payload
(4 bytes), both little-endian, and the payload. The length is under the checksum too: a frame of zeros, which a
file system may leave behind after a power cut, is no frame.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Final, NamedTuple

MAGIC: Final = b"TGSPOOL1"
MAX_PAYLOAD: Final = 1_048_576
"""Bytes; Kafka's own default of the largest record. A longer length is damage."""
_HEAD: Final = struct.Struct("<II")
HEAD_BYTES: Final = _HEAD.size
_LENGTH: Final = struct.Struct("<I")


class Frames(NamedTuple):
    """What was found in some bytes.

    Attributes
    ----------
    payloads : list of (bytes, int)
        Each whole frame's payload, and where the next frame begins.
    end : int
        Where the first frame begins that is not whole.
    damaged : int
        Frames that were passed over: whole by their length, and not what was written.
    broken : bool
        From `end` on nothing can be made out: what lies there is no length of a frame.
    """

    payloads: list[tuple[bytes, int]]
    end: int
    damaged: int
    broken: bool


def encode(payloads: Iterable[bytes]) -> bytes:
    """Frames of some payloads, one after another."""
    parts: list[bytes] = []
    for payload in payloads:
        if not 0 < len(payload) <= MAX_PAYLOAD:
            raise ValueError(f"a payload has 1 to {MAX_PAYLOAD} bytes, not {len(payload)}")
        parts += (_HEAD.pack(len(payload), _checksum(payload)), payload)
    return b"".join(parts)


def decode(data: bytes, start: int = 0) -> Frames:
    """Every whole frame from `start` on. Never raises: damage is what it is there for."""
    payloads: list[tuple[bytes, int]] = []
    at, damaged = start, 0
    while at + HEAD_BYTES <= len(data):
        length, checksum = _HEAD.unpack_from(data, at)
        if not 0 < length <= MAX_PAYLOAD:
            return Frames(payloads, at, damaged, broken=True)
        after = at + HEAD_BYTES + length
        if after > len(data):
            break
        payload = data[at + HEAD_BYTES : after]
        if _checksum(payload) == checksum:
            payloads.append((payload, after))
        else:
            damaged += 1
        at = after
    return Frames(payloads, at, damaged, broken=False)


def _checksum(payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_LENGTH.pack(len(payload))))
