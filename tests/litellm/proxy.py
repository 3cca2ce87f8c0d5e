"""The real LiteLLM proxy with Tidegate's callback, and the real client in front of it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import msgspec
import yaml

from gateway import Connection
from service.kafka.embedded.broker import free_port
from tests.litellm.calls import Ask, Told
from tests.support.patience import PATIENCE_S
from tests.support.roles import ROOT, RoleProcess

VENV: Final = ROOT / ".cache" / "litellm-venv"
PYTHON: Final = VENV / "bin" / "python"

_START_S: Final = 2 * PATIENCE_S
"""It takes ten seconds of a whole processor: importing it, most of them."""
_MY_GATEWAY: Final = """\
import os
from pathlib import Path
from gateway import Connection
from gateway.litellm_callback import Tidegate

tidegate = Tidegate.connect(
    Connection(os.environ["KAFKA"], topic_prefix=os.environ["TOPIC_PREFIX"]),
    Path(__file__).parent / "spool",
    name="litellm-1",
)
"""


def _config(upstream: str) -> dict[str, Any]:
    def called(group: str, model: str, **more: object) -> dict[str, Any]:
        known = {"model": f"openai/{model}", "api_base": upstream, "api_key": "sk-nobody", **more}
        return {"model_name": group, "litellm_params": known}

    return {
        "model_list": [
            called("gpt-4o", "gpt-4o"),
            called("gpt-4o", "gpt-4o-2024-08-06"),
            called("gpt-4o-mini", "gpt-4o-mini"),
            called("hasty", "gpt-4o-mini", timeout=5),
            called("embeddings", "text-embedding-3-small"),
        ],
        "litellm_settings": {
            "callbacks": "my_gateway.tidegate",
            "num_retries": 2,
            "fallbacks": [{"gpt-4o": ["gpt-4o-mini"]}],
        },
        # One try in four fails here: with cooldowns most calls would find no deployment.
        "router_settings": {"disable_cooldowns": True},
        "general_settings": {"master_key": "sk-master"},
    }


@contextmanager
def running_proxy(connection: Connection, upstream: str, folder: Path) -> Iterator[str]:
    """Its base URL for clients, once it answers."""
    (folder / "config.yaml").write_text(yaml.safe_dump(_config(upstream)))
    (folder / "my_gateway.py").write_text(_MY_GATEWAY)
    port = free_port()
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "KAFKA": connection.bootstrap_servers,
        "TOPIC_PREFIX": connection.topic_prefix,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    command = [
        *(str(VENV / "bin" / "litellm"), "--config", str(folder / "config.yaml")),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    with RoleProcess("litellm", env, folder / "proxy.log", command=command) as process:
        _wait_alive(process, f"http://127.0.0.1:{port}/health/liveliness")
        yield f"http://127.0.0.1:{port}"
        process.stop()


def _wait_alive(process: RoleProcess, url: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        assert process.returncode is None, f"the proxy ended:\n{process.tail()}"
        with suppress(httpx.HTTPError):
            if httpx.get(url, timeout=10).status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"the proxy did not answer in {_START_S:g} s:\n{process.tail()}")


class Client:
    """The `openai` client in a process of its own. One that is left is ended."""

    def __init__(self, base_url: str, at_once: int = 16) -> None:
        self._base_url = base_url
        self._slots = asyncio.Semaphore(at_once)
        self._waiting: dict[str, asyncio.Future[Told]] = {}

    async def ask(self, ask: Ask) -> Told:
        """Make a call, and wait for what becomes of it. Names of calls that are under way must differ."""
        assert ask.call not in self._waiting
        assert self._process.stdin is not None
        async with self._slots:
            told: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
            self._waiting[ask.call] = told
            self._process.stdin.write(json.dumps(ask.wire()).encode() + b"\n")
            await self._process.stdin.drain()
            return await told

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(str(PYTHON), "-m", "tests.litellm.client", self._base_url),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            told = msgspec.json.decode(line, type=Told)
            self._waiting.pop(told.call).set_result(told)
        for waiting in self._waiting.values():
            waiting.set_exception(ConnectionError("the client's process has ended"))
