"""What detect durably knows: the latest value per workflow of its changelog."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer

from service.detect.state import decode
from tests.support.broker import partitions

Sums = dict[str, tuple[int, int]]
"""Workflow to (calls, nano-dollars)."""


class DurableState:
    """Follows a changelog: at any time what a worker that starts now would recover."""

    def __init__(self, bootstrap: str, changelog: str) -> None:
        self._bootstrap, self._topic = bootstrap, changelog
        self._latest: dict[str, bytes] = {}
        self._consumer: Any = None

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
        )
        await self._consumer.start()
        assigned = await partitions(self._bootstrap, self._topic)
        self._consumer.assign(assigned)
        await self._consumer.seek_to_beginning(*assigned)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def _take(self, timeout_ms: int) -> bool:
        batches = await self._consumer.getmany(timeout_ms=timeout_ms)
        for batch in batches.values():
            for record in batch:
                self._latest[record.key.decode()] = record.value
        return bool(batches)

    def _sums(self) -> Sums:
        totals = {workflow: decode(value).totals for workflow, value in self._latest.items()}
        return {workflow: (t.calls, t.cost) for workflow, t in totals.items()}

    async def sums(self, for_s: float = 1.0) -> Sums:
        """Read until nothing came for `for_s` seconds."""
        while await self._take(timeout_ms=round(for_s * 1_000)):
            pass
        return self._sums()

    async def until(
        self, holds: Callable[[Sums], bool], timeout_s: float, alive: Callable[[], None] = lambda: None
    ) -> Sums:
        """Wait until the sums are so, and return them; after `timeout_s` return what there is."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            alive()
            await self._take(timeout_ms=200)
            found = self._sums()
            if holds(found) or asyncio.get_running_loop().time() > deadline:
                return found
