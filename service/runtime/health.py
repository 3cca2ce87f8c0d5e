"""Whether a role is healthy (its loops make progress) and ready (caught up), and the port that tells."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.errors import SettingsError
from service.runtime.clock import Clock

_REQUEST_BYTES: Final = 8_192
_REQUEST_SECONDS: Final = 5.0
_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


class Health:
    """What a role knows of itself.

    Healthy by progress: a loop is `expect`ed to `beat`, at work or idle, and has done so within the last
    `stall_after_s` seconds. Being alive is not enough: a consumer that hangs is alive. Ready: every condition
    that was named with `set_ready` holds, and at least one was.
    """

    def __init__(self, role: str, clock: Clock, stall_after_s: float) -> None:
        self.role = role
        self._clock = clock
        self._stall_after_s = stall_after_s
        self._started = clock.monotonic()
        self._expected: dict[str, float] = {}
        self._beats: dict[str, float] = {}
        self._conditions: dict[str, tuple[bool, str]] = {}

    def expect(self, what: str) -> None:
        """From now on `what` must beat."""
        self._expected.setdefault(what, self._clock.monotonic())

    def release(self, what: str) -> None:
        """`what` has ended as it should and need not beat any more."""
        self._expected.pop(what, None)
        self._beats.pop(what, None)

    def beat(self, what: str) -> None:
        """`what` has made progress, or has looked and found nothing to do."""
        self._beats[what] = self._clock.monotonic()

    def set_ready(self, what: str, ok: bool, why: str = "") -> None:
        """Whether a condition of readiness holds, and if not, what it waits for."""
        self._conditions[what] = (ok, why)

    def healthy(self) -> tuple[bool, dict[str, Any]]:
        """Whether no expected loop has stalled, and for each how many seconds ago it made progress."""
        now = self._clock.monotonic()
        loops: dict[str, Any] = {}
        for what, since in self._expected.items():
            silent = now - max(since, self._beats.get(what, since))
            loops[what] = {"silent_s": round(silent, 3), "stalled": silent > self._stall_after_s}
        ok = not any(loop["stalled"] for loop in loops.values())
        return ok, {"role": self.role, "healthy": ok, "up_s": round(now - self._started, 3), "loops": loops}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether all conditions hold, and each with its reason."""
        ok = bool(self._conditions) and all(holds for holds, _ in self._conditions.values())
        conditions = {
            what: {"ok": holds} | ({"why": why} if why and not holds else {})
            for what, (holds, why) in self._conditions.items()
        }
        return ok, {"role": self.role, "ready": ok, "conditions": conditions}


@asynccontextmanager
async def serve(health: Health, host: str, port: int) -> AsyncIterator[int]:
    """Answer GET /metrics, /healthz (503 when stalled) and /readyz (503 when not ready) while inside.

    Yields the port, which is the kernel's choice if 0 was asked for.

    Raises
    ------
    SettingsError
        The port cannot be bound.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(health, head))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # whoever asked has gone, or never asked anything: nobody is there to be told
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    try:
        server = await asyncio.start_server(answer, host, port, limit=_REQUEST_BYTES)
    except OSError as error:
        raise SettingsError(f"health: cannot listen on {host}:{port}: {error.strerror or error}") from None
    async with server:
        yield server.sockets[0].getsockname()[1]


def _response(health: Health, head: bytes) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.split(b" ", 1)[0].split(b"?", 1)[0]
    content_type, body = "application/json", b""
    if method not in (b"GET", b"HEAD"):
        status = 405
    elif path == b"/metrics":
        status, content_type, body = 200, CONTENT_TYPE_LATEST, generate_latest()
    elif path in (b"/healthz", b"/readyz"):
        ok, report = health.healthy() if path == b"/healthz" else health.ready()
        status, body = 200 if ok else 503, orjson.dumps(report, option=orjson.OPT_APPEND_NEWLINE)
    else:
        status = 404
    lines = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Service Unavailable')}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if method == b"HEAD" else body)
