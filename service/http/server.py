"""An HTTP server around routes: connections, errors as problems, metrics, an orderly end. aiohttp runs it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from prometheus_client import Counter, Histogram

from service.errors import SettingsError
from service.http.intake import BUSY_RETRY_S
from service.http.problem import BY_STATUS, MEDIA_TYPE, Kind, Problem, later
from service.runtime.clock import Clock
from service.settings import HttpSettings

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


class Route(NamedTuple):
    """One thing that can be asked for.

    Attributes
    ----------
    check : callable
        What can be said of a request before its body is read; raises Problem.
    timed : bool
        Whether the time to its answer says anything: it does not where a client asks to wait.
    """

    method: str
    path: str
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    check: Callable[[web.Request], object]
    timed: bool = True


class Meters(NamedTuple):
    """Metrics of one site: answers by `status`, seconds to an answer, connections over the limit."""

    requests: Counter
    seconds: Histogram
    connections_refused: Counter


@dataclass(frozen=True)
class Site:
    """What a role puts on the net. `name`: its section of the settings, and part of its problems' types."""

    name: str
    routes: Sequence[Route]
    meters: Meters
    on_end: Callable[[], None] = lambda: None
    """Called when no more requests are taken: whoever waits for something long is to be answered now."""

    @property
    def told(self) -> str:
        return f"here is {', '.join(f'{route.method} {route.path}' for route in self.routes)}"


class _Garbage(logging.Filter):
    """Leaves out what is no HTTP: anybody can send it, as often as they like, and each would be a traceback."""

    def __init__(self, requests: Counter) -> None:
        super().__init__()
        self._requests = requests

    def filter(self, record: logging.LogRecord) -> bool:
        garbage = record.exc_info is not None and isinstance(record.exc_info[1], HttpProcessingError)
        if garbage:
            self._requests.labels(400).inc()
        return not garbage


class Desk:
    """Where requests are counted in and out, and every end becomes an answer."""

    def __init__(self, site: Site, clock: Clock) -> None:
        self._site = site
        self._clock = clock
        self._untimed = {route.path for route in site.routes if not route.timed}
        self._checks = {(route.method, route.path): route.check for route in site.routes}
        self._under_way = 0
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._ending = False

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._around])
        for route in self._site.routes:
            application.router.add_route(route.method, route.path, route.answer, expect_handler=self._expect)
        return application

    async def end(self, timeout_s: float) -> None:
        """Take no more requests, and wait for those under way."""
        self._ending = True
        self._site.on_end()
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
        if request.path not in self._untimed:
            self._site.meters.seconds.observe(self._clock.monotonic() - began)
        return self._counted(response)

    async def _outcome(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if self._ending:
                raise later(Kind.UNAVAILABLE, "this process is ending", BUSY_RETRY_S)
            return await handler(request)
        except Problem as problem:
            return problem.response(self._site.name)
        except web.HTTPException as error:
            # aiohttp's own: no such path, no such method.
            headers = {str(hdrs.ALLOW): error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else None
            kind = BY_STATUS.get(error.status, Kind.BAD_REQUEST)
            return Problem(kind, self._site.told, headers).response(self._site.name)
        except ConnectionError:
            return web.Response(status=_GONE)
        except Exception:  # noqa: BLE001 - the client is told, and the log
            _LOG.exception("a bug")
            return Problem(Kind.BUG, "the server's log says more").response(self._site.name)

    async def _expect(self, request: web.Request) -> web.StreamResponse | None:
        """`Expect: 100-continue`: whoever asks first is told before a large body is sent for nothing."""
        if request.version < HttpVersion11:
            return None
        if request.headers[hdrs.EXPECT].lower() != "100-continue":
            refused = Problem(Kind.EXPECTATION_FAILED, "only 100-continue is known")
            return self._counted(refused.response(self._site.name))
        try:
            self._checks[request.method, request.path](request)
        except Problem as problem:
            return self._counted(problem.response(self._site.name))
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # as aiohttp's own handler does: this was not the answer yet
        return None

    def _counted(self, response: web.StreamResponse) -> web.StreamResponse:
        response.headers.setdefault(hdrs.SERVER, _NAME)
        self._site.meters.requests.labels(response.status).inc()
        return response


class _Refusal(asyncio.Protocol):
    """One connection too many."""

    def __init__(self, refused: Counter) -> None:
        self._refused = refused

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._refused.inc()
        assert isinstance(transport, asyncio.Transport)
        transport.write(_TOO_MANY)
        transport.close()


@asynccontextmanager
async def serve(settings: HttpSettings, site: Site, clock: Clock) -> AsyncIterator[int]:
    """Listen while inside; yields the port. At the end nothing new is taken, and what is under way is finished.

    Raises
    ------
    SettingsError
        The address cannot be bound, or the certificate not be read.
    """
    desk = Desk(site, clock)
    log = logging.getLogger(f"{__name__}.{site.name}")
    garbage = _Garbage(site.meters.requests)
    runner = web.AppRunner(
        desk.application(),
        handle_signals=False,
        access_log=None,  # metrics say it, and a line per request would say who asked
        logger=log,
        keepalive_timeout=settings.idle_timeout_s,
        lingering_time=_LINGER_S,
        auto_decompress=False,  # unpacked by us, with a bound
        shutdown_timeout=_CUT_OFF_S,
    )
    log.addFilter(garbage)
    await runner.setup()
    http = runner.server
    assert http is not None

    def accept() -> asyncio.BaseProtocol:
        # aiohttp takes any number; each may hold a read buffer of 128 kB before its body is counted.
        if len(http.connections) < settings.max_connections:
            return http()
        return _Refusal(site.meters.connections_refused)

    try:
        try:
            listener = await asyncio.get_running_loop().create_server(
                accept, settings.host, settings.port, ssl=_ssl_context(settings, site.name)
            )
        except OSError as error:
            raise SettingsError(
                f"{site.name}: cannot listen on {settings.host}:{settings.port}: {error.strerror or error}"
            ) from None
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
            await desk.end(DRAIN_S)
    finally:
        await runner.cleanup()
        log.removeFilter(garbage)


def _ssl_context(settings: HttpSettings, section: str) -> ssl.SSLContext | None:
    if settings.tls_certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(
            settings.tls_certfile, settings.tls_keyfile, password=lambda: _refuse_to_prompt(section)
        )
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"{section}.tls_*: {error.strerror or error}") from None
    return context


def _refuse_to_prompt(section: str) -> str:
    raise SettingsError(
        f"{section}.tls_keyfile: an encrypted key is not supported, decrypt it at deploy time"
    )
