"""What the gateway library costs a call: microseconds per publish on the caller, and per decision.

Prints one JSON line. Run it with `make bench-gateway`. Percentiles are of single calls by the wall clock, so they
hold what the machine does beside them, and the publisher's own thread; `cpu` is the CPU time of the calling thread,
the mean of all calls.

Published is to a real broker, at a pace (`--rate`) and then as fast as the caller can. Decided is with nothing in
force; with 1,000 commands in force of which four are about the call; and with two budgets that reserve besides,
each call settled (outside the measured time).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from gateway import Call, Connection, Decision, Gate, Publisher
from schemas.budgets import BudgetScopeKind, BudgetSnapshot, SnapshotScope
from schemas.events import CostEvent
from schemas.throttles import Action, Block, Cap, Downgrade, Scope, Slow, ThrottleCommand
from schemas.topics import COST_EVENTS
from service.kafka.embedded.broker import choose
from tests.support.broker import create_topics, read_all

Figures = dict[str, float]
ROOT: Final = Path(__file__).parents[1]
_COMMANDS: Final = 1_000
_PLENTY: Final = 10**15


def main() -> int:
    """Returns the exit status: 1 when an event that was published did not arrive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument(
        "--litellm",
        metavar="PYTHON",
        help="an interpreter with litellm[proxy] (700 MB): measure its budget check beside",
    )
    parser.add_argument("--rate", type=float, default=2_000.0, help="events a second")
    options = parser.parse_args()
    with choose() as broker, tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        connection = Connection(broker.bootstrap)
        asyncio.run(create_topics(broker.bootstrap, {connection.topic(COST_EVENTS): 4}))
        with Publisher(connection, Path(folder)) as publisher:
            paced = _publish(publisher, options.events, options.rate)
            at_once = _publish(publisher, options.events, None)
            began = time.monotonic()
            delivered = publisher.close(120.0)
            drained_s = time.monotonic() - began
        arrived = len(asyncio.run(read_all(broker.bootstrap, connection.topic(COST_EVENTS))))
        line = {
            "broker": broker.name,
            "publish_us": {f"at {options.rate:g}/s": paced, "as fast as it can": at_once},
            "published": 2 * options.events,
            "arrived": arrived,
            "dropped": publisher.counts()["dropped"],
            "drained_s": round(drained_s, 2),
            "decide_us": {
                "nothing in force": _decide(Gate("bench"), options.decisions),
                "one budget that reserves": _decide(budgeted(Gate("bench"), 1), options.decisions),
                "1,000 commands, 4 about the call": _decide(commanded(Gate("bench")), options.decisions),
                "… and 2 budgets that reserve": _decide(
                    budgeted(commanded(Gate("bench")), 2), options.decisions
                ),
            },
            "litellm_check_us": _litellm(options.litellm, options.decisions),
        }
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    return 0 if delivered and arrived == 2 * options.events else 1


