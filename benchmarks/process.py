"""A process that is measured: pinned to a core, watched, and surely ended."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.cores import CONSUMER_CORE, peak_mb, pinned

ROOT: Final = Path(__file__).parents[1]
_STEP_S: Final = 0.2


class RunFailed(Exception):
    """A process that failed, or whose output is not what is expected."""


class Process:
    """A child on a core of its own.

    Attributes
    ----------
    lines : list of (float, str)
        What it said on stderr, and when, by the monotonic clock.
    said : list of str
        What it said on stdout.
    rss_mb : float
        Its largest resident set, as of the last look.
    """

    def __init__(
        self, name: str, command: list[str], environ: Mapping[str, str], core: int = CONSUMER_CORE
    ) -> None:
        self.name = name
        self.lines: list[tuple[float, str]] = []
        self.child = subprocess.Popen(
            pinned(command, core),
            cwd=ROOT,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self.rss_mb = 0.0
        self._readers = [threading.Thread(target=read) for read in (self._read_errors, self._read_output)]
        for reader in self._readers:
            reader.start()

    def _read_errors(self) -> None:
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.lines.append((time.monotonic(), line))

    def _read_output(self) -> None:
        assert self.child.stdout is not None
        self.said.extend(self.child.stdout)

    @property
    def alive(self) -> bool:
        """Whether it runs. Looks at its memory as well."""
        if self.child.poll() is not None:
            return False
        try:
            self.rss_mb = max(self.rss_mb, peak_mb(self.child.pid))
        except (OSError, StopIteration):
            return False  # it is just ending: /proc has nothing more to say
        return True

    def wait(self, timeout_s: float) -> int:
        """Until it ends by itself; its exit status."""
        until = time.monotonic() + timeout_s
        while self.alive:
            if time.monotonic() > until:
                raise RunFailed(f"{self.name}: not done after {timeout_s:g} s\n{self.tail()}")
            time.sleep(_STEP_S)
        self._joined()
        return self.child.returncode

    def end(self) -> int:
        """Ask it to end; its exit status."""
        self.child.send_signal(signal.SIGTERM)
        status = self.child.wait(timeout=40)
        self._joined()
        return status

    def kill(self) -> None:
        """Make sure that it has ended."""
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self._joined()

    def _joined(self) -> None:
        for reader in self._readers:
            reader.join(timeout=10)

    def tail(self) -> str:
        """The last it said on stderr."""
        return "".join(line for _, line in self.lines[-30:])
