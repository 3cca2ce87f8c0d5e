"""Stock Faust and ours, side by side: their real classes, with the network cut off below them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import faust
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from service.kafka.faust_transport import build_app
from service.kafka.faust_transport.held import Fetched
from service.kafka.faust_transport.thread import Start
from tests.support.patience import PATIENCE_S

SOURCE = "events"
CHANGELOG = "state"


def record(tp: TP, offset: int, value: bytes = b"v") -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord(tp.topic, tp.partition, offset, 0, 0, b"k", value, None, 1, 1, ())


@dataclass
class Bench:
    """One app with its consumer: what is fetched is scripted, what is delivered and committed is recorded."""

    app: Any
    ours: bool
    delivered: list[tuple[TP, int]] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)
    commits: list[dict[TP, int]] = field(default_factory=list)
    commit_succeeds: bool = True
    fatal: list[BaseException | str] = field(default_factory=list)
    _batches: list[dict[TP, list[Any]]] = field(default_factory=list)
    _moves: int = 0

    def __post_init__(self) -> None:
        consumer = self.consumer = self.app.consumer
        self.app.topics._acking_topics.add(SOURCE)
        self.app.flow_control.resume()
        consumer.callback = self._deliver
        consumer.assignment = lambda: {TP(SOURCE, 0), TP(SOURCE, 1)}
        consumer._commit = self._commit
        consumer._getmany = self._getmany
        consumer.highwater = lambda tp: 0
        if self.ours:
            consumer._thread.mark = lambda tp: self._moves
        else:

            async def flushed() -> None:
                return None

            self.app.producer.flush = flushed

    async def _deliver(self, message: Any) -> None:
        message.refcount = 1
        self.messages.append(message)
        self.delivered.append((TP(*message.tp), message.offset))

    async def _commit(self, offsets: dict[TP, int]) -> bool:
        self.commits.append(dict(offsets))
        return self.commit_succeeds

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        await asyncio.sleep(0)
        batch = self._batches.pop(0) if self._batches else {}
        if not self.ours:
            return batch
        positions = {tp: records[-1].offset + 1 for tp, records in batch.items()}
        return Fetched(batch, positions, dict.fromkeys(positions, self._moves))

    async def open(self, *tps: TP, committed: int | None = 0, position: int | None = None) -> None:
        """Assign `tps` and start them at their committed offset, as the end of a recovery does."""
        start = Start(committed, committed or 0 if position is None else position)
        consumer = self.consumer
        consumer._set_active_tps(set(tps))
        consumer.resume_flow()

        async def rewind(_: Any = None) -> Any:
            self._moves += 1
            return dict.fromkeys(tps, start)

        async def seek_to_committed() -> Any:
            return dict.fromkeys(tps, committed)

        consumer.assignment = lambda: set(tps)
        consumer._thread.rewind_to_committed = rewind
        consumer.seek_to_committed = seek_to_committed
        await consumer.perform_seek()

    def will_fetch(self, *batches: dict[TP, Iterable[int]]) -> None:
        self._batches += [
            {tp: [record(tp, offset) for offset in offsets] for tp, offsets in batch.items()}
            for batch in batches
        ]

    async def drain(self, *batches: dict[TP, Iterable[int]], until: Callable[[], bool] | None = None) -> None:
        """Run the consumer's own fetching loop over `batches`."""
        self.will_fetch(*batches)
        fetcher = SimpleNamespace(should_stop=False, _stopped=asyncio.Event())
        task = asyncio.create_task(self.consumer._drain_messages(fetcher))
        async with asyncio.timeout(PATIENCE_S):
            while self._batches or (until is not None and not until()):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            for _ in range(50):
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def ack(self, *offsets: int, tp: TP | None = None) -> None:
        """Acknowledge delivered messages, all of them when no offsets are named."""
        for message in self.messages:
            if (not offsets or message.offset in offsets) and (tp is None or message.tp == tp):
                message.ack(self.consumer)

    @property
    def committed(self) -> dict[TP, int]:
        merged: dict[TP, int] = {}
        for offsets in self.commits:
            merged |= offsets
        return merged


@contextmanager
def bench(*, ours: bool, commit_lag_s: float = 0.0) -> Iterator[Bench]:
    fatal: list[BaseException | str] = []
    if ours:
        app = build_app(
            app_id="unit",
            bootstrap="127.0.0.1:1",
            security=None,
            commit_lag_s=commit_lag_s,
            on_fatal=fatal.append,
        )
    else:
        app = faust.App("unit", broker="kafka://127.0.0.1:1", store="memory://", web_enabled=False)
        app.finalize()
    made = Bench(app, ours, fatal=fatal)
    try:
        yield made
    finally:
        made.consumer._thread.thread_loop.close()
