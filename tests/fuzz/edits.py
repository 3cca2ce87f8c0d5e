"""What happens to a record's bytes on the way: each edit takes a message and some recent ones, and is seeded."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable, Sequence
from typing import Final

from tests.fuzz.hostile import ANY, SPACES, TOKENS

MAX_BYTES: Final = 65_536
"""The contract's bound on an event, written out: what is generated must not follow a change of it."""

Recent = Sequence[bytes]


def _flip(dice: random.Random, data: bytes, recent: Recent) -> bytes:
    if not data:
        return b"\x01"
    at = dice.randrange(len(data))
    return data[:at] + bytes((data[at] ^ (1 << dice.randrange(8)),)) + data[at + 1 :]


def _set(dice: random.Random, data: bytes, recent: Recent) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + bytes((dice.randrange(256),)) + data[at + 1 :]


def _cut(dice: random.Random, data: bytes, recent: Recent) -> bytes:
    return (
        data[: dice.randrange(len(data) + 1)]
        if dice.random() < 0.8
        else data[dice.randrange(len(data) + 1) :]
    )


def _remove(dice: random.Random, data: bytes, recent: Recent) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + data[at + dice.randrange(1, 20) :]


def _double(dice: random.Random, data: bytes, recent: Recent) -> bytes:
    at, length = dice.randrange(len(data) + 1), dice.choice((1, 5, 20, 200))
    return data[: at + length] + data[at:]


def _splice(dice: random.Random, data: bytes, recent: Recent) -> bytes:
    other = dice.choice(recent)
    return data[: dice.randrange(len(data) + 1)] + other[dice.randrange(len(other) + 1) :]


def _insert(dice: random.Random, data: bytes, recent: Recent) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.choice(TOKENS) + data[at + dice.choice((0, 0, 1, 4)) :]


def _join(dice: random.Random, data: bytes, recent: Recent) -> bytes:
    return data + dice.choice((b"", b"\n", b",", b" ", b"\x00", b"\x1e")) + dice.choice(recent)


def _wrap(dice: random.Random, data: bytes, recent: Recent) -> bytes:
    shape = dice.choice(
        (b"[%s]", b"[%s,%s]", b'"%s"', b'{"event":%s}', b"\x1e%s\n", b"/**/%s", b"%s;", b"(%s)", b"null")
    )
    return shape.replace(b"%s", data)


def _reencode(dice: random.Random, data: bytes, recent: Recent) -> bytes:
    match dice.randrange(10):
        case 0:
            return b"\xef\xbb\xbf" + data
        case 1 | 2 | 3:
            codec = dice.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp500"))
            return data.decode("latin-1").encode(codec, "replace")
        case 4:
            return gzip.compress(data, compresslevel=1, mtime=0)
        case 5:
            return zlib.compress(data, level=1)
        case 6:
            return data.decode("utf-8", "replace").encode("latin-1", "replace")
        case 7:
            return data.decode("latin-1").encode()  # UTF-8 taken for Latin-1 and encoded once more
        case 8:
            return data.hex().encode()
        case _:
            return b"\x00\x00\x00\x00\x07" + data  # a schema registry's framing


def _pad(dice: random.Random, data: bytes, recent: Recent) -> bytes:
    space = dice.choice(SPACES)
    return dice.choice((space + data, data + space, space + data + space, data + b"\x00" * dice.randrange(9)))


def _other(dice: random.Random, data: bytes, recent: Recent) -> bytes:
    match dice.randrange(5):
        case 0:
            return dice.choice(
                (b"", b" ", b"\x00", b"{}", b"[]", b"null", b'""', b"0", b"{", b"}", b"\xff" * 9)
            )
        case 1:
            return dice.choice(ANY)
        case 2:
            return dice.choice(recent)  # the very same record again
        case 3:
            return dice.randbytes(dice.randrange(200))
        case _:
            size = MAX_BYTES - len(data) + dice.choice((-1, 0, 1))
            return data[:1] + b" " * max(size, 0) + data[1:]


EDITS: Final[tuple[Callable[[random.Random, bytes, Recent], bytes], ...]] = (
    *((_flip,) * 6 + (_set,) * 4 + (_cut,) * 3 + (_remove,) * 5 + (_double,) * 3 + (_splice,) * 3),
    *((_insert,) * 6 + (_join,) * 2 + (_wrap,) * 2 + (_reencode,) * 3 + (_pad,) * 3 + (_other,) * 2),
)
