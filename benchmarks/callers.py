"""A gateway process with simulated callers: `python -m benchmarks.callers PLAN`, a file (`Plan` as JSON).

Gate, Feed and Publisher are put together as docs/gateway.md shows. A call is a sleep, and costs what its seed drew.
The callers begin when the file `go` appears and stop at SIGTERM; then what is under way is waited for, everything
is published, and what happened is written to the plan's `result` (`Result` as JSON). Times are of the monotonic
clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway import Call, Connection, Decision, Feed, Gate, GatePolicy, Publisher
from schemas.events import CostEvent
from schemas.money import NANOS_PER_USD, usd
from service.runtime.garbage import collect_rarely

DEAREST: Final = 4.0
"""Times the mean: no call costs more."""
_SPREAD: Final = 0.5
_CLOSE_S: Final = 120.0


class Plan(msgspec.Struct):
    """What one gateway process does.

    Attributes
    ----------
    budget : str or None
        The callers wait until the gate knows it.
    rate_usd : float
        What all its callers together spend a second, while none is refused.
    mean_s : float
        Of one call; each takes between half and one and a half times as long.
    estimate : "none" or "bound"
        What the gate is told that a call may cost: nothing, or up to twice what it will.
    retry_s : float
        A refused caller tries again after about so long.
    """

    name: str
    bootstrap: str
    prefix: str
    go: str
    spool: str
    result: str
    workflow: str
    budget: str | None
    callers: int
    rate_usd: float
    mean_s: float
    seed: int
    estimate: str = "none"
    processes: int = 1
    on_stale: Literal["open", "closed"] = "open"
    stale_after_s: float = 30.0
    retry_s: float = 0.5

    @property
    def mean_nanos(self) -> float:
        """Of one call: each caller makes one call after the other."""
        return self.rate_usd * NANOS_PER_USD * self.mean_s / self.callers


class Made(msgspec.Struct, array_like=True):
    """A call that was made: from when to when, and what it cost."""

    begun: float
    ended: float
    nanos: int


class Refused(msgspec.Struct, array_like=True):
    at: float
    code: str


class Result(msgspec.Struct):
    """What happened in one gateway process.

    Attributes
    ----------
    slowest_decide_ms, slowest_publish_ms : float
        What a caller ever waited for the library.
    slowest_turn_ms : float
        The longest that the event loop, which all callers share, stood still: the machine's doing, or ours.
    """

    made: list[Made]
    refused: list[Refused]
    delivered: bool
    dropped: int
    failures: int
    slowest_decide_ms: float
    slowest_publish_ms: float
    slowest_turn_ms: float


class Callers:
    """So many callers of one workflow, each making one call after the other."""

    def __init__(self, plan: Plan, gate: Gate, publisher: Publisher) -> None:
        self._plan = plan
        self._gate = gate
        self._publisher = publisher
        self._stop = asyncio.Event()
        self._number = 0
        self.made: list[Made] = []
        self.refused: list[Refused] = []
        self.slowest_decide = self.slowest_publish = self.slowest_turn = 0.0

    async def run(self) -> None:
        """Until SIGTERM, and the calls that are under way then to their end."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop.set)
        watching = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._caller(number) for number in range(self._plan.callers)))
        watching.cancel()

    async def _watch(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            self.slowest_turn = max(self.slowest_turn, time.monotonic() - began - 0.01)

    async def _caller(self, number: int) -> None:
        plan = self._plan
        chance = random.Random(f"{plan.seed}:{plan.name}:{number}")
        await self._pause(chance.random() * plan.mean_s)
        while not self._stop.is_set():
            nanos = min(
                round(plan.mean_nanos * chance.lognormvariate(-(_SPREAD**2) / 2, _SPREAD)),
                int(DEAREST * plan.mean_nanos),
            )
            length = plan.mean_s * chance.uniform(0.5, 1.5)
            estimate = round(nanos * chance.uniform(1.0, 2.0)) if plan.estimate == "bound" else None
            if not await self._call(nanos, length, estimate):
                await self._pause(plan.retry_s * chance.uniform(0.5, 1.5))

    async def _call(self, nanos: int, length: float, estimate: int | None) -> bool:
        decision = self._decide(estimate)
        if decision.rejection is not None:
            self.refused.append(Refused(time.monotonic(), decision.rejection.code))
            return False
        begun = time.monotonic()
        await asyncio.sleep(length)
        ended = time.monotonic()
        self._gate.settle(decision.ticket, nanos)
        settled = time.monotonic()
        self._number += 1
        self._publisher.publish(
            CostEvent(
                event_id=f"{self._plan.name}-{self._plan.workflow}-{self._number}",
                occurred_at=datetime.now(UTC),
                provider="openai",
                model="gpt-4o",
                workflow=self._plan.workflow,
                gateway=self._plan.name,
                input_tokens=1_200,
                output_tokens=310,
                cost_usd=usd(nanos),
                operation="chat",
            )
        )
        self.slowest_publish = max(self.slowest_publish, time.monotonic() - settled)
        self.made.append(Made(begun, ended, nanos))
        return True

    def _decide(self, estimate: int | None) -> Decision:
        asked = time.monotonic()
        decision = self._gate.decide(
            Call(model="gpt-4o", workflow=self._plan.workflow, estimate_nanos=estimate)
        )
        self.slowest_decide = max(self.slowest_decide, time.monotonic() - asked)
        return decision

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return


async def run(plan: Plan) -> Result:
    """Play the plan."""
    connection = Connection(plan.bootstrap, plan.prefix)
    gate = Gate(
        plan.name,
        GatePolicy(on_stale=plan.on_stale, stale_after_s=plan.stale_after_s, processes=plan.processes),
    )
    publisher = Publisher(connection, Path(plan.spool), name=plan.name).start()
    with Feed(connection, gate, name=plan.name) as feed:
        await asyncio.to_thread(feed.wait_caught_up, 60.0)
        while plan.budget is not None and gate.left(plan.budget) is None:  # noqa: ASYNC110 - another's thread
            await asyncio.sleep(0.02)
        callers = Callers(plan, gate, publisher)
        sys.stderr.write("waiting for go\n")
        sys.stderr.flush()
        while not Path(plan.go).exists():  # noqa: ASYNC110, ASYNC240 - another process has no Event
            await asyncio.sleep(0.01)
        await callers.run()
        delivered = await asyncio.to_thread(publisher.close, _CLOSE_S)
    counts = publisher.counts()
    return Result(
        callers.made,
        callers.refused,
        delivered,
        counts["dropped"],
        counts["failures"] + feed.counts()["failures"],
        round(callers.slowest_decide * 1e3, 3),
        round(callers.slowest_publish * 1e3, 3),
        round(callers.slowest_turn * 1e3, 1),
    )


if __name__ == "__main__":
    collect_rarely()
    given = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    told = asyncio.run(run(given))
    Path(given.result).write_bytes(msgspec.json.encode(told))
