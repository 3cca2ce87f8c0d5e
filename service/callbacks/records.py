"""Where answers are written down: acknowledgements, what people say alerts were worth, and config records."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol, TypeVar

from schemas.control import Control
from schemas.feedback import Feedback
from schemas.notifications import Acknowledgement
from schemas.topics import ACKNOWLEDGEMENTS
from service.errors import Fenced
from service.kafka import Producer
from service.kafka.config_change import Intent
from service.kafka.config_topic import Standing, commit
from service.kafka.feedback import judge, settle
from service.rules.config import control_key
from service.runtime.clock import Clock
from service.settings import KafkaSettings

_ROLE: Final = "callbacks"
_TRIES: Final = 5
_AGAIN_S: Final = 0.5
_Done = TypeVar("_Done")


class Records(Protocol):
    """What answers become. Every method returns when all in-sync replicas have it, and may raise KafkaError,
    BrokerUnavailable, Stalled, Fenced: then it is not known to be written."""

    async def acknowledge(self, said: Acknowledgement) -> None: ...
    async def judge(self, said: Feedback) -> str | None:
        """What follows of it, as one sentence; None: nothing."""
        ...

    async def apply(self, records: Sequence[Control], author: str, reason: str) -> None:
        """Records that are there already, word for word, are not written again."""
        ...


class KafkaRecords:
    """`Records` on the broker."""

    def __init__(self, kafka: KafkaSettings, producer: Producer, clock: Clock) -> None:
        self._kafka = kafka
        self._producer = producer
        self._clock = clock
        # Two commands at once fence each other: from here only one at a time.
        self._one = asyncio.Lock()

    async def acknowledge(self, said: Acknowledgement) -> None:
        topic = self._kafka.topic(ACKNOWLEDGEMENTS)
        await self._producer.send_and_wait(topic, said.to_json(), key=said.fingerprint.encode())

    async def judge(self, said: Feedback) -> str | None:
        async def say() -> str | None:
            stands = await judge(self._kafka, said, self._clock, by=_ROLE)
            return None if stands is None else stands.reason

        return await self._alone(say)

    async def settle(self, said: Feedback) -> bool:
        """Put into effect what somebody else wrote to the topic of feedback. Whether anything was left to do."""
        return await self._alone(lambda: settle(self._kafka, said, self._clock, by=_ROLE))

    async def apply(self, records: Sequence[Control], author: str, reason: str) -> None:
        wanted = {control_key(record): record for record in records}

        def missing(now: Standing) -> dict[str, bytes | None]:
            return {
                key: record.to_json() for key, record in wanted.items() if now.book.records.get(key) != record
            }

        async def write() -> None:
            intent = Intent(author=author, reason=reason, by=_ROLE)
            await commit(self._kafka, intent, missing, self._clock)

        await self._alone(write)

    async def _alone(self, change: Callable[[], Awaitable[_Done]]) -> _Done:
        """Change the configuration; again if somebody does at the same moment, from another process."""
        async with self._one:
            for _ in range(_TRIES - 1):
                with suppress(Fenced):
                    return await change()
                await self._clock.sleep(_AGAIN_S * (1 + random.random()))
            return await change()
