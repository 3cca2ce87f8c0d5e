"""What the decision API takes on one core: time to an answer at a steady rate, and the most that it answers.

Prints one JSON line. Run it with `make bench-decisions`. The server is a process of its own on one core, with the
role's own HTTP port, gate and tickets, without a broker: what holds is told to the gate beforehand. The client is
this process, on the other core, over `--connections` connections.

At the steady rate requests are due one after the other, and each is timed from the moment it was due, not from
when it could be sent: a server that stalls is not spared what would have come meanwhile. Beside it stands how late
the client itself was (`sent_late_ms`), which no server can help. Where budgets count, every second request settles
a ticket that an earlier one brought. CPU time is the server's, user and system, divided by its requests.

On a machine with other work the server and the client wait for their cores. The kernel says how long: `robbed` is
the share of the time in which the server was ready and another process had its core. `undisturbed` are the figures
of those tenths of a second in which both waited for less than a fiftieth of it, as they had in the one before (what
had piled up is not theirs), and `share` is how many of all requests these are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from benchmarks.cores import BROKER_CORE, CONSUMER_CORE, cpu_seconds, machine, pinned
from benchmarks.decisions_server import TOKEN
from service.runtime.garbage import collect_rarely

ROOT: Final = Path(__file__).parents[1]
_TICKET: Final = re.compile(rb'"ticket":"([^"]+)"')
_LENGTH: Final = re.compile(rb"Content-Length: (\d+)")
_WARM: Final = 1_000
_TICK_S: Final = 0.0005
_WINDOW_S: Final = 0.1
_CALM: Final = 0.02
_ENOUGH: Final = 500


def main() -> int:
    """Returns the exit status: 1 when an answer was not 200."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=2_000.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=15.0, help="of the steady rate")
    parser.add_argument("--most", type=int, default=20_000, help="requests as fast as they are answered")
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    os.sched_setaffinity(0, {BROKER_CORE})
    measured = {}
    failed = 0
    for name, budgets, batch in (
        ("nothing in force", 0, 1),
        ("1,000 commands, 2 budgets, settled", 2, 1),
        ("… in batches of 20", 2, 20),
    ):
        figures = _measure(budgets, batch, options)
        failed += figures.pop("failed")
        measured[name] = figures
    line = {
        "machine": machine(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "failed": failed,
        "requests": measured,
    }
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    return 1 if failed else 0


class _Line(asyncio.Protocol):
    """One connection, one request at a time. No tasks and no futures: the client must not be what is measured."""

    def __init__(self, client: _Client) -> None:
        self._client = client
        self._buffer = b""
        self.due = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._client.lost += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        length = _LENGTH.search(self._buffer, 0, head) if head > 0 else None
        if length is not None and len(self._buffer) >= head + 4 + int(length[1]):
            answer, self._buffer = self._buffer, b""
            self._client.answered(self, answer)

    def ask(self, request: bytes, due: float) -> None:
        assert self.transport is not None
        self.due = due
        self.transport.write(request)


class _Client:
    """Asks and settles by turns, over several connections: each as it becomes free, or at a rate."""

    def __init__(self, batch: int, *, settles: bool) -> None:
        self.free: list[_Line] = []
        self.waiting = deque[float]()
        self.took: list[tuple[float, float]] = []
        """When each was due, and how long it took."""
        self.failed = self.lost = 0
        self.to_ask = 0
        self._batch = batch
        self._settles = settles
        self._tickets: deque[bytes] = deque()
        self._turn = 0
        self.done = asyncio.Event()
        call = {"model": "gpt-4o", "workflow": "support", "customer": "acme", "team": "care", "api_key": "k"}
        self._asks = [
            _request("decisions", {"calls": [{**call, "trace_id": f"t{n}-{k}"} for k in range(batch)]})
            for n in range(500)
        ]

    def ask(self, due: float) -> None:
        """A request that is due: sent over a free connection, or over the next that becomes free."""
        if self.free:
            self.free.pop().ask(self._next(), due)
        else:
            self.waiting.append(due)

    def answered(self, line: _Line, answer: bytes) -> None:
        now = time.perf_counter()
        self.took.append((line.due, now - line.due))
        if not answer.startswith(b"HTTP/1.1 200 "):
            self.failed += 1
        if self._settles:
            self._tickets.extend(_TICKET.findall(answer))
        if self.waiting:
            line.ask(self._next(), self.waiting.popleft())
        elif self.to_ask:
            self.to_ask -= 1
            line.ask(self._next(), now)
        else:
            self.free.append(line)
            self.done.set()

    def _next(self) -> bytes:
        self._turn += 1
        if self._settles and self._turn % 2 == 0 and len(self._tickets) >= self._batch:
            tickets = [self._tickets.popleft().decode() for _ in range(self._batch)]
            return _request(
                "settlements", {"settlements": [{"ticket": t, "cost_nanos": 9_310_000} for t in tickets]}
            )
        return self._asks[self._turn % len(self._asks)]

    async def all_free(self, lines: int) -> None:
        """Until nothing is under way. Raises RuntimeError when the server closes a connection."""
        while len(self.free) < lines:
            if self.lost:
                raise RuntimeError("the server closed a connection")
            self.done.clear()
            await self.done.wait()


def _request(what: str, body: dict[str, Any]) -> bytes:
    written = json.dumps(body).encode()
    return (
        f"POST /v1/{what} HTTP/1.1\r\nHost: decisions\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(written)}\r\n\r\n"
    ).encode() + written


def _measure(budgets: int, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    command = pinned([sys.executable, "-m", "benchmarks.decisions_server", str(budgets)], CONSUMER_CORE)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            return asyncio.run(_ask(port, server.pid, budgets, batch, options))
        finally:
            server.send_signal(signal.SIGTERM)


async def _ask(port: int, pid: int, budgets: int, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    client = _Client(batch, settles=budgets > 0)
    loop = asyncio.get_running_loop()
    lines = [
        (await loop.create_connection(lambda: _Line(client), "127.0.0.1", port))[1]
        for _ in range(options.connections)
    ]
    client.free = list(lines)
    collect_rarely()
    await _as_fast_as_it_can(client, _WARM, pid)
    rate = options.rate / batch
    figures: dict[str, Any] = {
        f"at {rate:g}/s": await _steadily(client, rate, options.seconds, pid),
        "as fast as it can": await _as_fast_as_it_can(client, options.most // batch, pid),
        "failed": client.failed,
    }
    for line in lines:
        assert line.transport is not None
        line.transport.close()
    return figures


async def _steadily(client: _Client, rate: float, seconds: float, pid: int) -> dict[str, Any]:
    count, lines = int(rate * seconds), len(client.free)
    client.took = []
    late: list[float] = []
    cpu, own, began = cpu_seconds(pid), time.process_time(), time.perf_counter()
    sent = 0
    waits = [(began, _waited(pid), _waited(os.getpid()))]
    while sent < count:
        now = time.perf_counter()
        if now - waits[-1][0] >= _WINDOW_S:
            waits.append((now, _waited(pid), _waited(os.getpid())))
        while sent < count and (due := began + sent / rate) <= now:
            late.append(now - due)
            client.ask(due)
            sent += 1
        await asyncio.sleep(_TICK_S)
    await client.all_free(lines)
    elapsed = time.perf_counter() - began
    own = time.process_time() - own
    cpu = cpu_seconds(pid) - cpu
    quiet = _quiet(client.took, waits)
    return {
        "rate": round(count / elapsed, 1),
        **_cuts([took for _, took in client.took]),
        "undisturbed": {"share": round(len(quiet) / count, 2), **_cuts(quiet)},
        "robbed": round((waits[-1][1] - waits[0][1]) / (waits[-1][0] - waits[0][0]), 2),
        "sent_late_ms_p50": round(statistics.median(late) * 1e3, 2),
        "sent_late_ms_p99": round(statistics.quantiles(late, n=100)[98] * 1e3, 2),
        "cpu_us": round(cpu / count * 1e6, 1),
        "core": round(cpu / elapsed, 2),
        "client_core": round(own / elapsed, 2),
    }


def _waited(pid: int) -> float:
    """Seconds that a process has been ready to run so far while others had its core."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def _quiet(took: list[tuple[float, float]], waits: list[tuple[float, float, float]]) -> list[float]:
    """Times of the requests that were due in windows without others on either core, after such a window."""
    quiet: list[float] = []
    calm_before = False
    at = 0
    took.sort()
    for (begin, server, client), (end, server_then, client_then) in pairwise(waits):
        calm = max(server_then - server, client_then - client) < _CALM * (end - begin)
        first = at
        while at < len(took) and took[at][0] < end:
            at += 1
        if calm and calm_before:
            quiet += [seconds for _, seconds in took[first:at]]
        calm_before = calm
    return quiet


def _cuts(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < _ENOUGH:
        return {}
    cuts = statistics.quantiles(seconds, n=1_000)
    return {
        f"{name}_ms": round(cuts[at] * 1e3, 2) for name, at in (("p50", 499), ("p99", 989), ("p999", 998))
    }


async def _as_fast_as_it_can(client: _Client, count: int, pid: int) -> dict[str, float]:
    lines = len(client.free)
    cpu, began = cpu_seconds(pid), time.perf_counter()
    client.to_ask = max(count - lines, 0)
    for _ in range(lines):
        client.ask(time.perf_counter())
    await client.all_free(lines)
    elapsed = time.perf_counter() - began
    used = cpu_seconds(pid) - cpu
    return {
        "rate": round(count / elapsed, 1),
        "cpu_us": round(used / count * 1e6, 1),
        "core": round(used / elapsed, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