def _litellm(python: str | None, count: int) -> object:
    if python is None:
        return "not measured: give --litellm PYTHON"
    command = [python, "-m", "benchmarks.rivals.litellm_budget", str(count)]
    # Its price list comes with it; it would ask the network for a newer one.
    environ = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    said = subprocess.run(
        command, cwd=ROOT, env=environ, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return json.loads(said.splitlines()[-1])


def _publish(publisher: Publisher, count: int, rate: float | None) -> Figures:
    events = [_event(number) for number in range(count)]
    pending = iter(events)
    began = time.monotonic()
    pause = (lambda number: _until(began + number / rate)) if rate else None
    return _measured(count, lambda _: publisher.publish(next(pending)), pause)


def _decide(gate: Gate, count: int) -> Figures:
    calls = [
        Call(
            model="gpt-4o",
            workflow="support",
            trace_id=f"t{n % 500}",
            customer="acme",
            team="care",
            api_key="k",
        )
        for n in range(1_000)
    ]
    decided: list[Decision] = []

    def settle(_: int) -> None:
        if decided:
            gate.settle(decided.pop().ticket, 1_000)

    return _measured(count, lambda number: decided.append(gate.decide(calls[number % 1_000])), settle)


def _measured(count: int, work: Callable[[int], object], between: Callable[[int], None] | None) -> Figures:
    """Each call by the wall clock; the CPU time of this thread by the calls' share of it, all of them together."""
    walls = []
    cpu_ns = 0
    for number in range(count):
        if between is not None:
            between(number)
        cpu = time.thread_time_ns()
        wall = time.perf_counter_ns()
        work(number)
        walls.append(time.perf_counter_ns() - wall)
        cpu_ns += time.thread_time_ns() - cpu
    cuts = statistics.quantiles(walls, n=100)
    return {
        "p50": round(cuts[49] / 1e3, 2),
        "p99": round(cuts[98] / 1e3, 2),
        "cpu": round((cpu_ns / count - _clocks_ns()) / 1e3, 2),
    }


def _clocks_ns() -> float:
    """What reading the clocks costs."""
    count, total = 10_000, 0
    for _ in range(count):
        cpu = time.thread_time_ns()
        wall = time.perf_counter_ns()
        time.perf_counter_ns() - wall
        total += time.thread_time_ns() - cpu
    return total / count


def _until(instant: float) -> None:
    left = instant - time.monotonic()
    if left > 0:
        time.sleep(left)


def _event(number: int) -> CostEvent:
    return CostEvent(
        event_id=f"chatcmpl-{number:012d}",
        occurred_at=datetime.now(UTC),
        provider="openai",
        model="gpt-4o",
        workflow=f"workflow-{number % 50}",
        team="care",
        customer=f"customer-{number % 200}",
        trace_id=f"run-{number // 8}",
        gateway="bench",
        input_tokens=1_200,
        cached_input_tokens=1_024,
        output_tokens=310,
        latency_ms=812.5,
        operation="chat",
    )


def commanded(gate: Gate) -> Gate:
    """A thousand commands in force, four of them about the benchmark's calls."""
    about: list[tuple[Scope, Action]] = [
        (Scope(kind="customer", value="acme", workflow="support"), Cap(max_output_tokens=500)),
        (Scope(kind="workflow", value="support"), Slow(max_rps=1e9)),
        (Scope(kind="team", value="care"), Cap(max_calls_per_trace=10**9)),
        (Scope(kind="model", value="gpt-4o"), Downgrade(fallback_model="gpt-4o-mini")),
    ]
    others: list[tuple[Scope, Action]] = [
        (Scope(kind="trace", value=f"loop-{n}", workflow="support"), Block(message="Stopped."))
        for n in range(_COMMANDS - len(about))
    ]
    now = datetime.now(UTC)
    for number, (scope, action) in enumerate([*about, *others], start=1):
        gate.obey(
            ThrottleCommand(
                command_id=f"c{number}",
                scope=scope,
                action=action,
                reason="bench",
                mode="enforce",
                issued_at=now,
                expires_at=now + timedelta(hours=1),
                sequence=number,
            )
        )
    return gate


def budgeted(gate: Gate, count: int) -> Gate:
    """So many budgets that count and reserve for the benchmark's calls, and never run out."""
    scopes: list[tuple[BudgetScopeKind, str | None]] = [("workflow", "support"), ("organisation", None)]
    now = datetime.now(UTC)
    for kind, value in scopes[:count]:
        gate.take(
            BudgetSnapshot(
                budget=kind,
                scope=SnapshotScope(kind=kind, value=value),
                unit="nano_usd",
                window_start=now,
                window_end=now + timedelta(days=1),
                limit=_PLENTY,
                spent=0,
                counted_until=now,
                state="ok",
                hard=True,
                stop_at=_PLENTY,
                reserve=1_000_000,
                issued_at=now,
                valid_until=now + timedelta(hours=1),
                sequence=1,
            )
        )
    return gate


if __name__ == "__main__":
    sys.exit(main())
