"""Bodies are bounded: as sent, unpacked, and all together."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Iterable

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from hypothesis import given
from hypothesis import strategies as st

from service.http.body import Damaged, Full, InFlight, TooLong, Unpacker, read
from service.runtime.metrics import DOOR_IN_FLIGHT

MEGA = 1_000_000

PACKED = gzip.compress(b"abc", mtime=0)  # the same in every process that runs tests


def unpack(pieces: Iterable[bytes], limit: int = MEGA) -> bytes:
    unpacker = Unpacker(limit)
    made = b"".join(part for piece in pieces for part in unpacker.feed(piece))
    unpacker.close()
    return made


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 50), st.integers(1, 400))
def test_members_in_pieces_of_any_size_unpack_to_what_was_packed(
    members: list[bytes], size: int, times: int
) -> None:
    data = [member * times for member in members]
    packed = b"".join(gzip.compress(member) for member in data)
    assert unpack(cut(packed, size)) == b"".join(data)


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 3 * 65_536, 500_000])
def test_output_that_zlib_holds_back_is_fetched(size: int) -> None:
    assert unpack([gzip.compress(b"a" * size)]) == b"a" * size


@pytest.mark.parametrize(
    "packed",
    [b"", b"plain", PACKED[:-1], PACKED + b"tail", zlib.compress(b"abc"), PACKED[:-8] + b"\0" * 8],
)
def test_what_is_no_whole_gzip_is_damaged(packed: bytes) -> None:
    with pytest.raises(Damaged):
        unpack([packed] if packed else [])


def test_a_bomb_is_found_out_after_the_limit_and_not_after_it_went_off() -> None:
    bomb = gzip.compress(b"\0" * 100 * MEGA)
    made: list[int] = []
    with pytest.raises(TooLong):
        made.extend(len(part) for part in Unpacker(MEGA).feed(bomb))
    assert sum(made) <= MEGA


def stream(*pieces: bytes) -> StreamReader:
    loop = asyncio.get_running_loop()
    content = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    for piece in pieces:
        content.feed_data(piece)
    content.feed_eof()
    return content


@pytest.mark.parametrize(
    ("pieces", "length", "limit", "whole"),
    [
        ([b"ab", b"cd"], 4, 4, b"abcd"),
        ([b"ab", b"cd"], None, 4, b"abcd"),
        ([b"ab", b"cd"], None, 3, None),
        ([b"ab"], 5, 4, None),
        ([], 0, 4, b""),
    ],
)
async def test_a_body_is_read_to_its_bound(
    pieces: list[bytes], length: int | None, limit: int, whole: bytes | None
) -> None:
    in_flight = InFlight(1_000, DOOR_IN_FLIGHT)
    with in_flight.claim() as take:
        if whole is None:
            with pytest.raises(TooLong):
                await read(stream(*pieces), length, gzip=False, limit=limit, take=take)
        else:
            assert await read(stream(*pieces), length, gzip=False, limit=limit, take=take) == whole


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("known", [False, True])
async def test_room_is_taken_for_what_is_held_and_given_back(packed: bool, known: bool) -> None:
    data = b"x" * 600
    sent = gzip.compress(data) if packed else data
    in_flight = InFlight(1_000, DOOR_IN_FLIGHT)
    for _ in range(3):
        with in_flight.claim() as take:
            await read(stream(sent), len(sent) if known else None, gzip=packed, limit=MEGA, take=take)
            with in_flight.claim() as other, pytest.raises(Full):
                await read(stream(sent), len(sent) if known else None, gzip=packed, limit=MEGA, take=other)
            with in_flight.claim() as small:
                small(400)
                with pytest.raises(Full):
                    small(1)
