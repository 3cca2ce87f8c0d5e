"""A producer that keeps to a rate: `python -m benchmarks.paced RATE SECONDS WORKFLOWS FILE`.

Everything but ids and times of the events is rendered beforehand, so that it takes little of the core it shares
with the broker. One event in a hundred is bad, one in fifty a duplicate, one in twenty late. FILE gets, for every
batch, its partition, first offset, number of records and the time at which it was handed to the client; stdout gets
one JSON line with what was sent.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from itertools import cycle
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.filled import BATCH_BYTES
from benchmarks.traffic import LATE_MS, Spec, Traffic
from schemas.topics import COST_EVENTS
from service.kafka.clients import producer, started
from service.runtime.garbage import collect_rarely
from service.settings import Settings

TICK_S: Final = 0.02
"""Gateways linger so long."""
_POOL: Final = 200_000


class Rendered(NamedTuple):
    """An event without its id and time, cut where a number makes its trace another one each time around."""

    partition: int
    key: bytes
    middle: bytes
    tail: bytes


class Sent(NamedTuple):
    """What was sent: `events` records, of them so many bad and so many twice."""

    events: int
    bad: int
    duplicates: int
    seconds: float
    behind_ms: float


def pool(workflows: int, count: int = _POOL) -> list[Rendered]:
    """So many good events of so many workflows, in the shares of the benchmark's traffic."""
    traffic = Traffic(Spec(count, workflows=workflows, bad=0.0, duplicates=0.0, late=0.0))
    rendered = []
    for record in traffic.records():
        # `{"event_id":…,"occurred_at":…,"provider":… "trace_id":"run-…`
        begin = record.value.index(b'"provider"')
        cut = record.value.index(b"run-") + 4
        rendered.append(Rendered(record.partition, record.key, record.value[begin:cut], record.value[cut:]))
    return rendered[:count]


class Events:
    """Endless events out of a pool, each with an id of its own and the time that it is asked for."""

    def __init__(self, rendered: list[Rendered]) -> None:
        self._rendered = cycle(rendered)
        self._recent: deque[tuple[Rendered, bytes]] = deque(maxlen=1_000)
        self.made = self.bad = self.duplicates = 0

    def next(self, at_ms: int) -> tuple[Rendered, bytes]:
        """The next event's partition and key, and its bytes."""
        number = self.made
        self.made += 1
        if number % 50 == 49:
            self.duplicates += 1
            return self._recent[0]
        event = next(self._rendered)
        if number % 20 == 7:
            at_ms -= LATE_MS[0] + number % (LATE_MS[1] - LATE_MS[0])
        if number % 100 == 3:
            self.bad += 1
            return event, b'{"event_id":"%x","occurred_at":"soon",%b%b' % (number, event.middle, event.tail)
        value = b'{"event_id":"chatcmpl-%012x","occurred_at":%d.%03d,%b%x-%b' % (
            number,
            at_ms // 1_000,
            at_ms % 1_000,
            event.middle,
            number // _POOL,
            event.tail,
        )
        self._recent.append((event, value))
        return event, value


async def run(settings: Settings, rate: float, seconds: float, workflows: int, log: Path) -> Sent:
    """Send for so many seconds, and wait for the last acknowledgement."""
    events = Events(pool(workflows))
    batches: deque[tuple[int, int, float, asyncio.Future[Any]]] = deque()
    noted: list[tuple[int, int, int, float]] = []
    behind = 0.0
    client = producer(settings.kafka, client_id="bench-paced", max_batch_size=BATCH_BYTES)
    collect_rarely()
    async with started(client, settings.kafka):
        topic = settings.kafka.topic(COST_EVENTS)

        async def send(partition: int, batch: Any) -> None:
            at = time.monotonic()
            count = batch.record_count()
            batches.append((partition, count, at, await client.send_batch(batch, topic, partition=partition)))

        began = time.monotonic()
        sys.stderr.write("sending\n")
        while (elapsed := time.monotonic() - began) < seconds:
            at_ms = int(time.time() * 1_000)
            due: dict[int, Any] = {}
            full: list[tuple[int, Any]] = []
            while events.made < rate * elapsed:
                event, value = events.next(at_ms)
                batch = due.get(event.partition)
                if batch is None or batch.append(timestamp=None, key=event.key, value=value) is None:
                    if batch is not None:
                        full.append((event.partition, batch))
                    batch = due[event.partition] = client.create_batch()
                    batch.append(timestamp=None, key=event.key, value=value)
            await asyncio.gather(*(send(p, batch) for p, batch in [*full, *due.items()]))
            while batches and batches[0][3].done():
                noted.append(_noted(*batches.popleft()))
            left = began + elapsed + TICK_S - time.monotonic()
            behind = max(behind, -left)
            await asyncio.sleep(max(left, 0))
        for batch in batches:
            await batch[3]
            noted.append(_noted(*batch))
        took = time.monotonic() - began
    np.save(log, np.array(noted, dtype=np.float64))
    return Sent(events.made, events.bad, events.duplicates, took, round(behind * 1_000, 1))


def _noted(
    partition: int, count: int, at: float, acknowledged: asyncio.Future[Any]
) -> tuple[int, int, int, float]:
    return partition, acknowledged.result().offset, count, at


if __name__ == "__main__":
    rate, seconds, workflows, path = sys.argv[1:5]
    sent = asyncio.run(run(Settings.load(), float(rate), float(seconds), int(workflows), Path(path)))
    sys.stdout.write(json.dumps(sent._asdict()) + "\n")
