"""From a loop to its first refused call. `make bench-stop`: one JSON line.

A real Kafka and the real roles; a gateway process whose agents get into loops one after the other
(`benchmarks.loops`), fifty workflows with an hour of past each; and other traffic beside it at a steady rate
(`benchmarks.paced`), all through the same ingest. A loop calls again and again, 12 to 23 times a second, at 2 to 8
cents a call. Measured is

* `from_first_call_s`: from the first call that no usual run makes to the first one that the gate refuses;
* `from_detectable_s`: from the end of the call with which the run had cost half a dollar more than usual
  (`min_excess_usd`: less is no incident) to that refusal. This is what Tidegate takes; the rest is how money burns.

The way there, in `stages_s`, by the records' own times: the rollup with that call, alert, command, gate.
A rate counts as kept up when ingest is behind by no more than `--behind` seconds of traffic in the last third of
the run, and detect no further than in the first. `cores` is CPU time by process, `robbed` the share of the time in
which a role was ready to run and others had the cores: where that is much, the machine is measured, not Tidegate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import numpy as np

from benchmarks.cores import cpu_seconds, machine
from benchmarks.installation import Installation
from benchmarks.loops import CALLS, USUAL_NANOS, Loop, Plan, usual_event
from benchmarks.process import RunFailed
from schemas.alerts import Alert
from schemas.control import Guard, Rule, Switch
from schemas.decode import decode, validate
from schemas.money import NANOS_PER_USD, nanos
from schemas.rollups import Rollup
from schemas.throttles import ThrottleCommand
from schemas.topics import ALERTS, COST_EVENTS, ROLLUPS, THROTTLE_COMMANDS
from service.detect.clerk import read_rollup
from service.kafka.clients import producer, started
from service.kafka.reader import read
from service.rules.config import ConfigBook
from service.settings import ROLES, Settings
from tests.support.roles import RoleProcess

CHAIN: Final = ("ingest", "detect", "throttles")
"""Roles between an event and a command, as far as this release has them."""
_PAST_S: Final = 3_600.0
_CHUNK_S: Final = 120.0
_RUNS_S: Final = 0.05
_AT_REST: Final = 60
_SETTLE_S: Final = 15.0
_PATIENCE_S: Final = 180.0
_RECORDS: Final = (
    Switch(state="on"),
    validate(Guard, {"kind": "guard", "max_scopes": 1_000}),
    validate(
        Rule,
        {
            "kind": "rule",
            "name": "stop-loops",
            "match": {"kinds": ["retry_loop", "runaway_trace"]},
            "scope": "trace",
            "action": {"action": "block", "message": "Stopped by Tidegate."},
            "mode": "enforce",
            "ladder": {"max_scopes": 1_000},
        },
    ),
)


def main() -> int:
    """Returns the exit status: 1 when something ended that must not, or a loop was never stopped."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stop_loop", description=__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=[20_000.0], help="events a second beside")
    parser.add_argument("--workflows", type=int, default=100, help="that these are of")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--every-s", type=float, default=2.5, help="between the beginnings of two loops")
    parser.add_argument(
        "--give-up-s", type=float, default=60.0, help="after which a loop counts as not stopped"
    )
    parser.add_argument(
        "--commit-ms",
        type=int,
        help="ingest.commit_interval_ms: longer means fewer rollups for detect to judge",
    )
    parser.add_argument(
        "--env", nargs="+", default=[], metavar="NAME=VALUE", help="more variables of the roles' environment"
    )
    parser.add_argument("--behind", type=float, default=2.0, help="seconds of traffic that may wait")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = {}
    settings = dict(pair.split("=", 1) for pair in options.env)
    if options.commit_ms is not None:
        settings["TIDEGATE_INGEST__COMMIT_INTERVAL_MS"] = str(options.commit_ms)
    try:
        for rate in options.rates:
            with Installation([role for role in ROLES if role in CHAIN], settings) as installation:
                found[f"{rate:g}/s"] = measure(installation, rate, options)
                sys.stderr.write(json.dumps(found[f"{rate:g}/s"]) + "\n")
    except RunFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    line = {
        "beside": found,
        "workflows": options.workflows,
        "commit_interval_ms": options.commit_ms or Settings().ingest.commit_interval_ms,
        "env": options.env,
        "machine": machine(),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    return 0 if all(figures["stopped"] == options.trials for figures in found.values()) else 1


def measure(installation: Installation, rate: float, options: argparse.Namespace) -> dict[str, Any]:
    """All trials with so many events a second beside them. Raises RunFailed."""
    load = os.getloadavg()[0]
    asyncio.run(installation.apply(*_RECORDS))
    installation.start_roles()
    workflows = [f"agent-{number:02d}" for number in range(options.trials)]
    asyncio.run(_past(installation, workflows, options.seed))
    _until_learnt(installation)
    plan = _plan(installation, workflows, options)
    path = installation.folder / "loops.plan"
    path.write_bytes(msgspec.json.encode(plan))
    agents = installation.child("loops", "benchmarks.loops", str(path))
    beside = None
    if rate:
        seconds = _SETTLE_S + options.trials * options.every_s + 10.0
        beside = installation.child(
            "beside",
            "benchmarks.paced",
            *(str(rate), str(seconds), str(options.workflows), str(installation.folder / "beside.npy")),
        )
        _until_said(beside, "sending")
    _until_said(agents, "waiting for go")
    watch = Watch(installation, beside, agents)
    watch.look_for(_SETTLE_S)
    Path(plan.go).touch()
    watch.from_here()
    watch.until_ended(agents, options.trials * (options.every_s + 1.0) + options.give_up_s + 60.0)
    figures = watch.figures(rate, options.behind)
    if beside is not None:
        figures |= _beside(beside)
    loops = msgspec.json.decode(Path(plan.result).read_bytes(), type=list[Loop])
    return _figures(installation, loops) | figures | {"load_before": round(load, 1)}


async def _past(installation: Installation, workflows: list[str], seed: int) -> None:
    """An hour of usual runs of every workflow, up to now, as fast as is good: partitions side by side."""
    kafka = installation.settings.kafka
    chance = random.Random(seed)
    now = datetime.now(UTC)
    async with started(producer(kafka, client_id="bench-past"), kafka) as client:
        passed = 0.0
        while passed < _PAST_S:
            due = []
            for workflow in workflows:
                for run in range(round(_CHUNK_S * _RUNS_S)):
                    at = now + timedelta(seconds=passed - _PAST_S + chance.uniform(0, _CHUNK_S - 10))
                    trace = f"{workflow}-then-{passed:.0f}-{run}"
                    for call in range(chance.randint(*CALLS)):
                        at += timedelta(seconds=chance.uniform(0.2, 2.0))
                        due.append((at, usual_event(chance, workflow, trace, call, at)))
            for _, told in sorted(due, key=lambda item: item[0]):
                key = (told.workflow or "").encode()
                await client.send(kafka.topic(COST_EVENTS), key=key, value=told.to_json())
            await client.flush()
            passed += _CHUNK_S
            await asyncio.sleep(0.4)


def _until_learnt(installation: Installation) -> None:
    """Until detect has judged what ingest has written of the past. Raises RunFailed."""
    until, rests = time.monotonic() + _PATIENCE_S, 0
    while rests < 3:
        installation.check()
        lag = installation.role("ingest").gauge("tidegate_ingest_lag_records")
        lag += installation.role("detect").gauge("tidegate_detect_lag_records")
        rests = rests + 1 if lag <= _AT_REST else 0
        if time.monotonic() > until:
            raise RunFailed(f"detect has not learnt the past: {lag:g} records wait")
        time.sleep(1.0)


def _plan(installation: Installation, workflows: list[str], options: argparse.Namespace) -> Plan:
    connection, folder = installation.connection, installation.folder
    return Plan(
        bootstrap=connection.bootstrap_servers,
        prefix=connection.topic_prefix,
        go=str(folder / "go"),
        spool=str(folder / "spool"),
        result=str(folder / "loops.json"),
        workflows=workflows,
        seed=options.seed,
        runs_s=_RUNS_S,
        every_s=options.every_s,
        give_up_s=options.give_up_s,
        loop_calls_s=(12.0, 23.0),
        loop_usd=(0.02, 0.08),
    )


def _beside(process: RoleProcess) -> dict[str, Any]:
    """What the traffic beside came to; a producer whose records found no room at the broker gave up."""
    if process.wait(120.0):
        return {"kept_up": False, "producer": process.tail(1)}
    sent = json.loads(next(line for line in process.tail().splitlines()[::-1] if line.startswith("{")))
    return {
        "reached_rate": round(sent["events"] / sent["seconds"]),
        "producer_behind_ms": sent["behind_ms"],
    }


class Watch:
    """How far the roles fall behind, and what they take of the machine."""

    def __init__(self, installation: Installation, beside: RoleProcess | None, agents: RoleProcess) -> None:
        self._installation = installation
        self._pids = {role.name: role.process.pid for role in installation.roles}
        self._pids["kafka"] = installation.broker.pid or 0
        self._pids["agents"] = agents.pid
        if beside is not None:
            self._pids["beside"] = beside.pid
        self._cpu: dict[str, float] = {}
        self._waits: dict[str, float] = {}
        self._since = 0.0
        self._lags: dict[str, list[float]] = {"ingest": [], "detect": []}
        self._rollups: tuple[float, float] | None = None

    def from_here(self) -> None:
        """What was seen before does not count."""
        self._cpu, self._waits, self._since = self._times(), self._waited(), time.monotonic()
        self._lags = {name: [] for name in self._lags}

    def look_for(self, seconds: float) -> None:
        """Look once a second for so long. Raises RunFailed."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._look()

    def until_ended(self, agents: RoleProcess, within_s: float) -> None:
        """Look once a second until the agents are done. Raises RunFailed."""
        until = time.monotonic() + within_s
        while agents.returncode is None:
            if time.monotonic() > until:
                raise RunFailed(f"the agents are not done\n{agents.tail()}")
            self._look()
        if agents.returncode:
            raise RunFailed(f"the agents failed\n{agents.tail()}")

    def figures(self, rate: float, behind_s: float) -> dict[str, Any]:
        took, now, waited = time.monotonic() - self._since, self._times(), self._waited()
        lags = {name: seen or [0.0] for name, seen in self._lags.items()}
        # Detect reads rollups, which are fewer than events: whether it keeps up, the trend says.
        third = max(1, len(lags["detect"]) // 3)
        first, last = (sum(part) / len(part) for part in (lags["detect"][:third], lags["detect"][-third:]))
        kept_up = max(lags["ingest"][-third:]) <= max(rate, 1.0) * behind_s and last <= 2 * first + 500
        return {
            "kept_up": kept_up,
            "ingest_lag_records": {"p50": _p(lags["ingest"], 50), "max": max(lags["ingest"])},
            "detect_lag_records": {
                "p50": _p(lags["detect"], 50),
                "max": max(lags["detect"]),
                "first third": round(first),
                "last third": round(last),
            },
            "cores": {n: round((s - self._cpu[n]) / took, 2) for n, s in now.items()},
            "robbed": {n: round((s - self._waits[n]) / took, 2) for n, s in waited.items()},
        }

    def _look(self) -> None:
        self._installation.check()
        for name, seen in self._lags.items():
            try:
                seen.append(self._installation.role(name).gauge(f"tidegate_{name}_lag_records"))
            except httpx.HTTPError as error:
                sys.stderr.write(f"{name} does not say how far it is: {error!r}\n")
        time.sleep(1.0)

    def _times(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self._pids.items() if Path(f"/proc/{pid}").exists()}

    def _waited(self) -> dict[str, float]:
        """Seconds for which a role's main thread, which does its work, was ready to run and had no core."""
        return {
            role.name: int(Path(f"/proc/{self._pids[role.name]}/schedstat").read_text().split()[1]) / 1e9
            for role in self._installation.roles
        }


def _figures(installation: Installation, loops: list[Loop]) -> dict[str, Any]:
    seen = asyncio.run(_seen(installation, loops))
    least = nanos(ConfigBook.empty().workflow("any").min_excess_usd)
    whole: list[float] = []
    ours: list[float] = []
    spent: list[float] = []
    stages: dict[str, list[float]] = {}
    wall = time.time() - time.monotonic()
    for loop in loops:
        if loop.refused is None:
            continue
        crossed = _crossed(loop, least)
        whole.append(loop.refused - loop.began)
        spent.append(sum(cost for _, cost in loop.ended) / NANOS_PER_USD)
        if crossed is None:
            continue  # refused before: nothing of what follows means anything
        ours.append(loop.refused - crossed)
        times = {"crossed": crossed + wall, **seen.get(loop.trace, {})}
        times["gate"] = (loop.refused if loop.known is None else min(loop.known, loop.refused)) + wall
        times["refused"] = loop.refused + wall
        for (before, then), (name, at) in zip(list(times.items()), list(times.items())[1:], strict=False):
            stages.setdefault(f"{before} to {name}", []).append(at - then)
    return {
        "loops": len(loops),
        "stopped": len(whole),
        "from_first_call_s": _cuts(whole),
        "from_detectable_s": _cuts(ours),
        "spent_by_then_usd": _cuts(spent),
        "stages_s": {name: _cuts(took) for name, took in stages.items()},
    }


def _crossed(loop: Loop, least: int) -> float | None:
    """When the run had cost so much more than a usual one, as the detectors count."""
    sum_nanos = -round(USUAL_NANOS * sum(CALLS) / 2)
    for at, cost in loop.ended:
        sum_nanos += cost
        if sum_nanos >= least:
            return at
    return None


async def _seen(installation: Installation, loops: list[Loop]) -> dict[str, dict[str, float]]:
    """When the records about each loop were written, epoch seconds by stage, by trace."""
    kafka = installation.settings.kafka
    least = nanos(ConfigBook.empty().workflow("any").min_excess_usd)
    by_workflow = {loop.workflow: loop for loop in loops}
    found: dict[str, dict[str, float]] = {loop.trace: {} for loop in loops}
    sums = {loop.trace: -round(USUAL_NANOS * sum(CALLS) / 2) for loop in loops}
    async for record in read(kafka, kafka.topic(ROLLUPS)):
        if b'-loop"' not in record.value:
            continue
        rollup = read_rollup(record.value)
        if not isinstance(rollup, Rollup) or rollup.scope is not None:
            continue
        for live in rollup.live_traces:
            if live.trace_id in sums:
                sums[live.trace_id] += live.cost_nanos
                if sums[live.trace_id] >= least:
                    found[live.trace_id].setdefault("rollup", record.timestamp / 1_000)
    async for record in read(kafka, kafka.topic(ALERTS)):
        alert = decode(Alert, record.value, max_bytes=Alert.max_bytes)
        loop = by_workflow.get(alert.workflow)
        if loop is not None and any(t.trace_id == loop.trace for t in alert.evidence.traces):
            found[loop.trace].setdefault("alert", record.timestamp / 1_000)
    async for record in read(kafka, kafka.topic(THROTTLE_COMMANDS)):
        if record.value is not None:
            command = decode(ThrottleCommand, record.value)
            if command.scope.value in found:
                found[command.scope.value].setdefault("command", record.timestamp / 1_000)
    return found


def _until_said(process: RoleProcess, what: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    while what not in process.tail():
        if process.returncode is not None or time.monotonic() > until:
            raise RunFailed(f"{process.role} does not say `{what}`\n{process.tail()}")
        time.sleep(0.1)


def _cuts(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"p50": _p(values, 50), "p90": _p(values, 90), "p99": _p(values, 99), "max": _p(values, 100)}


def _p(values: list[float], percent: float) -> float:
    return round(float(np.percentile(np.array(values), percent)), 3)


if __name__ == "__main__":
    sys.exit(main())
