"""How far past a hard budget callers get. `make bench-budget`: one JSON line.

A real Kafka with the ingest and budgets roles; gateways as processes of their own (`benchmarks.callers`), a trial
with one of them and a trial with three. 200 callers together spend $5 a second on one workflow that has a hard
budget of $20. Each trial has a workflow and a budget of its own; other workflows make some calls beside it, as they
do everywhere: a partition without any would hold back what is known to be complete.

What was spent is what the callers were charged, and a trial counts only if the ledger says the same to the
nano-dollar. `under_way_usd` is of calls that had begun when the limit was reached (which nobody can know beforehand
without reserving), `begun_after_usd` of calls that a gateway let pass later, because it had not heard yet what the
others spent. `refused_from_usd` is what had been spent when the first call was refused, and `reached_after_s` how
much later the limit was really reached.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from benchmarks.callers import Plan, Result
from benchmarks.cores import machine
from benchmarks.installation import Installation
from benchmarks.process import RunFailed
from schemas.budgets import BudgetSnapshot
from schemas.control import Budget
from schemas.decode import decode, validate
from schemas.money import NANOS_PER_USD
from schemas.topics import BUDGETS
from service.kafka.reader import read
from tests.support.roles import RoleProcess

LIMIT_USD: Final = 20.0
RATE_USD: Final = 5.0
CALLERS: Final = 200
_READY_S: Final = 60.0
_COUNTED_S: Final = 60.0
_BESIDE: Final = ("200", "100000", "500")
"""Events a second, seconds and workflows of the traffic beside: `benchmarks.paced`."""
_QUARTERS: Final = ("UTC", "Asia/Kathmandu", "Asia/Kolkata")
"""Zones whose hours begin at different quarters of ours: some hour ends soon."""
_LEAD_S: Final = 35.0
"""A trial over the end of a window begins so long before it."""


class Kind(NamedTuple):
    """What differs between trials.

    Attributes
    ----------
    reserve : str
        `no`; `bound`: the gate is told of each call the most that it can cost; `unknown`: it is told nothing.
    """

    processes: int
    reserve: str
    call_s: float

    def __str__(self) -> str:
        many = "process" if self.processes == 1 else "processes"
        return f"{self.processes} {many}, reserve {self.reserve}, calls of {self.call_s:g} s"


class Snapshot(NamedTuple):
    """When it was sent, by the wall clock, and what it says."""

    at: float
    told: BudgetSnapshot


def main() -> int:
    """Returns the exit status: 1 when a trial's sums differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hard_budget", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="trials of each kind")
    parser.add_argument("--seconds", type=float, default=24.0, help="of each trial")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--reserve", nargs="+", default=["no", "bound", "unknown"])
    parser.add_argument("--call-s", type=float, nargs="+", default=[1.0], help="mean lengths of a call")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--next-window",
        action="store_true",
        help="only over the end of an hour of some zone (half an hour at most)",
    )
    options = parser.parse_args()
    kinds = [Kind(p, r, s) for s in options.call_s for r in options.reserve for p in options.processes]
    load = os.getloadavg()[0]
    line: dict[str, Any]
    try:
        with Installation(["ingest", "budgets"]) as installation:
            bench = Bench(installation, options.seed)
            if options.next_window:
                line = {"next_window": {str(kind): bench.over_the_end(kind) for kind in kinds}}
            else:
                line = {"trials": bench.all(kinds, options.repeats, options.seconds)}
    except RunFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    line |= {
        "machine": machine(),
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    return 0


class Bench:
    """Trials on one installation, whose roles run from the first to the last."""

    def __init__(self, installation: Installation, seed: int) -> None:
        self._installation = installation
        self._seed = seed
        self._trial = 0
        installation.start_roles()
        beside = installation.child(
            "beside", "benchmarks.paced", *_BESIDE, str(installation.folder / "beside.npy")
        )
        until = time.monotonic() + _READY_S
        while "sending" not in beside.tail():
            if time.monotonic() > until or beside.returncode is not None:
                raise RunFailed(f"nothing is sent beside\n{beside.tail()}")
            time.sleep(0.2)
        time.sleep(3.0)

    def all(self, kinds: list[Kind], repeats: int, seconds: float) -> dict[str, Any]:
        """The figures of all trials, by kind: the worst of each, and each trial's own."""
        found: dict[str, list[dict[str, Any]]] = {}
        for _ in range(repeats):
            for kind in kinds:
                told = figures(*self._run(kind, seconds, "month", "UTC"))
                sys.stderr.write(f"{kind}: {json.dumps(told)}\n")
                found.setdefault(str(kind), []).append(told)
        return {kind: summary(trials) for kind, trials in found.items()}

    def over_the_end(self, kind: Kind) -> dict[str, Any]:
        """A trial that begins shortly before an hour ends, in a zone where that is soonest."""
        now = datetime.now(UTC)
        ends = {zone: _hour_end(now + timedelta(seconds=_LEAD_S), zone) for zone in _QUARTERS}
        zone, end = min(ends.items(), key=lambda item: item[1])
        wait = (end - datetime.now(UTC)).total_seconds() - _LEAD_S
        sys.stderr.write(f"the hour of {zone} ends in {wait + _LEAD_S:.0f} s\n")
        time.sleep(max(0.0, wait))
        began = time.monotonic()
        boundary = began + (end - datetime.now(UTC)).total_seconds()
        results, snapshots = self._run(kind, _LEAD_S + 12.0, "hour", zone)
        made = sorted((m for result in results for m in result.made), key=lambda m: m.ended)
        old = sum(m.nanos for m in made if m.ended < boundary)
        refused_until = max((r.at for x in results for r in x.refused if r.at < boundary), default=boundary)
        first = min((m.begun for m in made if m.begun >= boundary), default=None)
        newer = [s for s in snapshots if s.told.window_start >= end and s.told.spent > 0]
        return {
            "zone": zone,
            "spent_before_usd": _usd(old),
            "spent_after_usd": _usd(sum(m.nanos for m in made if m.ended >= boundary)),
            "refused_until_s_before_the_end": round(boundary - refused_until, 3),
            "first_call_after_the_end_s": None if first is None else round(first - boundary, 3),
            "first_snapshot_of_the_new_window_s": round(newer[0].at - end.timestamp(), 3) if newer else None,
        }

    def _run(self, kind: Kind, seconds: float, window: str, zone: str) -> tuple[list[Result], list[Snapshot]]:
        """Play one trial; a result for each process, and the budget's snapshots."""
        self._trial += 1
        name = f"hard-{self._trial}"
        installation = self._installation
        asyncio.run(installation.apply(_budget(name, kind, window, zone)))
        go = installation.folder / f"{name}.go"
        plans = [self._plan(name, number, kind, go) for number in range(kind.processes)]
        gateways = [_start(installation, plan) for plan in plans]
        _until_all_wait(gateways)
        go.touch()
        time.sleep(seconds)
        installation.check()
        for gateway in gateways:
            os.kill(gateway.pid, 15)
        results = []
        for gateway, plan in zip(gateways, plans, strict=True):
            if gateway.wait(120.0):
                raise RunFailed(f"{plan.name} failed\n{gateway.tail()}")
            results.append(msgspec.json.decode(Path(plan.result).read_bytes(), type=Result))
        charged = sum(made.nanos for result in results for made in result.made)
        return results, self._counted(name, charged, window)

    def _plan(self, name: str, number: int, kind: Kind, go: Path) -> Plan:
        folder, count = self._installation.folder, kind.processes
        connection = self._installation.connection
        gateway = f"{name}-gw{number}"
        return Plan(
            name=gateway,
            bootstrap=connection.bootstrap_servers,
            prefix=connection.topic_prefix,
            go=str(go),
            spool=str(folder / f"{gateway}.spool"),
            result=str(folder / f"{gateway}.json"),
            workflow=name,
            budget=name,
            callers=CALLERS // count + (number < CALLERS % count),
            rate_usd=RATE_USD * (CALLERS // count + (number < CALLERS % count)) / CALLERS,
            mean_s=kind.call_s,
            seed=self._seed + self._trial,
            estimate="bound" if kind.reserve == "bound" else "none",
            processes=count,
        )

    def _counted(self, name: str, charged: int, window: str) -> list[Snapshot]:
        """The budget's snapshots, once the ledger has everything. Raises RunFailed if it never has just that."""
        until = time.monotonic() + _COUNTED_S
        while True:
            snapshots = asyncio.run(_snapshots(self._installation, name))
            # Of an hour that ended meanwhile the last snapshot has only the rest; what it had is in the one before.
            starts = {s.told.window_start: s.told.spent for s in snapshots}
            counted = sum(starts.values())
            if counted == charged:
                return snapshots
            late = time.monotonic() > until
            # What was settled before the end of a window may be counted only after its last snapshot.
            if late and window == "hour":
                sys.stderr.write(f"{name}: {charged} charged, {counted} in the snapshots of both windows\n")
                return snapshots
            if late:
                raise RunFailed(f"{name}: {charged} nano-dollars charged, the ledger has {counted}")
            time.sleep(0.5)


def figures(results: list[Result], snapshots: list[Snapshot]) -> dict[str, Any]:
    """What one trial comes to. Seconds; see the head of this file."""
    made = sorted((m for result in results for m in result.made), key=lambda m: m.ended)
    began = min(m.begun for m in made)
    sums = list(accumulate(m.nanos for m in made))
    limit = round(LIMIT_USD * NANOS_PER_USD)
    total, at_limit = sums[-1], bisect_left(sums, limit)
    reached = made[at_limit].ended if at_limit < len(made) else None
    refused = sorted(r.at for result in results for r in result.refused)
    first = refused[0] if refused else None
    ends = [m.ended for m in made]
    before = bisect_left(ends, first) if first is not None else len(made)
    over = made[at_limit + 1 :] if reached is not None else []
    last = made[at_limit].ended if reached is not None else 0.0
    past = total - limit
    return {
        "past_usd": _usd(past),
        "past_s": round(past / NANOS_PER_USD / RATE_USD, 2),
        "past_in_dearest_calls": round(past / max(m.nanos for m in made), 2),
        "under_way_usd": _usd(sum(m.nanos for m in over if m.begun < last)),
        "begun_after_usd": _usd(sum(m.nanos for m in over if m.begun >= last)),
        "dearest_call_usd": _usd(max(m.nanos for m in made)),
        "refused_from_usd": _usd(sums[before - 1]) if before else 0.0,
        "reached_after_s": None if reached is None or first is None else round(reached - first, 2),
        "begun_usd_s": None
        if first is None
        else round(sum(m.nanos for m in made if m.begun < first) / NANOS_PER_USD / (first - began), 2),
        "calls": len(made),
        "refusals": len(refused),
        "snapshot_age_s": _ages(snapshots, made_at=[(m.ended, s) for m, s in zip(made, sums, strict=True)]),
        "slowest_turn_ms": max(result.slowest_turn_ms for result in results),
    }


def summary(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The worst and the median of several trials, and their overspend one by one."""
    past = [trial["past_usd"] for trial in trials]
    worst = trials[past.index(max(past))]
    return {
        "worst": worst,
        "median_past_usd": round(statistics.median(past), 4),
        "least_past_usd": min(past),
        "past_usd": past,
        "refused_from_usd": [trial["refused_from_usd"] for trial in trials],
        "reached_after_s": [trial["reached_after_s"] for trial in trials],
    }


def _ages(snapshots: list[Snapshot], made_at: list[tuple[float, int]]) -> dict[str, float]:
    """How old what each snapshot tells was when it was sent: seconds since that much had been spent.

    Until the next one comes, it grows older by a second: `until_next`.
    """
    wall = time.time() - time.monotonic()
    spent = [so_far for _, so_far in made_at]
    ages, holds = [], []
    for number, snapshot in enumerate(snapshots):
        # The first that is not in it: until that was settled, the snapshot was the present.
        missing = bisect_left(spent, snapshot.told.spent + 1)
        if snapshot.told.spent and missing < len(spent):
            true_until = made_at[missing][0] + wall
            ages.append(max(0.0, snapshot.at - true_until))
            if number + 1 < len(snapshots):
                holds.append(max(0.0, snapshots[number + 1].at - true_until))
    if not ages:
        return {}
    return {
        "p50": round(statistics.median(ages), 2),
        "max": round(max(ages), 2),
        "until_next_max": round(max(holds, default=0.0), 2),
    }


async def _snapshots(installation: Installation, budget: str) -> list[Snapshot]:
    kafka = installation.settings.kafka
    return [
        Snapshot(record.timestamp / 1_000, decode(BudgetSnapshot, record.value))
        async for record in read(kafka, kafka.topic(BUDGETS))
        if record.key == budget.encode() and record.value is not None
    ]


def _budget(name: str, kind: Kind, window: str, zone: str) -> Budget:
    mean = RATE_USD * kind.call_s / CALLERS
    reserve = {} if kind.reserve == "no" else {"reserve": {"amount_usd": f"{mean:.6f}"}}
    return validate(
        Budget,
        {
            "kind": "budget",
            "name": name,
            "scope": {"kind": "workflow", "value": name},
            "window": window,
            "timezone": zone,
            "amount_usd": f"{LIMIT_USD:g}",
            "hard": True,
            **reserve,
        },
    )


def _hour_end(after: datetime, zone: str) -> datetime:
    local = after.astimezone(ZoneInfo(zone))
    return (local.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)).astimezone(UTC)


def _start(installation: Installation, plan: Plan) -> RoleProcess:
    path = installation.folder / f"{plan.name}.plan"
    path.write_bytes(msgspec.json.encode(plan))
    return installation.child(plan.name, "benchmarks.callers", str(path))


def _until_all_wait(gateways: list[RoleProcess]) -> None:
    until = time.monotonic() + _READY_S
    for gateway in gateways:
        while "waiting for go" not in gateway.tail():
            if time.monotonic() > until or gateway.returncode is not None:
                raise RunFailed(f"{gateway.role} does not know its budget\n{gateway.tail()}")
            time.sleep(0.05)


def _usd(nanos: int) -> float:
    return round(nanos / NANOS_PER_USD, 4)


if __name__ == "__main__":
    sys.exit(main())
