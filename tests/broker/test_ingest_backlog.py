"""Hours of history on a real broker, read by a worker that starts cold: detect learns what it would have live."""

from __future__ import annotations

import signal
from collections import defaultdict

import pytest

from schemas.topics import ROLLUPS
from tests.broker.ingest import Install, Start, ingest_fixtures
from tests.service.ingest.backlog import UNEVEN, history, judged, learnt, live
from tests.support.broker import read_all

pytestmark = pytest.mark.broker
install, start = ingest_fixtures()
LANES = len(UNEVEN)


async def test_a_cold_start_over_hours_of_history_teaches_detect(install: Install, start: Start) -> None:
    here = install(idle_timeout_s=1.0, commit_interval_ms=200)
    await here.create(lanes=LANES)
    partitions = history(UNEVEN)
    await here.publish([(r.partition, r.value) for records in partitions.values() for r in records])
    worker = start(here)
    await here.until_read_up(worker)
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0, worker.log()

    homes: dict[int, list[bytes]] = defaultdict(list)
    for record in await read_all(here.bootstrap, here.topic(ROLLUPS)):
        homes[record.partition].append(record.value)
    states = judged([homes[p] for p in range(LANES)], LANES)
    as_it_was = judged(live(partitions, 10), LANES)
    assert states.keys() == as_it_was.keys()
    for name, state in states.items():
        other = as_it_was[name]
        assert (state.totals.calls, state.totals.cost) == (other.totals.calls, other.totals.cost)
        assert learnt(state) == pytest.approx(learnt(other), rel=0.05, abs=0.05), name
