"""The acknowledgements topic, followed by every replica on its own, without a group.

1. Read from the beginning to the end as of the start: the desk knows who took what.
2. Follow. When reading fails, begin again at 1.: reading one twice changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from schemas.decode import decode
from schemas.notifications import Acknowledgement
from schemas.reasons import Refused
from schemas.topics import ACKNOWLEDGEMENTS
from service.errors import BrokerUnavailable
from service.kafka import ConsumerRecord, KafkaError, consumer, require_topics, started, unavailable
from service.runtime.metrics import NOTIFY_REFUSED
from service.settings import KafkaSettings

_POLL_MS: Final = 500
_RETRY_S: Final = 1.0
_LOG = logging.getLogger(__name__)


class AcknowledgementView:
    """Hands every acknowledgement to `apply`, the first ones before `start` returns."""

    def __init__(self, kafka: KafkaSettings, apply: Callable[[Acknowledgement], None]) -> None:
        """`apply` must not block and not raise."""
        self._kafka = kafka
        self._apply = apply
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when caught up with the end of the topic. Raises BrokerUnavailable, TopicsMissing."""
        self._task = asyncio.create_task(self._follow())
        caught_up = asyncio.create_task(self._caught_up.wait())
        try:
            await asyncio.wait([caught_up, self._task], return_when=asyncio.FIRST_COMPLETED)
            if not caught_up.done():
                await self._task
        finally:
            caught_up.cancel()

    async def failed(self) -> None:
        """Wait for the end of the reader, and raise what ended it."""
        assert self._task is not None
        await asyncio.wait([self._task])
        self._task.result()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _follow(self) -> None:
        while True:
            try:
                await self._read()
            except (KafkaError, BrokerUnavailable) as error:
                if not self._caught_up.is_set():
                    raise (
                        unavailable(error, self._kafka) if isinstance(error, KafkaError) else error
                    ) from None
                _LOG.warning("acknowledgements: %s; read again", error)
                await asyncio.sleep(_RETRY_S)

    async def _read(self) -> None:
        topic = self._kafka.topic(ACKNOWLEDGEMENTS)
        async with started(consumer(self._kafka, group_id=None), self._kafka) as reader:
            partitions = (await require_topics(reader, [topic]))[topic]
            reader.assign(partitions)
            await reader.seek_to_beginning(*partitions)
            ends = await reader.end_offsets(partitions)
            while True:
                poll_ms = _POLL_MS if self._caught_up.is_set() else 50
                for records in (await reader.getmany(timeout_ms=poll_ms)).values():
                    for record in records:
                        self._one(record)
                if not self._caught_up.is_set() and all(
                    [await reader.position(tp) >= end for tp, end in ends.items()]
                ):
                    self._caught_up.set()

    def _one(self, record: ConsumerRecord) -> None:
        if record.value is None:
            return  # expired, or deleted by hand: what was said then is over anyway
        try:
            self._apply(decode(Acknowledgement, record.value))
        except Refused as refused:
            NOTIFY_REFUSED.labels(refused.reason).inc()
            _LOG.warning("acknowledgement at offset %d left out: %s", record.offset, refused)
