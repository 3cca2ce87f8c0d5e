"""Lines of a file or of standard input, decompressed, read beside the event loop."""

from __future__ import annotations

import asyncio
import gzip
import io
import sys
import threading
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, cast

import zstandard

from service.errors import InvalidInput

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_CHUNK: Final = 262_144
_MAX_LINE: Final = 4_194_304
"""No record of the contract is near it; a file without line ends must not fill the memory."""
_AHEAD: Final = 4
"""Chunks read before they are asked for."""

UNREADABLE: Final = (OSError, EOFError, ValueError, zlib.error, zstandard.ZstdError)
"""What reading a file that is missing, cut off or damaged raises."""

Lines = list[bytes]


class Source:
    """A file, or standard input as `-`. What it is compressed with is read from its first bytes.

    Attributes
    ----------
    size : int or None
        Bytes on disk; None for standard input.
    consumed : int
        Bytes read of these so far.
    """

    def __init__(self, name: str) -> None:
        """Raises InvalidInput."""
        self.name = "standard input" if name == "-" else name
        self.size: int | None = None
        self.consumed = 0
        try:
            if name == "-":
                self._file: IO[bytes] = sys.stdin.buffer
            else:
                self.size = Path(name).stat().st_size
                self._file = Path(name).open("rb")  # noqa: SIM115 - closed by the thread that reads it
        except OSError as error:
            raise InvalidInput(f"{name}: {error.strerror}") from None

    async def batches(self) -> AsyncGenerator[Lines, None]:
        """Whole lines without their ends, as many at once as have been read.

        Raises
        ------
        InvalidInput
            The file is cut off or damaged, or a line is longer than 4 MB.
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Lines | Exception | None] = asyncio.Queue()
        room = threading.Semaphore(_AHEAD)
        closed = threading.Event()

        def hand_over(item: Lines | Exception | None) -> None:
            room.acquire()
            if closed.is_set():
                raise StopAsyncIteration
            loop.call_soon_threadsafe(queue.put_nowait, item)

        # A daemon, not the loop's executor: a terminal that never sends another line must not keep us from
        # ending.
        threading.Thread(target=self._read, args=(hand_over,), name="lines", daemon=True).start()
        try:
            while (item := await queue.get()) is not None:
                room.release()
                if isinstance(item, UNREADABLE):
                    raise InvalidInput(f"{self.name}: {item}") from None
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            closed.set()
            room.release()

    def _read(self, hand_over: Callable[[Lines | Exception | None], None]) -> None:
        try:
            try:
                for lines in self.blocks():
                    hand_over(lines)
            except StopAsyncIteration:
                raise
            except Exception as error:  # noqa: BLE001 - raised again where somebody listens
                hand_over(error)
            hand_over(None)
        except StopAsyncIteration:
            return  # nobody listens any more
        finally:
            self.close()

    def blocks(self) -> Iterator[Lines]:
        """As `batches`, read where it is called. Raises OSError, EOFError, ValueError or a codec's own error."""
        stream = self._decompressed()
        rest = b""
        while chunk := stream.read1(_CHUNK):
            self.consumed = self._file.tell() if self.size is not None else self.consumed + len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _MAX_LINE:
                raise ValueError(f"a line is longer than {_MAX_LINE} bytes")
            if lines:
                yield lines
        if rest:
            yield [rest]

    def close(self) -> None:
        """Give the file up; standard input stays open. For whoever reads `blocks`."""
        if self._file is not sys.stdin.buffer:
            self._file.close()

    def _decompressed(self) -> io.BufferedReader:
        raw: Any = self._file  # typeshed wants raw streams below; any readable one will do
        if not isinstance(raw, io.BufferedReader):
            raw = io.BufferedReader(raw)
        head = raw.peek(4)[:4]
        if head.startswith(_GZIP):
            return io.BufferedReader(cast(Any, gzip.GzipFile(fileobj=raw)))
        if head.startswith(_ZSTD):
            unpacked = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
            return io.BufferedReader(cast(Any, unpacked))
        return cast(io.BufferedReader, raw)
