"""Reading a request's body: never more than its bound, packed or unpacked, nor than there is room for."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import StreamReader
from prometheus_client import Gauge

_GZIP_BITS: Final = 31
"""zlib's way of saying: gzip, with its header and checksum."""
_PIECE: Final = 65_536


class TooLong(Exception):
    """The body is longer than its bound."""


class Damaged(Exception):
    """The body is not what its coding says."""


class Full(Exception):
    """Too much is in flight."""


class InFlight:
    """How many bytes of bodies are held at once, over all requests."""

    def __init__(self, limit: int, gauge: Gauge) -> None:
        self._limit = limit
        self._gauge = gauge
        self._held = 0

    def has_room(self, bytes_: int) -> bool:
        return self._held + bytes_ <= self._limit

    @contextmanager
    def claim(self) -> Iterator[Callable[[int], None]]:
        """A function that takes so many bytes more, or raises `Full`. All are given back at the end."""
        mine = 0

        def take(more: int) -> None:
            nonlocal mine
            if not self.has_room(more):
                raise Full(f"{self._held} of {self._limit} bytes are in flight")
            mine += more
            self._held += more
            self._gauge.set(self._held)

        try:
            yield take
        finally:
            self._held -= mine
            self._gauge.set(self._held)


async def read(
    content: StreamReader, length: int | None, *, gzip: bool, limit: int, take: Callable[[int], None]
) -> bytes:
    """The whole body, unpacked.

    Parameters
    ----------
    length : int or None
        What `Content-Length` says. Room is then taken before anything is read, else as it comes.
    limit : int
        Bytes, of what is sent and of what it unpacks to.

    Raises
    ------
    TooLong
    Damaged
    Full
    """
    if length is not None:
        if length > limit:
            raise TooLong(f"{length} bytes, at most {limit} are read")
        if not gzip:
            take(length)
    unpacker = Unpacker(limit) if gzip else None
    pieces: list[bytes] = []
    sent = 0
    async for piece in content.iter_any():
        sent += len(piece)
        if sent > limit:
            raise TooLong(f"more than {limit} bytes")
        for part in [piece] if unpacker is None else unpacker.feed(piece):
            if length is None or gzip:
                take(len(part))
            pieces.append(part)
    if unpacker is not None:
        unpacker.close()
    return b"".join(pieces)


class Unpacker:
    """gzip, piece by piece, so that a small body that unpacks to a huge one is found out early."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._made = 0
        self._stream = zlib.decompressobj(_GZIP_BITS)
        self._begun = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What a piece unpacks to, in parts of 64 kB at most. Raises TooLong or Damaged."""
        more = False
        while piece or more:
            if self._stream.eof:  # members may follow each other (RFC 1952)
                self._stream = zlib.decompressobj(_GZIP_BITS)
            self._begun = True
            try:
                part = self._stream.decompress(piece, _PIECE)
            except zlib.error:
                raise Damaged("the body is not gzip, or it is damaged") from None
            self._made += len(part)
            if self._made > self._limit:
                raise TooLong(f"unpacks to more than {self._limit} bytes")
            if part:
                yield part
            piece = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            # zlib may have taken all its input in and still hold output back for want of room.
            more = len(part) == _PIECE and not self._stream.eof

    def close(self) -> None:
        """Raises Damaged if something is missing."""
        if not self._begun or not self._stream.eof:
            raise Damaged("the gzip body is cut off")
