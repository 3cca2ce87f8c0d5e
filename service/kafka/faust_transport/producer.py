"""Faust's producer, which here knows what it has not yet got into Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from faust.transport.drivers import aiokafka as stock

from .fuse import Fuse


class Producer(stock.Producer):
    """Tracks every send until the broker has acknowledged it; a failed one stops the worker.

    Faust's own `flush` returns when nothing left its buffer for 0.1 s, forgets the message it holds in hand, and
    says nothing of failed sends, which only leave a warning: an offset could be committed though the changelog
    record written for it was lost.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop | None = None, **kwargs: Any) -> None:
        super().__init__(transport, loop=loop, **kwargs)
        self._unsettled: set[asyncio.Future[Any]] = set()

    @property
    def fuse(self) -> Fuse:
        fuse: Fuse = self.app.fuse
        return fuse

    @property
    def unsettled(self) -> int:
        """How many sends the broker has not yet acknowledged."""
        return len(self._unsettled)

    def _settings_extra(self) -> Mapping[str, Any]:
        # A retry then neither repeats nor reorders: aiokafka sends one batch a partition at a time, and the
        # broker refuses what it has.
        return {**super()._settings_extra(), "enable_idempotence": True}

    def send_soon(self, fut: Any) -> None:
        """Send later; table writes come this way."""
        self._track(fut)
        super().send_soon(fut)

    async def send(self, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Send now; await the answer to know that the broker has it. Raises ProducerSendError."""
        sent: asyncio.Future[Any] = await super().send(*args, **kwargs)
        self._track(sent)
        return sent

    def _track(self, fut: asyncio.Future[Any]) -> None:
        self._unsettled.add(fut)
        fut.add_done_callback(self._settled)

    def _settled(self, fut: asyncio.Future[Any]) -> None:
        self._unsettled.discard(fut)
        if fut.cancelled():
            if not self.should_stop:
                self.fuse.blow("a send to Kafka was cancelled")
        elif (exc := fut.exception()) is not None:
            self.fuse.blow(exc)

    async def settle(self, timeout_s: float) -> bool:
        """Wait until everything sent so far is acknowledged.

        False when `timeout_s` passed first or the worker has failed. Sends begun meanwhile are not waited for.
        """
        pending = set(self._unsettled)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while pending and not self.fuse.blown and (left := deadline - loop.time()) > 0:
            # In slices, because a blown fuse may mean that nobody will ever answer.
            _, pending = await asyncio.wait(pending, timeout=min(left, 0.25))
        return not pending and not self.fuse.blown

    async def flush(self) -> None:
        """Wait until everything sent so far is acknowledged, or `producer_request_timeout` has passed."""
        if not await self.settle(self.request_timeout) and not self.fuse.blown:
            self.fuse.blow(f"Kafka did not take {self.unsettled} records in {self.request_timeout:g} s")
