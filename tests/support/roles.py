"""A role as the process it is in production, to be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]


def environment(bootstrap: str, prefix: str, **more: str) -> dict[str, str]:
    """Variables that put a role on a broker under names of its own, with any free port for its health."""
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith("TIDEGATE_") or k == "TIDEGATE_CACHE"
    }
    return {
        **inherited,
        "TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "TIDEGATE_KAFKA__TOPIC_PREFIX": prefix,
        "TIDEGATE_KAFKA__SESSION_TIMEOUT_S": "3",
        "TIDEGATE_INGEST__GROUP_ID": f"{prefix}ingest",
        "TIDEGATE_DETECT__APP_ID": f"{prefix}detect",
        "TIDEGATE_NOTIFY__GROUP_ID": f"{prefix}notify",
        "TIDEGATE_BUDGETS__GROUP_ID": f"{prefix}budgets",
        "TIDEGATE_THROTTLES__GROUP_ID": f"{prefix}throttles",
        "TIDEGATE_OUTCOMES__GROUP_ID": f"{prefix}outcomes",
        "TIDEGATE_HEALTH__PORT": "-1",
        **more,
    }


class RoleProcess:
    """`tidegate ROLE` as a child process. Its output goes to a file, whose end is shown when a test fails."""

    def __init__(
        self, role: str, env: dict[str, str], log: Path, *, command: list[str] | None = None
    ) -> None:
        self.role = role
        self.log = log
        self._env = env
        self._command = command or [sys.executable, "-m", "service.cli", role]
        self._process: subprocess.Popen[bytes] | None = None
        self.kills = 0

    def start(self) -> Self:
        assert self._process is None or self._process.poll() is not None, f"{self.role} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._env, stdout=log, stderr=subprocess.STDOUT
            )
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        assert self._process is not None
        assert self._process.poll() is None, f"{self.role} had ended by itself:\n{self.tail()}"
        self._process.kill()
        self._process.wait()
        self.kills += 1

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self, timeout_s: float = PATIENCE_S) -> int:
        """SIGTERM, and wait for an orderly end. Returns the exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"{self.role} did not stop in {timeout_s} s:\n{self.tail()}") from None

    def wait(self, timeout_s: float) -> int:
        assert self._process is not None
        return self._process.wait(timeout_s)

    def tail(self, lines: int = 40) -> str:
        text = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(text[-lines:])

    @contextmanager
    def ended_with_this(self) -> Iterator[None]:
        """For a role that is started later, or perhaps: it does not outlive the block."""
        try:
            yield
        finally:
            self._end()

    def _end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if error is not None:
            sys.stderr.write(f"--- end of {self.log} ---\n{self.tail()}\n")


def wait_ready(port: int, timeout_s: float = PATIENCE_S) -> None:
    """Wait until /readyz of a role on this port answers 200."""
    deadline = time.monotonic() + timeout_s
    last: object = None
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=10)
            if answer.status_code == 200:
                return
            last = answer.text
        except httpx.HTTPError as error:
            last = error
        time.sleep(0.2)
    raise TimeoutError(f"port {port} is not ready after {timeout_s} s: {last}")
