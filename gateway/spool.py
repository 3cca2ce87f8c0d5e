"""Records that wait on disk until the broker has them, in the order in which they came.

1. `append` writes whole frames to the end of the newest segment, in one write. What a write that failed left
   behind is cut off again.
2. `read` goes on from where it was; `rewind` goes back to what is not acknowledged.
3. `acknowledge` notes how far everything is on the broker, and removes the segments before that.
4. Opened again, after a crash too, it begins at the note, and never appends to a segment it has found: a frame
   that was cut off is the end of its segment.

A record is thus read again after a crash if it was not acknowledged, and at most so many more as were since the
note before. Without `fsync` this holds when the process is killed, however hard; after a power cut, or with the
kernel, what the disk did not have yet is gone.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

from gateway.frames import HEAD_BYTES, MAGIC, MAX_PAYLOAD, Frames, decode, encode

Fsync = Literal["never", "segment", "append"]
"""never: when the kernel likes, within some 30 s. segment: when one is full. append: before each returns."""

SEGMENT_BYTES: Final = 4_194_304
MAX_BYTES: Final = 1_073_741_824
_NOTE: Final = struct.Struct("<QQI")
_SUFFIX: Final = ".segment"

_LOG = logging.getLogger(__name__)


class Taken(Exception):
    """Another process has this folder."""


class Position(NamedTuple):
    """Behind a record: the segment it lies in, and where the next one begins."""

    segment: int
    offset: int


class Entry(NamedTuple):
    payload: bytes
    after: Position


class Spool:
    """A queue in a folder of its own. For one thread; every call may do I/O and block for that long.

    Attributes
    ----------
    damaged : int
        Frames that could not be read back, and segments whose rest could not: what a crash cut off is one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        max_bytes: int = MAX_BYTES,
        fsync: Fsync = "never",
    ) -> None:
        """Make the folder if it is missing. Raises `Taken`, or OSError."""
        self.damaged = 0
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._fsync = fsync
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _locked(folder)
        self._note = os.open(folder / "acknowledged", os.O_RDWR | os.O_CREAT, 0o600)
        found = sorted((int(path.stem), path.stat().st_size) for path in folder.glob(f"*{_SUFFIX}"))
        self._sizes = dict(found)
        self._acknowledged = self._handed = self._cursor = _noted(self._note)
        self._next = max([self._acknowledged.segment, *self._sizes]) + 1
        self._writing: tuple[int, int] | None = None
        """Number and descriptor of the segment that is appended to."""
        self._remove_done()

    @property
    def size_bytes(self) -> int:
        """On disk, acknowledged or not."""
        return sum(self._sizes.values())

    @property
    def read_up(self) -> bool:
        """Whether there is nothing more to read at present."""
        return all(
            self._cursor >= Position(number, size) or size <= len(MAGIC)
            for number, size in self._sizes.items()
        )

    @property
    def empty(self) -> bool:
        """Whether everything has been read, and acknowledged."""
        return self.read_up and self._acknowledged >= self._handed

    def append(self, payloads: Sequence[bytes]) -> int:
        """Write what there is room for, from the first on; returns how many.

        Raises OSError: the disk did not take them, and has none of them.
        """
        room = self._max_bytes - self.size_bytes
        taken = 0
        for payload in payloads:
            room -= HEAD_BYTES + len(payload)
            if room < 0:
                break
            taken += 1
        if taken:
            data = encode(payloads[:taken])
            number, file = self._open_for(len(data))
            size = self._sizes[number]
            try:
                written = 0
                while written < len(data):
                    written += os.pwrite(file, data[written:], size + written)
                if self._fsync == "append":
                    os.fsync(file)
            except OSError:
                os.ftruncate(file, size)
                raise
            self._sizes[number] = size + len(data)
        return taken

    def read(self, max_bytes: int = 262_144) -> list[Entry]:
        """The next records, about `max_bytes` of them; none if there are none. Raises OSError."""
        while (number := self._to_read()) is not None:
            size = self._sizes[number]
            offset = self._cursor.offset if self._cursor.segment == number else 0
            found, whole = self._found(number, offset, max_bytes)
            self.damaged += found.damaged
            end = found.end
            if found.broken or (whole and end < size):
                self.damaged += 1
                _LOG.warning(
                    "%s: segment %d ends in %d bytes that are no record", self._folder, number, size - end
                )
                end = size
            self._cursor = Position(number, end)
            if found.payloads:
                entries = [Entry(payload, Position(number, after)) for payload, after in found.payloads]
                self._handed = entries[-1].after
                return entries
        return []

    def acknowledge(self, position: Position) -> None:
        """Everything up to there is on the broker. Raises OSError."""
        if position > self._acknowledged:
            self._acknowledged = position
            os.pwrite(self._note, _sealed(position), 0)
            self._remove_done()

    def rewind(self) -> None:
        """Read again from what is not acknowledged."""
        self._cursor = self._handed = self._acknowledged

    def close(self) -> None:
        """Let go of the folder; what is not acknowledged stays in it. Nothing if it is closed. Raises OSError."""
        if self._lock < 0:
            return
        done = self.empty
        self._close_writing()
        if done:
            for number in list(self._sizes):
                self._remove(number)
        os.close(self._note)
        os.close(self._lock)  # and with it the lock
        self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:020d}{_SUFFIX}"

    def _to_read(self) -> int | None:
        """The first segment that has something behind the cursor."""
        for number, size in self._sizes.items():
            if self._cursor < Position(number, size):
                return number
        return None

    def _found(self, number: int, offset: int, max_bytes: int) -> tuple[Frames, bool]:
        """Frames of a segment from `offset` on, their ends counted from its beginning, and whether that is all."""
        with self._path(number).open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return Frames([], 0, 0, broken=True), True
            offset = max(offset, len(MAGIC))
            for limit in (max_bytes, HEAD_BYTES + MAX_PAYLOAD):
                file.seek(offset)
                data = file.read(min(limit, self._sizes[number] - offset))
                whole = offset + len(data) == self._sizes[number]
                found = decode(data)
                if whole or found.end or found.broken:
                    break
        moved = [(payload, offset + after) for payload, after in found.payloads]
        return found._replace(payloads=moved, end=offset + found.end), whole

    def _open_for(self, size: int) -> tuple[int, int]:
        """The segment to append to: a new one if there is none yet, or it would be too large."""
        if self._writing is not None and self._sizes[self._writing[0]] + size > self._segment_bytes:
            self._close_writing()
        if self._writing is None:
            number = self._next
            file = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.pwrite(file, MAGIC, 0)
                if self._fsync != "never":
                    _sync_folder(self._folder)
            except OSError:
                os.close(file)
                self._path(number).unlink()
                raise
            self._next += 1
            self._sizes[number] = len(MAGIC)
            self._writing = number, file
        return self._writing

    def _close_writing(self) -> None:
        if self._writing is not None:
            _, file = self._writing
            self._writing = None
            try:
                if self._fsync != "never":
                    os.fsync(file)
            finally:
                os.close(file)

    def _remove_done(self) -> None:
        """Segments of which everything is acknowledged, but the one that is written."""
        writing = self._writing[0] if self._writing is not None else None
        for number, size in list(self._sizes.items()):
            if self._acknowledged < Position(number, size):
                return
            if number != writing:
                self._remove(number)

    def _remove(self, number: int) -> None:
        self._path(number).unlink(missing_ok=True)
        del self._sizes[number]


def _locked(folder: Path) -> int:
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise Taken(f"another process has {folder}") from error
    return lock


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sealed(position: Position) -> bytes:
    return _NOTE.pack(*position, zlib.crc32(b"%d %d" % position))


def _noted(note: int) -> Position:
    """What is noted as acknowledged; the beginning of everything if nothing is, or it cannot be made out."""
    data = os.pread(note, _NOTE.size, 0)
    if len(data) == _NOTE.size:
        segment, offset, _ = _NOTE.unpack(data)
        if _sealed(Position(segment, offset)) == data:
            return Position(segment, offset)
    return Position(0, 0)
