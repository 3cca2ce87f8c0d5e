"""Hours of history, what it would have been live, and what detect makes of either."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, NamedTuple
from zlib import crc32

import orjson

from detectors.concentration import Concentration
from detectors.unit_cost import UnitCost
from schemas.rollups import Tick
from service.detect.clerk import read_rollup
from service.detect.desk import Desk
from service.detect.state import WorkflowState
from service.ingest.fold import Fold
from service.ingest.price import Pricer
from service.settings import IngestSettings
from tests.service.detect.builders import BOOK, T0, at

PRICER = Pricer()
HOURS = 3
END = T0 + HOURS * 3_600
HOMES = 2
"""Partitions of the rollups topic."""
UNEVEN = {0: (2.0, 1.0), 1: (0.7, 1.0), 2: (0.2, 0.6), 3: (0.0, 0.0)}
"""Partition to calls a second, and the share of the hours after which there are no more."""


class Stored(NamedTuple):
    """A record as the Kafka client gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes
    headers: tuple[()] = ()


def history(rates: dict[int, tuple[float, float]], seed: int = 1) -> dict[int, list[Stored]]:
    """Hours of calls, in the order in which they were published: one in twenty is late by up to half a minute.

    Parameters
    ----------
    rates : dict
        Partition to calls a second, and the share of the hours after which there are no more.
    """
    dice = random.Random(seed)
    made: dict[int, list[Stored]] = {}
    for partition, (rate, share) in rates.items():
        calls: list[tuple[float, bytes]] = []
        for i in range(int(rate * HOURS * 3_600 * share)):
            happened = T0 + i / rate
            came = happened + dice.uniform(0.0, 2.0) + (dice.uniform(0, 30) if dice.random() < 0.05 else 0.0)
            calls.append((came, _call(partition, i, happened, dice)))
        calls.sort(key=lambda call: call[0])
        made[partition] = [
            Stored("cost-events", partition, offset, int(came * 1_000), 1, None, value)
            for offset, (came, value) in enumerate(calls)
        ]
    return made


def _call(partition: int, number: int, happened: float, dice: random.Random) -> bytes:
    event = {
        "event_id": f"{partition}-{number}",
        "occurred_at": happened,
        "provider": "openai",
        "model": "gpt-4o",
        "workflow": f"w{partition}-{number % 2}",
        "trace_id": f"t{partition}-{number // 6}-{number % 2}",
        "customer": f"c{number % 9}",
        "input_tokens": dice.randrange(500, 2_000),
        "output_tokens": dice.randrange(50, 400),
    }
    return orjson.dumps(event)


def judged(homes: list[list[bytes]], sources: int) -> dict[str, WorkflowState]:
    """The states after all of it, and after the minutes in which the last traces end."""
    states: dict[str, WorkflowState] = {}
    for home, values in enumerate(homes):
        desk = Desk(home, states.get)
        last = [Tick(partition=p, partitions=sources, watermark=at(END + 900.0)) for p in range(sources)]
        for offset, record in enumerate([*map(read_rollup, values), *last]):
            states |= desk.apply(record, offset, 0.0, BOOK).changed
    return states


def live(partitions: dict[int, list[Stored]], every_s: int) -> list[list[bytes]]:
    """What the same records would have become as they were published, with a commit every so many seconds."""
    homes: list[list[bytes]] = [[] for _ in range(HOMES)]
    folds = {p: Fold(p, len(partitions), IngestSettings(), PRICER) for p in partitions}
    cut = dict.fromkeys(partitions, 0)
    for now in range(T0 + every_s, END + 120, every_s):
        for p, records in partitions.items():
            end = bisect_left(records, now * 1_000, key=lambda r: r.timestamp)
            if end == cut[p]:
                folds[p].advance_idle(every_s)
            folds[p].take(records[cut[p] : end])
            cut[p] = end
            batch = folds[p].drain()
            for delta in batch.deltas:
                homes[crc32(delta.workflow.encode()) % HOMES].append(delta.to_json())
            if batch.tick is not None:
                for home in homes:
                    home.append(batch.tick.to_json())
    assert cut == {p: len(records) for p, records in partitions.items()}
    return homes


def learnt(state: WorkflowState) -> list[float]:
    """Every number that the detectors keep, but for those that stand for names: they are in no order."""

    def numbers(plain: Any) -> Iterable[float]:
        if isinstance(plain, (list, tuple)):
            for part in plain:
                yield from numbers(part)
        elif isinstance(plain, (int, float)):
            yield float(plain)

    kept = [d.dump() for name, d in sorted(state.detectors.items()) if name != Concentration.name]
    unit_cost = state.detectors[UnitCost.name].dump()
    # Nor of the excess: it is floored at nothing, window by window, and late events move it across that floor.
    kept[-1] = [part for i, part in enumerate(unit_cost) if i not in (7, 8)]
    # Nor of the tail of calls: where all traces have as many, it begins anew every thousand, and counts since.
    kept[-2] = kept[-2][:4]
    return list(numbers(kept))
