"""Slack, PagerDuty, Alertmanager and a webhook on this machine.

They hold us to the vendors' rules, and fail when told to.

A thread of its own serves them, so that a busy event loop does not make a vendor look slow.
"""

from __future__ import annotations

import secrets
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

import orjson

from service.demo import vendor_rules
from service.demo.slack_api import PATH, SlackApi
from service.runtime.clock import Clock, SystemClock

Vendor = Literal["slack", "slack_bot", "pagerduty", "alertmanager", "webhook"]
Verdict = Literal["accepted", "violation", "rate_limited", "scripted"]
_VENDORS: Final[tuple[Vendor, ...]] = ("slack", "slack_bot", "pagerduty", "alertmanager", "webhook")
_ALERTMANAGER: Final = "/alertmanager"
_PAGERDUTY_PATHS: Final = ("/v2/enqueue", "/v2/change/enqueue")
_MAX_BODY: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Received:
    """One request, and what came of it.

    Attributes
    ----------
    at : datetime
        Wall time of arrival, UTC.
    verdict : str
        `accepted`, `violation` (of the vendor's rules), `rate_limited`, or `scripted` (asked for by `fail`).
    """

    vendor: Vendor
    at: datetime
    path: str
    body: Any
    verdict: Verdict
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    complaints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure on purpose: wait `hang_s`, then answer `status`; 0 hangs up without an answer.

    `accepts`: the vendor keeps the message all the same, and only the answer goes wrong.
    """

    status: int = 500
    body: str = "scripted"
    retry_after: str | None = None
    hang_s: float = 0.0
    accepts: bool = False


class LocalReceivers:
    """All vendors on one free port of loopback. Use as a context manager, or `start` and `stop`.

    Attributes
    ----------
    received : list of Received
        Every request, in order of arrival.
    violations : list of str
        Every breach of a vendor's rules. Must be empty in the end.
    slack_api : SlackApi
        What Slack's Web API has: messages and threads as they are now.
    """

    def __init__(
        self,
        *,
        on_receipt: Callable[[Received], None] | None = None,
        slack_interval_s: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        """`on_receipt` is called in a server thread. `slack_interval_s`: messages closer together get a 429."""
        self.received: list[Received] = []
        self.violations: list[str] = []
        self.routing_key: Final = secrets.token_hex(16)
        self.hmac_secret: Final = secrets.token_hex(24)
        self._slack_path: Final = (
            f"/services/T{secrets.token_hex(4)}/B{secrets.token_hex(4)}/{secrets.token_hex(12)}"
        )
        self._on_receipt = on_receipt
        self._slack_interval_s = slack_interval_s
        self._clock = clock or SystemClock()
        self.slack_api: Final = SlackApi(self._clock, slack_interval_s)
        self._faults: dict[Vendor, deque[Fault]] = {vendor: deque() for vendor in _VENDORS}
        self._always: dict[Vendor, Fault | None] = dict.fromkeys(_VENDORS)
        self._last_slack: float | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """For PagerDuty's `base_url`."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def slack_url(self) -> str:
        return self.base_url + self._slack_path

    @property
    def slack_api_url(self) -> str:
        """For the bot's `base_url`."""
        return self.base_url + PATH.rstrip("/")

    @property
    def alertmanager_url(self) -> str:
        return self.base_url + _ALERTMANAGER

    @property
    def webhook_url(self) -> str:
        return f"{self.base_url}/hook"

    def start(self) -> None:
        self._stopping.clear()
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="receivers", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Ends hanging requests too."""
        self._stopping.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def fail(self, vendor: Vendor, faults: Iterable[Fault]) -> None:
        """Answer the next requests so, one fault each, then as usual."""
        with self._lock:
            self._faults[vendor].extend(faults)

    def fail_always(self, vendor: Vendor, fault: Fault | None) -> None:
        """Answer every request so until called with None."""
        with self._lock:
            self._always[vendor] = fault

    def of(self, vendor: Vendor, verdict: str | None = "accepted") -> list[Received]:
        """What a vendor got, by default only what it took; None for all."""
        with self._lock:
            return [r for r in self.received if r.vendor == vendor and verdict in (None, r.verdict)]

    # --- one request --------------------------------------------------------------------------------------

    def handle(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, str | None]:
        """Status, body and Retry-After of the answer. Status 0: hang up."""
        vendor = self._vendor(path)
        if vendor is None:
            return 404, "no_service", None
        with self._lock:
            fault = self._faults[vendor].popleft() if self._faults[vendor] else self._always[vendor]
        if vendor == "slack_bot" and fault is None:
            return self._call(path, headers, body)
        complaints = self._complaints(vendor, path, headers, body)
        if fault is not None:
            verdict: Literal["accepted", "scripted"] = "accepted" if fault.accepts else "scripted"
            self._keep(vendor, path, headers, body, verdict, fault.status, complaints)
            self._stopping.wait(fault.hang_s)
            return fault.status, fault.body, fault.retry_after
        if complaints:
            self._keep(vendor, path, headers, body, "violation", 400, complaints)
            return 400, _refusal(vendor, complaints), None
        if vendor == "slack" and self._too_soon():
            self._keep(vendor, path, headers, body, "rate_limited", 429, [])
            return 429, "rate_limited", "1"
        status = 202 if vendor == "pagerduty" else 200
        self._keep(vendor, path, headers, body, "accepted", status, [])
        return status, _acceptance(vendor, body), None

    def _call(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, str | None]:
        answer = self.slack_api.call(path, headers, body)
        verdict: Verdict = (
            "rate_limited" if answer.status == 429 else "accepted" if answer.body["ok"] else "violation"
        )
        self._keep("slack_bot", path, headers, body, verdict, answer.status, answer.complaints)
        return answer.status, orjson.dumps(answer.body).decode(), answer.retry_after

    def _vendor(self, path: str) -> Vendor | None:
        if path == self._slack_path:
            return "slack"
        if path in _PAGERDUTY_PATHS:
            return "pagerduty"
        if path.startswith(PATH):
            return "slack_bot"
        if path == f"{_ALERTMANAGER}/api/v2/alerts":
            return "alertmanager"
        return "webhook" if path == "/hook" else None

    def _complaints(self, vendor: Vendor, path: str, headers: dict[str, str], body: bytes) -> list[str]:
        if vendor == "slack":
            return vendor_rules.slack(body, headers.get("content-type", ""))
        if vendor == "pagerduty":
            return vendor_rules.pagerduty(path, body, self.routing_key)
        if vendor == "alertmanager":
            return vendor_rules.alertmanager(body, headers.get("content-type", ""))
        if vendor == "slack_bot":
            return []  # the fault comes first: nothing is looked at
        return vendor_rules.webhook(body, headers, self.hmac_secret, self._clock.now().timestamp())

    def _too_soon(self) -> bool:
        now = self._clock.monotonic()
        with self._lock:
            if self._last_slack is not None and now - self._last_slack < self._slack_interval_s:
                return True
            self._last_slack = now
            return False

    def _keep(
        self,
        vendor: Vendor,
        path: str,
        headers: dict[str, str],
        body: bytes,
        verdict: Verdict,
        status: int,
        complaints: list[str],
    ) -> None:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            document = None
        found = Received(
            vendor,
            self._clock.now(),
            path,
            document if isinstance(document, (dict, list)) else {},
            verdict,
            status,
            headers,
            tuple(complaints),
        )
        with self._lock:
            self.received.append(found)
            self.violations.extend(f"{vendor}: {complaint}" for complaint in complaints)
        if self._on_receipt is not None:
            self._on_receipt(found)


def _refusal(vendor: Vendor, complaints: list[str]) -> str:
    if vendor == "slack":
        return "invalid_payload"
    if vendor == "pagerduty":
        answer = {"status": "invalid event", "message": "Event object is invalid", "errors": complaints}
        return orjson.dumps(answer).decode()
    return "; ".join(complaints)


def _acceptance(vendor: Vendor, body: bytes) -> str:
    if vendor == "alertmanager":
        return ""
    if vendor != "pagerduty":
        return "ok"
    event = orjson.loads(body)
    answer = {"status": "success", "message": "Event processed"}
    if "dedup_key" in event:
        answer["dedup_key"] = event["dedup_key"]
    return orjson.dumps(answer).decode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A request that hangs on purpose must not keep the server from closing.
    block_on_close = False

    def __init__(self, receivers: LocalReceivers) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.receivers = receivers

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up or was killed is no error of ours; anything else is told as usual."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 30

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _MAX_BODY:
            self._answer(413, "too large", None)
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True  # killed in the middle of its request
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, text, retry_after = self.server.receivers.handle(urlsplit(self.path).path, headers, body)
        if status == 0:
            self.close_connection = True
            return
        self._answer(status, text, retry_after)

    def _answer(self, status: int, text: str, retry_after: str | None) -> None:
        content = text.encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if text.startswith("{") else "text/plain")
            self.send_header("Content-Length", str(len(content)))
            if retry_after is not None:
                self.send_header("Retry-After", retry_after)
            self.end_headers()
            self.wfile.write(content)
        except ConnectionError:
            self.close_connection = True  # whoever asked did not wait for the answer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the path is a secret, and `received` says more."""
