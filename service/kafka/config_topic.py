"""The config topic for those who write it or look at it once; workers follow it with `ConfigView`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from aiokafka.errors import KafkaError

from schemas.control import ConfigRejection
from schemas.decode import decode
from schemas.reasons import Refused
from schemas.topics import CONFIG, CONFIG_REJECTIONS
from service.errors import TopicsMissing
from service.kafka.clients import producer, require_topics, started, unavailable
from service.kafka.reader import read, written_at
from service.rules.config import ConfigBook
from service.runtime.clock import Clock, SystemClock
from service.settings import KafkaSettings

_LOOK_AGAIN_S = 0.25


@dataclass(frozen=True, slots=True)
class Change:
    """One record of the topic, accepted or not."""

    key: str
    value: bytes | None
    offset: int
    at: datetime
    refusals: Sequence[ConfigRejection] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What the topic still holds, by offset."""

    changes: Sequence[Change] = field(default_factory=list)
    end: int = 0
    """One past the last offset that was read."""

    @property
    def missing(self) -> int:
        """Offsets that compaction (or a transaction marker) has taken."""
        return self.end - len(self.changes)


async def in_force(kafka: KafkaSettings) -> ConfigBook:
    """The book as a worker that starts now would have it. Raises BrokerUnavailable."""
    book = ConfigBook.empty()
    for change in (await _raw(kafka)).changes:
        try:
            book = book.apply(change.key, change.value, change.offset)
        except Refused:
            continue  # as every worker does; each has reported it
    return book


async def changes(kafka: KafkaSettings) -> Changes:
    """Every record the topic still has, with what workers said against it. Raises BrokerUnavailable."""
    found = await _raw(kafka)
    said: dict[tuple[str, int], list[ConfigRejection]] = {}
    for rejection in await _rejections(kafka):
        said.setdefault((rejection.key, rejection.offset), []).append(rejection)
    told = [
        Change(c.key, c.value, c.offset, c.at, tuple(said.get((c.key, c.offset), ()))) for c in found.changes
    ]
    return Changes(told, found.end)


async def publish(kafka: KafkaSettings, records: Mapping[str, bytes | None]) -> dict[str, int]:
    """Write records (None deletes) in their order; the offset of each, once acknowledged.

    Raises
    ------
    BrokerUnavailable
    """
    topic = kafka.topic(CONFIG)
    offsets: dict[str, int] = {}
    async with started(producer(kafka, client_id="tidegate-config"), kafka) as sender:
        await require_topics(sender, [topic])
        try:
            for key, value in records.items():
                offsets[key] = (await sender.send_and_wait(topic, key=key.encode(), value=value)).offset
        except KafkaError as error:
            raise unavailable(error, kafka) from error
    return offsets


async def refusals(
    kafka: KafkaSettings, offsets: Mapping[str, int], *, within_s: float, clock: Clock | None = None
) -> list[ConfigRejection]:
    """What workers say against just published records; returns as soon as one says something."""
    clock = clock or SystemClock()
    deadline = clock.monotonic() + within_s
    while True:
        found = [r for r in await _rejections(kafka) if offsets.get(r.key) == r.offset]
        if found or clock.monotonic() >= deadline:
            return found
        await clock.sleep(_LOOK_AGAIN_S)


async def _raw(kafka: KafkaSettings) -> Changes:
    found = []
    async for record in read(kafka, kafka.topic(CONFIG)):
        key = (record.key or b"").decode("utf-8", "replace")
        found.append(Change(key, record.value, record.offset, written_at(record)))
    return Changes(found, found[-1].offset + 1 if found else 0)


async def _rejections(kafka: KafkaSettings) -> list[ConfigRejection]:
    found = []
    try:
        async for record in read(kafka, kafka.topic(CONFIG_REJECTIONS)):
            try:
                found.append(decode(ConfigRejection, record.value))
            except Refused:
                continue  # not ours; `tidegate tail config-rejections` shows it
    except TopicsMissing:
        return []  # nobody can have refused anything
    return found
