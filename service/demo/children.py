"""Child processes of the demo: started, listened to, and stopped by their own id."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from service.errors import RoleDied

_TAIL: Final = 25
_LINE_BYTES: Final = 1_048_576

# Asks the kernel to end the child when this process dies, however it dies, and then becomes the command:
# nothing is left behind. SIGTERM and not SIGKILL, so that a role commits what it has.
# argv: the parent's pid, the command.
_LEASH: Final = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent died first")
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Child:
    """One process. What it writes to stderr goes to a file; stdout too, unless it `talks` to us.

    Parameters
    ----------
    command : sequence of str
        Arguments to this Python.
    environ : mapping of str to str
        The child's whole environment.
    """

    def __init__(
        self, name: str, command: Sequence[str], environ: Mapping[str, str], log: Path, *, talks: bool = False
    ) -> None:
        self.name = name
        self.log = log
        self._command = [sys.executable, *command]
        self._environ = dict(environ)
        self._talks = talks
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        pipe, leash = asyncio.subprocess.PIPE, [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid())]
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *leash,
                *self._command,
                stdin=pipe if self._talks else asyncio.subprocess.DEVNULL,
                stdout=pipe if self._talks else log,
                stderr=log,
                env=self._environ,
                limit=_LINE_BYTES,
                # A session of its own: Ctrl-C reaches us alone, and we stop the children in order.
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises RoleDied, with the child's last lines, when it has ended."""
        if self._process is not None and self._process.returncode is not None:
            raise self.died()

    def died(self) -> RoleDied:
        """That it ended, how, and what it said last."""
        status = None if self._process is None else self._process.returncode
        return RoleDied(f"{self.name} ended with status {status}; its last lines:\n{self.tail()}")

    def tail(self, lines: int = _TAIL) -> str:
        """The last lines of its log."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            return f"(no log: {error.strerror})"
        return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])

    def say(self, line: str) -> None:
        """A line to its stdin."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def lines(self) -> AsyncIterator[bytes]:
        """Lines of its stdout until it ends."""
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            yield line

    def terminate(self) -> None:
        """Ask it to stop."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    async def ended(self, grace_s: float) -> int | None:
        """Wait for its end and return its status; killed when that takes longer than `grace_s` seconds."""
        if self._process is None:
            return None
        try:
            async with asyncio.timeout(grace_s):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()
