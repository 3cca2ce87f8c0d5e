"""A throw-away Kafka-compatible broker as a child process: the interface, and what every one of them shares.

Errors, all raised by `EmbeddedBroker.start`::

    RuntimeError
      BrokerStartError      the broker cannot be run here, died early, or did not answer in time
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from aiokafka.client import AIOKafkaClient

LOOPBACK = "127.0.0.1"
_LOG = logging.getLogger(__name__)

# Asks the kernel to kill the broker when its parent dies, then becomes the broker: same pid, and none of the
# hazards of running Python between fork and exec in a threaded parent. argv: the parent's pid, the command.
_LEASH = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent died first")
os.execvp(sys.argv[2], sys.argv[2:])
"""


class BrokerStartError(RuntimeError):
    """The broker cannot be run here, died while starting, or did not answer in time; says which, and why."""


def free_port() -> int:
    """A TCP port on loopback that nothing listens on.

    Taken from below the kernel's ephemeral range: a client that keeps dialling a dead port *inside* that
    range can be given that port as its source, connect to itself, and keep a restarted broker from binding.
    """
    for _ in range(200):
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
    raise BrokerStartError("no free TCP port between 20000 and 32000 on loopback")


async def wait_ready(bootstrap: str, timeout_s: float = 30.0) -> None:
    """Return once the broker at `bootstrap` ("host:port") answers a Kafka metadata request with its name.

    Raises TimeoutError after `timeout_s` seconds.
    """
    host, port = bootstrap.rsplit(":", 1)
    async with asyncio.timeout(timeout_s):
        while not await _answers(host, int(port)):  # noqa: ASYNC110 - another process has no Event
            await asyncio.sleep(0.05)


async def _answers(host: str, port: int) -> bool:
    try:
        # aiokafka logs every refused connection as an error: look first whether anybody listens.
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    client = AIOKafkaClient(bootstrap_servers=f"{host}:{port}")
    try:
        await client.bootstrap()
        return bool(client.cluster.brokers())
    except (OSError, RuntimeError) as error:  # aiokafka's KafkaError is a RuntimeError
        _LOG.debug("%s:%s listens but does not answer yet: %r", host, port, error)
        return False
    finally:
        await client.close()


class EmbeddedBroker(ABC):
    """A single broker on loopback, a child of this process, with its own data directory.

    `start` may be called again after `stop` or `kill`: port and, if a `data_dir` was given, data are kept.
    Without a `data_dir` everything is thrown away by `stop`. On Linux the broker is killed by the kernel when
    the *thread* that called `start` ends, so start it from one that outlives it.
    """

    name: str
    supports_transactions: bool

    def __init__(self, data_dir: Path | None = None, port: int | None = None) -> None:
        """`data_dir`: made if missing, kept by `stop`; None: a temporary one. `port`: None: a free one."""
        self._keep = data_dir is not None
        self._data_dir = data_dir
        self._port = free_port() if port is None else port
        self._child: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._tail = ""

    @property
    def bootstrap(self) -> str:
        """ "host:port" for `bootstrap_servers`; the same for the life of this object."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id of the broker, None while it is not running."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    @abstractmethod
    def available(self) -> str | None:
        """Why this broker cannot run on this machine; None when it can. Starts and fetches nothing."""

    @abstractmethod
    def prepare(self) -> None:
        """Fetch what the broker needs, once per machine. May take a minute. Raises BrokerStartError."""

    @abstractmethod
    def _command(self, data_dir: Path) -> list[str]:
        """Make `data_dir` ready and return the command line that runs the broker in the foreground."""

    def start(self, timeout_s: float = 120.0) -> None:
        """Start and block until the broker answers Kafka requests. Raises BrokerStartError."""
        if self.pid is not None:
            raise BrokerStartError(f"{self.name} is already running")
        reason = self.available()
        if reason is not None:
            raise BrokerStartError(f"{self.name} cannot run here: {reason}")
        self.prepare()
        if self._data_dir is None:
            self._data_dir = Path(tempfile.mkdtemp(prefix="tidegate-broker-"))
        self._data_dir.mkdir(parents=True, exist_ok=True)
        try:
            self._spawn(self._command(self._data_dir))
            self._wait(timeout_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the broker: cleanly when its data is kept, else at once. Nothing if not running."""
        self._end(signal.SIGTERM if self._keep else signal.SIGKILL)
        if not self._keep and self._data_dir is not None:
            shutil.rmtree(self._data_dir, ignore_errors=True)
            self._data_dir = None

    def kill(self) -> None:
        """Crash the broker with SIGKILL; `start` then recovers what its `data_dir` holds."""
        self._end(signal.SIGKILL)

    def log_tail(self, lines: int = 40) -> str:
        """The last `lines` lines that the broker printed, also after it ended."""
        if self._log is not None:
            self._log.flush()
            self._tail = Path(self._log.name).read_text(encoding="utf-8", errors="replace")
        return "\n".join(self._tail.splitlines()[-lines:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self, command: list[str]) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="tidegate-broker-", suffix=".log")  # noqa: SIM115
        leash = [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid())]
        # A session of its own: Ctrl-C in a terminal stops the stages first, the broker when they are done.
        self._child = subprocess.Popen(  # noqa: S603
            [*leash, *command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _wait(self, timeout_s: float) -> None:
        child = self._child
        assert child is not None

        async def ready_or_dead() -> None:
            ready = asyncio.create_task(wait_ready(self.bootstrap, timeout_s))
            while not ready.done() and child.poll() is None:
                await asyncio.wait([ready], timeout=0.1)
            if not ready.done():
                ready.cancel()
                raise BrokerStartError(f"exited with status {child.returncode}")
            await ready

        failure: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(ready_or_dead())
            except (TimeoutError, BrokerStartError) as error:
                failure.append(error)

        # In a thread, so that start() may be called where an event loop already runs.
        thread = threading.Thread(target=run, name="broker-ready")
        thread.start()
        thread.join()
        if failure:
            why = f"no answer within {timeout_s:g} s" if isinstance(failure[0], TimeoutError) else failure[0]
            what = f"{self.name} on {self.bootstrap}: {why}"
            raise BrokerStartError(f"{what}\n{self.log_tail()}") from failure[0]

    def _end(self, how: signal.Signals) -> None:
        child, self._child = self._child, None
        if child is not None and child.poll() is None:
            child.send_signal(how)
            try:
                child.wait(timeout=15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._log is not None:
            self.log_tail()
            self._log.close()
            self._log = None


def choose(preferred: Literal["auto", "apache", "noida"] = "auto") -> EmbeddedBroker:
    """The broker to use, ready to start. "auto": Apache Kafka if this machine can run it, else noida-db.

    Raises BrokerStartError when nothing asked for can run.
    """
    from service.kafka.embedded.apache import ApacheKafka
    from service.kafka.embedded.noida import NoidaBroker

    kinds: dict[str, list[type[EmbeddedBroker]]] = {
        "auto": [ApacheKafka, NoidaBroker],
        "apache": [ApacheKafka],
        "noida": [NoidaBroker],
    }
    reasons: list[str] = []
    for kind in kinds[preferred]:
        broker = kind()
        reason = broker.available()
        if reason is None:
            try:
                broker.prepare()
            except BrokerStartError as error:
                reason = str(error)
            else:
                return broker
        _LOG.info("not using %s: %s", broker.name, reason)
        reasons.append(f"{broker.name}: {reason}")
    raise BrokerStartError("no embedded broker can run here; " + "; ".join(reasons))
