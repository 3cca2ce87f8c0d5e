"""A topic of which every worker needs all, followed without a group.

1. Read from the beginning, or from some time on, to the end as of the start: the view is ready.
2. Follow. When reading fails, begin again at 1.: so whatever folds the records must take one twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from schemas.base import Record
from schemas.decode import decode
from schemas.reasons import Refused
from service.errors import BrokerUnavailable
from service.kafka.clients import consumer, require_topics, started, unavailable
from service.kafka.reader import seek_to_time
from service.runtime.metrics import VIEW_POSITION, VIEW_REFUSED
from service.settings import KafkaSettings

_POLL_MS: Final = 500
_RETRY_S: Final = 1.0
_LOG = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)


class TopicView(Generic[R]):
    """Hands every record to `apply`, those that are there at the start before `start` returns."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        kind: type[R],
        apply: Callable[[R], object],
        *,
        since: datetime | None = None,
    ) -> None:
        """
        Parameters
        ----------
        topic : str
            Physical name.
        apply : callable
            Must not block and not raise.
        since : datetime or None
            Leave out what was written before.
        """
        self._kafka = kafka
        self._topic = topic
        self._kind = kind
        self._apply = apply
        self._since = since
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
                _LOG.warning("%s: %s; read again", self._topic, error)
                await asyncio.sleep(_RETRY_S)

    async def _read(self) -> None:
        async with started(consumer(self._kafka, group_id=None), self._kafka) as reader:
            partitions = (await require_topics(reader, [self._topic]))[self._topic]
            reader.assign(partitions)
            ends = await reader.end_offsets(partitions)
            if self._since is None:
                await reader.seek_to_beginning(*partitions)
            else:
                await seek_to_time(reader, ends, self._since)
            while True:
                poll_ms = _POLL_MS if self._caught_up.is_set() else 50
                for records in (await reader.getmany(timeout_ms=poll_ms)).values():
                    for record in records:
                        self._one(record)
                for partition in partitions:
                    place = await reader.position(partition)
                    VIEW_POSITION.labels(self._topic, partition.partition).set(place)
                if not self._caught_up.is_set() and all(
                    # Positions and not records tell the end: the last offsets may be transaction markers.
                    [await reader.position(tp) >= end for tp, end in ends.items()]
                ):
                    self._caught_up.set()

    def _one(self, record: ConsumerRecord) -> None:
        if record.value is None:
            return  # expired, or deleted by hand: what was said then is over anyway
        try:
            self._apply(decode(self._kind, record.value))
        except Refused as refused:
            VIEW_REFUSED.labels(self._topic, refused.reason).inc()
            _LOG.warning("%s: record at offset %d left out: %s", self._topic, record.offset, refused)
