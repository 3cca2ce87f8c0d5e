"""A gateway process with agents of which one after the other gets into a loop: `python -m benchmarks.loops PLAN`.

Agents of `workflows` workflows make their usual runs through a Gate, at the pace and price that their past had.
When the file `go` appears, every `every_s` seconds one run of another workflow calls again and again, each call at
once after the one before, until the gate refuses one or `give_up_s` is over. Then the plan's `result` is written
(`Loop` as JSON, one for each). Times are of the monotonic clock.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from gateway import Call, Connection, Feed, Gate, Publisher
from schemas.events import CostEvent
from schemas.money import NANOS_PER_USD, usd
from service.runtime.garbage import collect_rarely

CALLS: Final = (2, 4)
"""Of a usual run."""
USUAL_NANOS: Final = 4_000_000
"""Of a usual call: a run costs about a cent."""
_CALL_S: Final = 0.5


class Plan(msgspec.Struct):
    """What the process does.

    Attributes
    ----------
    runs_s : float
        Usual runs a second in each workflow.
    loop_calls_s, loop_usd : (float, float)
        Between which the pace of a loop and the price of its calls lie.
    """

    bootstrap: str
    prefix: str
    go: str
    spool: str
    result: str
    workflows: list[str]
    seed: int
    runs_s: float
    every_s: float
    give_up_s: float
    loop_calls_s: tuple[float, float]
    loop_usd: tuple[float, float]


class Loop(msgspec.Struct):
    """One trial.

    Attributes
    ----------
    began : float
        When its first call was made that no usual run makes.
    ended : list of (float, int)
        When each call of the run ended and was published, and its cost; the usual ones before the loop, too.
    refused : float or None
        When the gate refused the first call; None: never.
    known : float or None
        When the feed had given the gate a command about it, to within five milliseconds.
    """

    workflow: str
    trace: str
    calls_s: float
    call_usd: float
    began: float
    ended: list[tuple[float, int]]
    refused: float | None = None
    known: float | None = None


def usual_event(chance: random.Random, workflow: str, trace: str, number: int, at: datetime) -> CostEvent:
    """A call as the agents usually make it."""
    return event(workflow, trace, number, at, usual_nanos(chance))


def usual_nanos(chance: random.Random) -> int:
    """What a usual call costs."""
    return round(USUAL_NANOS * chance.uniform(0.7, 1.3))


def event(workflow: str, trace: str, number: int, at: datetime, nanos: int) -> CostEvent:
    """A call of that cost, at list price."""
    tokens = nanos // 2_500
    return CostEvent(
        event_id=f"{trace}-{number}",
        occurred_at=at,
        provider="openai",
        model="gpt-4o",
        workflow=workflow,
        customer=f"customer-{hash_of(trace) % 20}",
        trace_id=trace,
        gateway="bench-loops",
        input_tokens=max(tokens - tokens // 20, 0),
        output_tokens=tokens // 80,
        cost_usd=usd(nanos),
        operation="chat",
    )


def hash_of(text: str) -> int:
    """The same in every process."""
    return sum(text.encode())


class Agents:
    """All of them, on one gate."""

    def __init__(self, plan: Plan, gate: Gate, publisher: Publisher) -> None:
        self._plan = plan
        self._gate = gate
        self._publisher = publisher
        self._chance = random.Random(plan.seed)
        self.loops: list[Loop] = []

    async def run(self) -> None:
        """Usual runs; from `go` on loops; until the last of these is over."""
        usual = [asyncio.create_task(self._usually(workflow)) for workflow in self._plan.workflows]
        while not Path(self._plan.go).exists():  # noqa: ASYNC110, ASYNC240 - another process has no Event
            await asyncio.sleep(0.05)
        trials = []
        for number, workflow in enumerate(self._plan.workflows):
            trials.append(asyncio.create_task(self._loop(number, workflow)))
            await asyncio.sleep(self._plan.every_s * self._chance.uniform(0.8, 1.2))
        await asyncio.gather(*trials)
        for task in usual:
            task.cancel()
        await asyncio.gather(*usual, return_exceptions=True)

    async def _usually(self, workflow: str) -> None:
        chance = random.Random(f"{self._plan.seed}:{workflow}")
        number = 0
        while True:
            await asyncio.sleep(chance.expovariate(self._plan.runs_s))
            trace = f"{workflow}-now-{number}"
            number += 1
            for call in range(chance.randint(*CALLS)):
                if not await self._call(workflow, trace, call, usual_nanos(chance), _CALL_S):
                    break

    async def _loop(self, number: int, workflow: str) -> None:
        plan, chance = self._plan, random.Random(f"{self._plan.seed}:loop:{number}")
        trace = f"{workflow}-loop"
        ended = []
        count = chance.randint(*CALLS)
        for call in range(count):
            nanos = usual_nanos(chance)
            await self._call(workflow, trace, call, nanos, _CALL_S)
            ended.append((time.monotonic(), nanos))
        pace, price = chance.uniform(*plan.loop_calls_s), chance.uniform(*plan.loop_usd)
        loop = Loop(workflow, trace, round(pace, 1), round(price, 3), time.monotonic(), ended)
        self.loops.append(loop)
        key = f"trace:{trace}@{workflow}"
        watching = asyncio.create_task(self._watch(loop, key))
        due = loop.began
        while time.monotonic() < loop.began + plan.give_up_s:
            nanos = round(price * NANOS_PER_USD)
            due += 1 / pace
            if not await self._call(
                workflow, trace, len(loop.ended), nanos, max(0.0, due - time.monotonic())
            ):
                loop.refused = time.monotonic()
                break
            loop.ended.append((time.monotonic(), nanos))
        watching.cancel()

    async def _watch(self, loop: Loop, key: str) -> None:
        while loop.known is None:
            await asyncio.sleep(0.005)
            if key in self._gate.in_force():
                loop.known = time.monotonic()

    async def _call(self, workflow: str, trace: str, number: int, nanos: int, length: float) -> bool:
        decision = self._gate.decide(Call(model="gpt-4o", workflow=workflow, trace_id=trace))
        if decision.rejection is not None:
            return False
        await asyncio.sleep(length)
        self._gate.settle(decision.ticket, nanos)
        self._publisher.publish(event(workflow, trace, number, datetime.now(UTC), nanos))
        return True


async def run(plan: Plan) -> list[Loop]:
    """Play the plan."""
    connection = Connection(plan.bootstrap, plan.prefix)
    gate = Gate("bench-loops")
    publisher = Publisher(connection, Path(plan.spool), name="bench-loops").start()
    with Feed(connection, gate, name="bench-loops") as feed:
        await asyncio.to_thread(feed.wait_caught_up, 60.0)
        agents = Agents(plan, gate, publisher)
        sys.stderr.write("waiting for go\n")
        sys.stderr.flush()
        await agents.run()
        await asyncio.to_thread(publisher.close, 60.0)
    return agents.loops


if __name__ == "__main__":
    collect_rarely()
    given = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    told = asyncio.run(run(given))
    Path(given.result).write_bytes(msgspec.json.encode(told))
