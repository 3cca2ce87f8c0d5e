"""Bytewax: a tumbling window of 10 s, folded to a sum, written to a topic when it closes or the input ends."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import bytewax.operators as op
import bytewax.operators.windowing as win
import orjson
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower
from bytewax.run import cli_main

from benchmarks.rivals.plain_event import Task, from_bytes

LENGTH = timedelta(seconds=10)
ALIGN_TO = datetime(2026, 1, 1, tzinfo=UTC)
Timed = tuple[datetime, float]
task = Task()
begun = False


def parse(batch: Iterable[KafkaSourceMessage[bytes, bytes]]) -> Iterable[tuple[str, Timed]]:
    """Key, time and cost of each that can be read."""
    global begun
    if not begun:
        task.begins()
        begun = True
    found = []
    for message in batch:
        event = from_bytes(message.value)
        if event is not None:
            found.append((event.workflow, (datetime.fromtimestamp(event.at, UTC), event.cost)))
    return found


def written(window: tuple[str, tuple[int, float]]) -> KafkaSinkMessage[bytes, bytes]:
    """The window's start in epoch milliseconds, and its sum."""
    key, (number, total) = window
    start = (ALIGN_TO + number * LENGTH).timestamp() * 1_000
    return KafkaSinkMessage(key.encode(), orjson.dumps({"start": start, "value": total}))


flow = Dataflow("sums")
source = KafkaSource([task.bootstrap], [task.topic], tail=False, batch_size=20_000)
events = op.flat_map_batch("parse", op.input("events", flow, source), parse)
sums = win.fold_window(
    "sum",
    events,
    # Time goes on by the wall between two events of a key: wait for more than a run takes.
    EventClock(
        lambda item: item[0],
        wait_for_system_duration=timedelta(minutes=10),
        to_system_utc=lambda at: None,  # these events are of the past: no window closes by the wall
    ),
    TumblingWindower(length=LENGTH, align_to=ALIGN_TO),
    builder=float,
    folder=lambda total, item: total + item[1],
    merger=lambda one, other: one + other,
    ordered=False,  # a sum needs no order; with it, every batch of a key looks at all of its events that wait
)
kop.output("written", op.map("bytes", sums.down, written), brokers=[task.bootstrap], topic=task.name)

if __name__ == "__main__":
    cli_main(flow)
    task.ended()
