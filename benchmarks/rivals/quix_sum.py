"""Quix Streams: a tumbling window of 10 s, its sum written to a topic when it closes."""

from __future__ import annotations

import tempfile
from typing import Any

from quixstreams import Application

from benchmarks.rivals.plain_event import Task, cost, seconds

GRACE_MS = 30_000  # the latest event is 25 s late
task = Task()
seen = 0


def event_time(value: Any, headers: Any, timestamp: float, timestamp_type: Any) -> int:
    """Epoch milliseconds; 0 for what has no time, which is then far too late for any window."""
    global seen
    if not seen:
        task.begins()
        seen = 1
    try:
        return int(seconds(value["occurred_at"]) * 1_000)
    except (ValueError, KeyError, TypeError):
        return 0


def processed(topic: str, partition: int, offset: int) -> None:
    """Stop behind the last record."""
    global left
    left -= 1
    if not left:
        app.stop()


def skip(error: Exception, message: Any, logger: Any) -> bool:
    """What is no JSON: it counts as seen. An error without a message is the broker's, and is raised."""
    global left
    left -= message is not None
    return message is not None


def quietly(*late: Any) -> bool:
    """Do not log what is late."""
    return False


left = task.records
with tempfile.TemporaryDirectory(prefix="bench-quix-") as state:
    app = Application(
        broker_address=task.bootstrap,
        consumer_group=task.name,
        auto_offset_reset="earliest",
        on_consumer_error=skip,
        on_message_processed=processed,
        state_dir=state,
        commit_interval=60.0,
        producer_extra_config={"compression.type": "lz4", "linger.ms": 20},
        loglevel="WARNING",
    )
    source = app.topic(task.topic, value_deserializer="json", timestamp_extractor=event_time)
    sink = app.topic(task.name, value_serializer="json")
    frame = app.dataframe(source)
    frame = frame.apply(cost)
    frame = (
        frame.tumbling_window(10_000, grace_ms=GRACE_MS, on_late=quietly)
        .sum()
        .final(closing_strategy="partition")
    )
    frame.to_topic(sink)
    app.run()
    task.ended()
