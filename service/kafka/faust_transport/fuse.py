"""One place that decides the worker has failed, so that a failure is never only a warning in a log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

Reason = BaseException | str

log = logging.getLogger(__name__)


class Fuse:
    """Blows once and stays blown: from then on nothing is committed and the worker ends.

    Must be used from the event loop's own thread; other threads use `blow_from`.
    """

    def __init__(self, on_blow: Callable[[Reason], None]) -> None:
        """`on_blow` is called exactly once, with the first reason; later reasons are only logged."""
        self._on_blow = on_blow
        self._blown = asyncio.Event()
        self.reason: Reason | None = None

    @property
    def blown(self) -> bool:
        return self.reason is not None

    def blow(self, reason: Reason) -> None:
        """Stop the worker because of `reason`. May be called any number of times; never raises by itself."""
        exc = reason if isinstance(reason, BaseException) else None
        if self.reason is not None:
            log.error("after the worker had failed: %s", reason, exc_info=exc)
            return
        self.reason = reason
        log.critical("the worker stops: %s", reason, exc_info=exc)
        self._blown.set()
        self._on_blow(reason)

    def blow_from(self, loop: asyncio.AbstractEventLoop, reason: Reason) -> None:
        """As `blow`, from a thread other than the one that runs `loop`."""
        loop.call_soon_threadsafe(self.blow, reason)

    async def wait(self) -> Reason:
        """Return the reason once the fuse has blown."""
        await self._blown.wait()
        assert self.reason is not None
        return self.reason
