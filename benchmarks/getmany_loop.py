"""The limit: a bare `getmany` loop with the fetch settings of ingest, which only counts.

`python -m benchmarks.getmany_loop GROUP RECORDS` reads the topic of `TIDEGATE_KAFKA__…` to its end, and prints when
the first records came and when the last did.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from schemas.topics import COST_EVENTS
from service.kafka.clients import consumer, started
from service.runtime.garbage import collect_rarely
from service.settings import Settings


async def read(settings: Settings, group: str, records: int) -> dict[str, float]:
    """Times of the first and the last records, by the monotonic clock; CPU seconds between them."""
    topic = settings.kafka.topic(COST_EVENTS)
    limit = settings.ingest.max_batch_records
    counted = value_bytes = 0
    began = cpu = 0.0
    async with started(consumer(settings.kafka, topic, group_id=group), settings.kafka) as reader:
        while counted < records:
            for found in (await reader.getmany(timeout_ms=100, max_records=limit)).values():
                if not counted:
                    began, cpu = time.monotonic(), time.process_time()
                counted += len(found)
                for record in found:
                    value_bytes += len(record.value)
        ended = time.monotonic()
        cpu = time.process_time() - cpu
    return {"began": began, "ended": ended, "cpu_s": cpu, "records": counted, "value_bytes": value_bytes}


if __name__ == "__main__":
    collect_rarely()
    sys.stdout.write(json.dumps(asyncio.run(read(Settings.load(), sys.argv[1], int(sys.argv[2])))) + "\n")
