"""Feedback that somebody put on its topic without the command line or a button: it is put into effect, too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from schemas.feedback import Feedback
from service.errors import BrokerUnavailable, Fenced, Stalled
from service.kafka import KafkaError
from service.runtime.clock import Clock

WAIT_S: Final = 5.0
"""By then whoever wrote it has put it into effect, if he does so himself."""
_RETRY_S: Final = 30.0
_LOG = logging.getLogger(__name__)


class Hearsay:
    """Settles what was heard, workflow by workflow, a moment later."""

    def __init__(self, settle: Callable[[Feedback], Awaitable[bool]], clock: Clock) -> None:
        self._settle = settle
        self._clock = clock
        self._heard: dict[str, Feedback] = {}
        self._news = asyncio.Event()
        self._work: asyncio.Task[None] | None = None

    def hear(self, said: Feedback) -> None:
        """One record of the topic. All that was said of a workflow counts: the latest stands for it."""
        self._heard[said.workflow] = said
        self._news.set()

    async def run(self) -> None:
        """Never ends. What cannot be settled now is tried again."""
        while True:
            await self._news.wait()
            await self._clock.sleep(WAIT_S)
            self._news.clear()
            # A change of the configuration that has begun is ended, also when nobody waits for it any more.
            self._work = asyncio.create_task(self._settle_all())
            await asyncio.shield(self._work)
            if self._heard:
                await self._clock.sleep(_RETRY_S)
                self._news.set()

    async def end(self) -> None:
        """Wait until what has begun is settled."""
        if self._work is not None:
            await asyncio.wait([self._work])

    async def _settle_all(self) -> None:
        heard, self._heard = self._heard, {}
        for workflow, said in heard.items():
            try:
                if await self._settle(said):
                    _LOG.info("feedback on %r is in effect: %s said %s", workflow, said.author, said.worth)
            except (KafkaError, BrokerUnavailable, Fenced, Stalled) as error:
                _LOG.warning("feedback on %r is not in effect yet: %s", workflow, error)
                self._heard.setdefault(workflow, said)
