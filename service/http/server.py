"""The HTTP server around `Post`: connections, errors as problems, metrics, an orderly end. aiohttp runs it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from service.door.post import BUSY_RETRY_S, Post
from service.door.problem import BY_STATUS, MEDIA_TYPE, Kind, Problem, later
from service.errors import SettingsError
from service.runtime.clock import Clock
from service.runtime.metrics import DOOR_CONNECTIONS_REFUSED, DOOR_REQUESTS, DOOR_SECONDS
from service.settings import DoorSettings

PATH: Final = "/v1/events"
DRAIN_S: Final = 15.0
"""How long requests under way may take to end when the process stops; the process has 25 s altogether."""
_LINGER_S: Final = 5.0
"""How long the rest of a body is read and thrown away after an early answer, so that the answer arrives."""
_CUT_OFF_S: Final = 2.0
"""… and after that until what is still there is cut off: by then, writing an answer at most."""
_GONE: Final = 499
"""In the metrics only: the client had gone before it could be answered (nginx's number for it)."""
_NAME: Final = "tidegate"
_TOO_MANY: Final = (
    f"HTTP/1.1 503 Service Unavailable\r\nServer: {_NAME}\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: 0\r\n"
    f"Retry-After: {BUSY_RETRY_S}\r\nConnection: close\r\n\r\n"
).encode()

_LOG = logging.getLogger(__name__)
_HTTP_LOG = logging.getLogger(f"{__name__}.http")


class _Garbage(logging.Filter):
    """Leaves out what is no HTTP: anybody can send it, as often as they like, and each would be a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        garbage = record.exc_info is not None and isinstance(record.exc_info[1], HttpProcessingError)
        if garbage:
            DOOR_REQUESTS.labels(400).inc()
        return not garbage


_HTTP_LOG.addFilter(_Garbage())


class Counter:
    """Where requests are counted in and out, and every end becomes an answer."""

    def __init__(self, post: Post, clock: Clock) -> None:
        self._post = post
        self._clock = clock
        self._under_way = 0
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._ending = False

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._around])
        application.router.add_post(PATH, self._post.answer, expect_handler=self._expect)
        return application

    async def end(self, timeout_s: float) -> None:
        """Take no more requests, and wait for those under way."""
        self._ending = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._nobody.wait()
        except TimeoutError:
            _LOG.warning("%d requests are cut off", self._under_way)

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        began = self._clock.monotonic()
        self._under_way += 1
        self._nobody.clear()
        try:
            response = await self._outcome(request, handler)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._nobody.set()
        # Nothing more is read from a connection that ends, or whose body was given up on.
        if self._ending or response.status == Kind.TOO_SLOW.status:
            response.force_close()
        DOOR_SECONDS.observe(self._clock.monotonic() - began)
        return _counted(response)

    async def _outcome(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if self._ending:
                raise later(Kind.UNAVAILABLE, "this process is ending", BUSY_RETRY_S)
            return await handler(request)
        except Problem as problem:
            return problem.response()
        except web.HTTPException as error:
            # aiohttp's own: no such path, no such method.
            headers = {str(hdrs.ALLOW): error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else None
            kind = BY_STATUS.get(error.status, Kind.BAD_REQUEST)
            return Problem(kind, f"the door is POST {PATH}", headers).response()
        except ConnectionError:
            return web.Response(status=_GONE)
        except Exception:  # noqa: BLE001 - the client is told, and the log
            _LOG.exception("a bug")
            return Problem(Kind.BUG, "the server's log says more").response()

    async def _expect(self, request: web.Request) -> web.StreamResponse | None:
        """`Expect: 100-continue`: whoever asks first is told before a large body is sent for nothing."""
        if request.version < HttpVersion11:
            return None
        if request.headers[hdrs.EXPECT].lower() != "100-continue":
            return _counted(Problem(Kind.EXPECTATION_FAILED, "only 100-continue is known").response())
        try:
            self._post.check(request)
        except Problem as problem:
            return _counted(problem.response())
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # as aiohttp's own handler does: this was not the answer yet
        return None


def _counted(response: web.StreamResponse) -> web.StreamResponse:
    response.headers.setdefault(hdrs.SERVER, _NAME)
    DOOR_REQUESTS.labels(response.status).inc()
    return response


class _Refusal(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        DOOR_CONNECTIONS_REFUSED.inc()
        assert isinstance(transport, asyncio.Transport)
        transport.write(_TOO_MANY)
        transport.close()


@asynccontextmanager
async def serve(door: DoorSettings, post: Post, clock: Clock) -> AsyncIterator[int]:
    """Listen while inside; yields the port. At the end nothing new is taken, and what is under way is finished.

    Raises
    ------
    SettingsError
        The address cannot be bound, or the certificate not be read.
    """
    counter = Counter(post, clock)
    runner = web.AppRunner(
        counter.application(),
        handle_signals=False,
        access_log=None,  # metrics say it, and a line per request would say who asked
        logger=_HTTP_LOG,
        keepalive_timeout=door.idle_timeout_s,
        lingering_time=_LINGER_S,
        auto_decompress=False,  # unpacked by us, with a bound
        shutdown_timeout=_CUT_OFF_S,
    )
    await runner.setup()
    http = runner.server
    assert http is not None

    def accept() -> asyncio.BaseProtocol:
        # aiohttp takes any number; each may hold a read buffer of 128 kB before its body is counted.
        return http() if len(http.connections) < door.max_connections else _Refusal()

    try:
        try:
            listener = await asyncio.get_running_loop().create_server(
                accept, door.host, door.port, ssl=_ssl_context(door)
            )
        except OSError as error:
            raise SettingsError(
                f"door: cannot listen on {door.host}:{door.port}: {error.strerror or error}"
            ) from None
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
            await counter.end(DRAIN_S)
    finally:
        await runner.cleanup()


def _ssl_context(door: DoorSettings) -> ssl.SSLContext | None:
    if door.tls_certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(door.tls_certfile, door.tls_keyfile, password=_refuse_to_prompt)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"door.tls_*: {error.strerror or error}") from None
    return context


def _refuse_to_prompt() -> str:
    raise SettingsError("door.tls_keyfile: an encrypted key is not supported, decrypt it at deploy time")
