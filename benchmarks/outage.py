"""The broker is gone for two minutes and comes back. `make bench-outage`: one JSON line.

A real Kafka that is killed and started again on its port with what it holds; the ingest and budgets roles, started
again when they end, as an orchestrator does; three gateway processes (`benchmarks.callers`), each with a workflow
and a budget of its own:

| gateway | its gate | its budget |
|---|---|---|
| `open` | makes calls when it has heard nothing for too long | `fail: open` |
| `closed` | makes none then | `fail: open` |
| `guarded` | as `open` | `fail: closed`: no calls once its snapshot is not valid any more |

When the broker is back, every call must be on the topic once, and in the rollups and the ledgers once: calls are
counted, and money is compared to the nano-dollar.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from benchmarks.callers import Plan, Result
from benchmarks.cores import machine
from benchmarks.installation import Installation
from benchmarks.process import RunFailed
from schemas.budgets import BudgetSnapshot
from schemas.control import Budget
from schemas.decode import decode, validate
from schemas.topics import BUDGETS, COST_EVENTS, ROLLUPS
from service.kafka.reader import read
from tests.support.roles import RoleProcess

GATEWAYS: Final = ("open", "closed", "guarded")
VALID_S: Final = 60.0
"""How long a snapshot holds: the stage's own constant, told in each."""
_CALLERS: Final = 20
_RATE_USD: Final = 0.5
_CALL_S: Final = 0.25
_READY_S: Final = 60.0
_BACK_S: Final = 120.0
_LOOK_S: Final = 0.2

Sums = dict[str, tuple[int, int]]
"""Calls and nano-dollars by workflow."""


