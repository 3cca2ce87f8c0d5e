"""Tidegate as installed, for a benchmark: Apache Kafka, topics, roles as child processes with their defaults."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from benchmarks.process import RunFailed
from gateway import Connection
from schemas.control import Control
from service.kafka.admin import create_topics
from service.kafka.config_topic import publish
from service.kafka.embedded.apache import ApacheKafka
from service.kafka.embedded.broker import free_port
from service.kafka.embedded.topics import create_state_topic
from service.rules.config import control_key
from service.settings import Settings
from tests.support.roles import RoleProcess

_READY_S: Final = 90.0
_AGAIN_S: Final = 1.0
"""Before a role that has ended is started again: orchestrators wait about so long the first time."""


class Role:
    """`tidegate ROLE`. Started again when it ends, as an orchestrator would, once `look` sees it."""

    def __init__(self, name: str, environ: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.port = free_port()
        self.restarts = 0
        self._ended_at: float | None = None
        env = {**environ, "TIDEGATE_HEALTH__PORT": str(self.port)}
        self.process = RoleProcess(name, env, folder / f"{name}.log")

    @property
    def ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def gauge(self, name: str) -> float:
        """The sum of a gauge or counter over its labels; 0 if it is not told. Raises httpx.HTTPError."""
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=10).text
        lines = (line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{")))
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def look(self) -> None:
        """Start it again if it has ended a moment ago."""
        if self.process.returncode is None:
            return
        now = time.monotonic()
        if self._ended_at is None:
            self._ended_at = now
        elif now - self._ended_at >= _AGAIN_S:
            self._ended_at = None
            self.restarts += 1
            self.process.start()


class Installation:
    """A broker of its own and some roles on it. Use as a context manager: everything is surely ended.

    Parameters
    ----------
    roles : sequence of str
        Which to run; `start_roles` starts them.
    settings : mapping of str to str
        Environment variables of the roles, beyond where the broker is.
    """

    def __init__(self, roles: Sequence[str], settings: Mapping[str, str] | None = None) -> None:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of every retry; errors are raised
        self._folder = tempfile.TemporaryDirectory(prefix="tidegate-bench-")
        self.folder = Path(self._folder.name)
        # With a folder of its own, so that it can be killed and started again with what it holds.
        self.broker = ApacheKafka(data_dir=self.folder / "kafka")
        self.settings = Settings.model_validate({"kafka": {"bootstrap_servers": self.broker.bootstrap}})
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("TIDEGATE_") or k == "TIDEGATE_CACHE"},
            "TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": self.broker.bootstrap,
            "PYTHONUNBUFFERED": "1",
            **(settings or {}),
        }
        self.roles = [Role(name, self.environ, self.folder) for name in roles]
        self._running = ExitStack()

    @property
    def connection(self) -> Connection:
        """For gateways."""
        kafka = self.settings.kafka
        return Connection(kafka.bootstrap_servers, kafka.topic_prefix)

    def role(self, name: str) -> Role:
        return next(role for role in self.roles if role.name == name)

    async def apply(self, *records: Control) -> None:
        """Put records on the config topic."""
        await publish(self.settings.kafka, {control_key(record): record.to_json() for record in records})

    def start_roles(self) -> None:
        """Start every role and wait until each is ready. Raises RunFailed."""
        for role in self.roles:
            self._running.enter_context(role.process.ended_with_this())
            role.process.start()
        self.until_ready(_READY_S)

    def until_ready(self, timeout_s: float) -> None:
        """Wait until every role says that it is ready. Raises RunFailed."""
        until = time.monotonic() + timeout_s
        for role in self.roles:
            while not role.ready:
                if time.monotonic() > until:
                    raise RunFailed(f"{role.name} is not ready\n{role.process.tail()}")
                time.sleep(0.1)

    def check(self) -> None:
        """Raises RunFailed when a role has ended."""
        for role in self.roles:
            if role.process.returncode is not None:
                raise RunFailed(f"{role.name} has ended\n{role.process.tail()}")

    def child(self, name: str, module: str, *arguments: str) -> RoleProcess:
        """Another process of the benchmark, with the roles' settings; started, and ended with this."""
        command = [sys.executable, "-m", module, *arguments]
        child = RoleProcess(name, self.environ, self.folder / f"{name}.log", command=command)
        self._running.enter_context(child.ended_with_this())
        return child.start()

    def __enter__(self) -> Self:
        try:
            self.broker.start()
            asyncio.run(self._prepare())
        except BaseException:
            self.broker.kill()
            self._folder.cleanup()
            raise
        return self

    async def _prepare(self) -> None:
        await create_state_topic(self.settings)
        await create_topics(self.settings)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._running.close()
        finally:
            self.broker.kill()  # nobody wants its data
            self._folder.cleanup()
