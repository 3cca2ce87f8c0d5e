"""The config topic as it stands, followed by every worker on its own, without a group.

Faust's GlobalTable can recover for ever with several workers (faust-streaming #283), and a group would give each
worker a share of the partitions: everyone needs all of it. The topic is compacted and small, so each worker
reads it from the beginning when it starts.

1. Read from the beginning into a new, empty book.
2. A record that is refused leaves the book as it is, and is reported once on `config-rejections`.
3. At the end offset as of the start, put what holds by now in force: the view is ready. What compaction has
   removed because a refused record came after it is found again in the audit trail.
4. Follow: each accepted record makes a new book, and so does each date of a record when its time comes.
5. When reading fails, begin again at 1. with the old book in force until the new one has caught up; so a topic
   that was deleted, truncated or made again cannot leave a mixture.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas.control import ConfigRejection
from schemas.decode import decode
from schemas.reasons import Refused
from schemas.topics import CONFIG, CONFIG_REJECTIONS
from service.errors import BrokerUnavailable, SettingsError
from service.kafka.clients import consumer, producer, require_topics, started, unavailable
from service.kafka.config_fold import ConfigFold, key_of
from service.kafka.config_history import Scribe
from service.kafka.config_trail import unshadow
from service.kafka.reader import read
from service.rules.config import ConfigBook
from service.runtime import metrics
from service.runtime.clock import Clock
from service.runtime.health import Health
from service.settings import KafkaSettings

_POLL_MS: Final = 500
_RETRY_S: Final = 1.0
_MAX_TEXT: Final = 4_000
_LOG = logging.getLogger(__name__)


class ConfigView:
    """The config in force, and what is wrong with the records that are not.

    Attributes
    ----------
    book : ConfigBook
        In force now, which is what holds by the clock. Immutable: take it once per decision.
    ready : bool
        Whether the book has been caught up with the topic since the start.
    """

    def __init__(
        self, kafka: KafkaSettings, clock: Clock, rejected_by: str, *, health: Health | None = None
    ) -> None:
        """`rejected_by`: the role, which rejections and metrics name. `health`: gets the beat `config`."""
        self.book = ConfigBook.empty()
        self.ready = False
        self._kafka = kafka
        self._clock = clock
        self._role = rejected_by
        self._health = health
        self._caught_up = asyncio.Event()
        self._callbacks: list[Callable[[ConfigBook], None]] = []
        self._refused: asyncio.Queue[ConfigRejection] = asyncio.Queue()
        self._known: set[tuple[str, int]] = set()
        self._scribe = Scribe(kafka, clock, rejected_by)
        self._tasks: list[asyncio.Task[None]] = []

    def on_change(self, callback: Callable[[ConfigBook], None]) -> None:
        """Call with each book that comes into force, the first included. Must not block and not raise."""
        self._callbacks.append(callback)

    async def start(self) -> None:
        """Return when caught up with the end of the topic as it was at the start.

        Raises
        ------
        BrokerUnavailable
            No broker, or no config topic (`TopicsMissing`).
        SettingsError
            The config topic has more than one partition: workers would see different orders.
        """
        if self._health is not None:
            self._health.expect("config")
            self._health.set_ready("config", False, "reading the config topic")
        self._tasks = [
            asyncio.create_task(work) for work in (self._follow(), self._report(), self._scribe.run())
        ]
        caught_up = asyncio.create_task(self._caught_up.wait())
        try:
            await asyncio.wait([caught_up, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            if not caught_up.done():
                await self.failed()
        except BaseException:
            await self.stop()
            raise
        finally:
            caught_up.cancel()

    async def failed(self) -> None:
        """Wait for the end of the reader, and raise what ended it: a role that judges must stop then too."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """End following. The last book stays in force."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._health is not None:
            self._health.release("config")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _follow(self) -> None:
        while True:
            try:
                await self._read_and_follow()
            except (KafkaError, BrokerUnavailable) as error:
                if not self.ready:
                    raise (
                        unavailable(error, self._kafka) if isinstance(error, KafkaError) else error
                    ) from None
                metrics.CONFIG_READ_ERRORS.labels(self._role).inc()
                _LOG.warning("config topic: %s; version %s stays in force", error, self.book.version)
                if self._health is not None:
                    self._health.beat("config")  # a restart would not bring the broker back
                await self._clock.sleep(_RETRY_S)

    async def _read_and_follow(self) -> None:
        topic = self._kafka.topic(CONFIG)
        # No reset policy: an offset that is gone means that the topic was cut, and all of it is read again.
        reader = consumer(
            self._kafka, group_id=None, auto_offset_reset="none", client_id=f"tidegate-config-{self._role}"
        )
        async with started(reader, self._kafka):
            partitions = (await require_topics(reader, [topic]))[topic]
            if len(partitions) != 1:
                raise SettingsError(f"topic {topic} has {len(partitions)} partitions and must have 1")
            partition: TopicPartition = partitions[0]
            reader.assign(partitions)
            await reader.seek_to_beginning(partition)
            end = (await reader.end_offsets(partitions))[partition]
            fold, caught_up = ConfigFold(self._kafka), False
            while True:
                wait_ms = self._until_a_date(fold.book) if caught_up else 50
                batch = await reader.getmany(partition, timeout_ms=wait_ms)
                for record in batch.get(partition, ()):
                    self._take(fold, record)
                # Positions and not records tell the end: the last offset may be a transaction marker.
                if not caught_up and await reader.position(partition) >= end:
                    await unshadow(self._kafka, fold)
                    caught_up = True
                if caught_up:
                    self._put_in_force(fold.book.at(self._clock.now()))
                if self._health is not None:
                    self._health.beat("config")

    def _until_a_date(self, book: ConfigBook) -> int:
        """Milliseconds until somebody should look again: something may begin to hold, or end."""
        now = self._clock.now()
        date = book.next_date(now)
        if date is None:
            return _POLL_MS
        # Rounded up: a look that is early would find nothing, and look again and again.
        return min(_POLL_MS, int((date - now).total_seconds() * 1000) + 1)

    def _take(self, fold: ConfigFold, record: ConsumerRecord) -> None:
        self._scribe.saw(record)
        try:
            fold.take(record)
        except Refused as refused:
            key = key_of(record)
            if (key, record.offset) not in self._known:
                self._known.add((key, record.offset))
                metrics.CONFIG_REFUSED.labels(self._role, refused.reason.value).inc()
                _LOG.warning(
                    "config record %s at offset %d refused: %s; the last good one stays",
                    key[:200],
                    record.offset,
                    refused,
                )
                self._refused.put_nowait(self._rejection(key, record.offset, refused))

    def _rejection(self, key: str, offset: int, refused: Refused) -> ConfigRejection:
        return ConfigRejection(
            key=key[:_MAX_TEXT],
            offset=offset,
            reason=refused.reason.value,
            path=refused.path[:_MAX_TEXT],
            detail=refused.detail[:_MAX_TEXT],
            rejected_by=self._role,
            rejected_at=self._clock.now(),
        )

    def _put_in_force(self, book: ConfigBook) -> None:
        if self.ready and book is self.book:
            return
        previous, self.book = (self.book.version if self.ready else None), book
        self.ready = True
        metrics.set_config_version(self._role, book.version, book.offset, previous)
        if previous != book.version:
            _LOG.info("config version %s in force, %d records", book.version, len(book.records))
            for callback in self._callbacks:
                callback(book)
        if self._health is not None:
            self._health.set_ready("config", True)
        self._caught_up.set()

    async def _report(self) -> None:
        """Publish each rejection, however long the broker takes; configuring goes on meanwhile."""
        waiting = await self._refused.get()
        topic = self._kafka.topic(CONFIG_REJECTIONS)
        told: set[tuple[str, int, str]] | None = None
        while True:
            try:
                if told is None:
                    told = await self._told(topic)
                async with started(
                    producer(self._kafka, client_id=f"tidegate-config-{self._role}"), self._kafka
                ) as sender:
                    while True:
                        identity = (waiting.key, waiting.offset, waiting.rejected_by)
                        if identity not in told:
                            await sender.send_and_wait(
                                topic, key=waiting.key.encode(), value=waiting.to_json()
                            )
                            told.add(identity)
                        waiting = await self._refused.get()
            except (KafkaError, BrokerUnavailable) as error:
                metrics.CONFIG_READ_ERRORS.labels(self._role).inc()
                _LOG.warning("cannot report that config record %s is refused: %s", waiting.key[:200], error)
                await self._clock.sleep(_RETRY_S)

    async def _told(self, topic: str) -> set[tuple[str, int, str]]:
        """What has been reported before: a restart reads the same bad records again."""
        told = set()
        async for record in read(self._kafka, topic):
            try:
                rejection = decode(ConfigRejection, record.value)
            except Refused as refused:
                _LOG.warning("unreadable record at offset %d of %s: %s", record.offset, topic, refused)
                continue
            told.add((rejection.key, rejection.offset, rejection.rejected_by))
        return told