def main() -> int:
    """Returns the exit status: 1 when something was lost, doubled, or did not flow or stop as configured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="without a broker")
    parser.add_argument("--stale-after-s", type=float, default=10.0, help="of the gates")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    try:
        with Installation(["ingest", "budgets"]) as installation:
            line = outage(installation, options.seconds, options.stale_after_s)
    except RunFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    line |= {"machine": machine(), "load_before": round(load, 1)}
    sys.stdout.write(json.dumps(line) + "\n")
    return 1 if line["faults"] else 0


def outage(
    installation: Installation,
    seconds: float,
    stale_after_s: float,
    *,
    before_s: float = 5.0,
    after_s: float = 5.0,
) -> dict[str, Any]:
    """Take the broker away for so long while calls are made.

    Parameters
    ----------
    before_s, after_s : float
        How long calls go on before it goes, and once all gateways make calls again.

    Returns
    -------
    dict
        Figures, and `faults`: sentences about what was not as it must be.

    Raises
    ------
    RunFailed
        Something did not come back.
    """
    asyncio.run(installation.apply(*(_budget(name) for name in GATEWAYS)))
    installation.start_roles()
    go = installation.folder / "go"
    plans = {name: _plan(installation, name, stale_after_s, go) for name in GATEWAYS}
    gateways = {name: _start(installation, plan) for name, plan in plans.items()}
    _until_all_wait(gateways)
    go.touch()
    time.sleep(before_s)
    gone = time.monotonic()
    installation.broker.kill()
    _look(installation, gone + seconds)
    starting = time.monotonic()
    installation.broker.start()
    back = time.monotonic()
    _until_roles(installation)
    roles_back = time.monotonic()
    _look(installation, max(roles_back, back + 2 * stale_after_s) + after_s)
    for gateway in gateways.values():
        os.kill(gateway.pid, signal.SIGTERM)
    results = {name: _result(gateways[name], plan) for name, plan in plans.items()}
    ended = time.monotonic()
    charged: Sums = {name: (len(r.made), sum(m.nanos for m in r.made)) for name, r in results.items()}
    counted = _until_counted(installation, charged)
    published = asyncio.run(_published(installation))
    faults = _faults(results, charged, counted, published, gone, starting, stale_after_s)
    return {
        "without_broker_s": round(back - gone, 1),
        "stale_after_s": stale_after_s,
        "gateways": {name: _flow(result, gone, starting, back) for name, result in results.items()},
        "calls": sum(calls for calls, _ in charged.values()),
        "nano_usd": sum(spent for _, spent in charged.values()),
        "records_on_the_topic": sum(published.values()),
        "doubled_on_the_topic": sum(count - 1 for count in published.values()),
        "rollups_and_ledgers_equal": counted == (charged, {n: s for n, (_, s) in charged.items()}),
        "roles_restarted": {role.name: role.restarts for role in installation.roles},
        "roles_ready_s_after": round(roles_back - back, 1),
        "all_counted_s_after_the_last_call": round(time.monotonic() - ended, 1),
        "faults": faults,
    }


def _flow(result: Result, gone: float, starting: float, back: float) -> dict[str, Any]:
    """How calls went on while the broker was away, seconds since it went or came back."""
    begun = sorted(m.begun for m in result.made)
    away = [at for at in begun if gone <= at < starting]
    refused = sorted(r.at for r in result.refused)
    first_again = next((at for at in begun if refused and at > refused[-1]), None)
    gaps = [later - at for at, later in pairwise([gone, *away])]
    return {
        "calls_while_away": len(away),
        "longest_pause_s": round(max(gaps, default=0.0), 2),
        "last_call_s": round(away[-1] - gone, 2) if away else None,
        "refused": len(refused),
        "refused_by": sorted({r.code for r in result.refused}),
        "refused_from_s": round(refused[0] - gone, 2) if refused else None,
        "calls_again_s_after_it_is_back": None if first_again is None else round(first_again - back, 2),
        "slowest_decide_ms": result.slowest_decide_ms,
        "slowest_publish_ms": result.slowest_publish_ms,
        "slowest_turn_ms": result.slowest_turn_ms,
        "failures": result.failures,
        "dropped": result.dropped,
    }


def _faults(
    results: dict[str, Result],
    charged: Sums,
    counted: tuple[Sums, dict[str, int]],
    published: Counter[str],
    gone: float,
    starting: float,
    stale_after_s: float,
) -> list[str]:
    found = []
    rollups, ledgers = counted
    for name, (calls, spent) in charged.items():
        if rollups.get(name) != (calls, spent):
            found.append(f"{name}: {calls} calls for {spent}, the rollups have {rollups.get(name)}")
        if ledgers.get(name) != spent:
            found.append(f"{name}: {spent} nano-dollars charged, the ledger has {ledgers.get(name)}")
    if len(published) != sum(calls for calls, _ in charged.values()):
        found.append(f"{len(published)} events are on the topic")
    for name, result in results.items():
        if result.dropped or not result.delivered:
            found.append(f"{name}: {result.dropped} events dropped, delivered: {result.delivered}")
    # A gate hears of its broker every two seconds, and an answer that was asked for before is no news.
    slack = 5.0
    refusals = {name: sorted(r.at for r in result.refused) for name, result in results.items()}
    if refusals["open"]:
        found.append("open: calls were refused")
    if not refusals["closed"] and starting > gone + stale_after_s + slack:
        found.append("closed: no call was refused")
    for name, after in (("closed", stale_after_s), ("guarded", VALID_S)):
        late = [m for m in results[name].made if gone + after + slack < m.begun < starting]
        if late:
            found.append(f"{name}: {len(late)} calls were made later than {after:g} s after the broker went")
    return found


def _look(installation: Installation, until: float) -> None:
    """Let time pass, and start roles again that end."""
    while time.monotonic() < until:
        for role in installation.roles:
            role.look()
        time.sleep(_LOOK_S)


def _until_roles(installation: Installation) -> None:
    until = time.monotonic() + _BACK_S
    for role in installation.roles:
        while not role.ready:
            if time.monotonic() > until:
                raise RunFailed(f"{role.name} is not ready again\n{role.process.tail()}")
            _look(installation, time.monotonic() + _LOOK_S)


def _until_counted(installation: Installation, charged: Sums) -> tuple[Sums, dict[str, int]]:
    """Rollups and ledgers, when they have everything; as they are when that does not come about."""
    wanted = charged, {name: spent for name, (_, spent) in charged.items()}
    until = time.monotonic() + _BACK_S
    while True:
        counted = asyncio.run(_counted(installation))
        if counted == wanted or time.monotonic() > until:
            return counted
        _look(installation, time.monotonic() + 1.0)


async def _counted(installation: Installation) -> tuple[Sums, dict[str, int]]:
    kafka = installation.settings.kafka
    sums: dict[str, tuple[int, int]] = {}
    async for record in read(kafka, kafka.topic(ROLLUPS)):
        told = orjson.loads(record.value)
        if told["type"] == "rollup":
            calls, spent = sums.get(told["workflow"], (0, 0))
            sums[told["workflow"]] = calls + told["calls"], spent + told["cost_nanos"]
    ledgers = {}
    async for record in read(kafka, kafka.topic(BUDGETS)):
        if record.value is not None:
            told = decode(BudgetSnapshot, record.value)
            ledgers[told.budget] = told.spent
    return sums, ledgers


async def _published(installation: Installation) -> Counter[str]:
    """How often each event is on the topic, by its id."""
    kafka = installation.settings.kafka
    return Counter(
        [orjson.loads(record.value)["event_id"] async for record in read(kafka, kafka.topic(COST_EVENTS))]
    )


def _budget(name: str) -> Budget:
    return validate(
        Budget,
        {
            "kind": "budget",
            "name": name,
            "scope": {"kind": "workflow", "value": name},
            "window": "week",
            "rolling": True,
            "amount_usd": "1000000",
            "hard": True,
            "fail": "closed" if name == "guarded" else "open",
        },
    )


def _plan(installation: Installation, name: str, stale_after_s: float, go: Path) -> Plan:
    connection, folder = installation.connection, installation.folder
    return Plan(
        name=name,
        bootstrap=connection.bootstrap_servers,
        prefix=connection.topic_prefix,
        go=str(go),
        spool=str(folder / f"{name}.spool"),
        result=str(folder / f"{name}.json"),
        workflow=name,
        budget=name,
        callers=_CALLERS,
        rate_usd=_RATE_USD,
        mean_s=_CALL_S,
        seed=1,
        on_stale="closed" if name == "closed" else "open",
        stale_after_s=stale_after_s,
        retry_s=0.2,
    )


def _start(installation: Installation, plan: Plan) -> RoleProcess:
    path = installation.folder / f"{plan.name}.plan"
    path.write_bytes(msgspec.json.encode(plan))
    return installation.child(plan.name, "benchmarks.callers", str(path))


def _until_all_wait(gateways: dict[str, RoleProcess]) -> None:
    until = time.monotonic() + _READY_S
    for name, gateway in gateways.items():
        while "waiting for go" not in gateway.tail():
            if time.monotonic() > until or gateway.returncode is not None:
                raise RunFailed(f"{name} does not know its budget\n{gateway.tail()}")
            time.sleep(0.05)


def _result(gateway: RoleProcess, plan: Plan) -> Result:
    if gateway.wait(_BACK_S + 60.0):
        raise RunFailed(f"{plan.name} failed\n{gateway.tail()}")
    return msgspec.json.decode(Path(plan.result).read_bytes(), type=Result)


if __name__ == "__main__":
    sys.exit(main())
