"""The config topic for those who write it or look at it once; workers follow it with `ConfigView`.

Whoever changes it reads, decides and writes, and nobody who does the same may come in between:

1. start the producer, whose transactional id is the same for all of an installation: a change that somebody else
   has begun is ended for good, and he is refused from then on;
2. read the topic to its end. Only now: before 1. he might still have written;
3. decide what to write by what is there;
4. in one transaction: the records, and an entry each on `config-history`; wait until all are acknowledged; commit;
5. read what has come since 2., up to the own records.

So of two commands at once one wins and the other changes nothing (`Fenced`). A writer that does not keep to this,
with a producer of its own, can still come between 2. and 4.: nothing on a Kafka topic can keep it out. 5. sees it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced

from schemas.control import ConfigChange, ConfigRejection
from schemas.decode import decode
from schemas.reasons import Refused
from schemas.topics import CONFIG, CONFIG_HISTORY, CONFIG_REJECTIONS
from service.errors import Fenced, Stalled, TopicsMissing
from service.kafka.clients import require_topics, transactional_producer, unavailable
from service.kafka.config_change import Change, Intent, history_entry
from service.kafka.config_fold import ConfigFold
from service.kafka.config_trail import unshadow
from service.kafka.reader import read
from service.kafka.replays import since
from service.rules.config import ConfigBook
from service.rules.config_signature import HEADER, Signatures, sign
from service.runtime.clock import Clock, SystemClock
from service.settings import KafkaSettings

_LOOK_AGAIN_S: Final = 0.25
_VISIBLE_AGAIN_S: Final = 0.02
_START_S: Final = 60.0
"""Longest wait for the transaction of a command that died; the broker ends it after a minute by itself."""
_COMMIT_S: Final = 45.0
_ATTEMPTS: Final = 10
_AGAIN_S: Final = 2.0
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """The topic as it stands.

    Attributes
    ----------
    book : ConfigBook
        All records, also those that do not hold yet or any more: `book.at(now)` is what workers judge by.
    refused : mapping of str to (int, Refused)
        By key: the record after the last good one, which changes nothing.
    changes : sequence of Change
        Every record that the topic still has, by offset.
    end : int
        One past the last of them.
    """

    book: ConfigBook
    refused: Mapping[str, tuple[int, Refused]]
    changes: Sequence[Change]
    end: int
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class Committed:
    """What a change came to. `others`: records that somebody wrote in between, past all precautions."""

    offsets: Mapping[str, int]
    book: ConfigBook
    others: Sequence[Change] = field(default_factory=list)


Decide = Callable[[Standing], Mapping[str, bytes | None]]


async def standing(kafka: KafkaSettings) -> Standing:
    """The topic as a worker that starts now would read it. Raises BrokerUnavailable, SettingsError."""
    fold, changes = ConfigFold(kafka), []
    async with aclosing(since(kafka, {(kafka.topic(CONFIG), 0): 0})) as batches:
        async for batch in batches:
            for record in batch:
                changes.append(Change.of(record))
                try:
                    fold.take(record)
                except Refused:
                    continue  # as every worker does; each has reported it
    await unshadow(kafka, fold)
    end = changes[-1].offset + 1 if changes else 0
    return Standing(fold.book, dict(fold.refused), changes, end, fold.signatures)


async def commit(
    kafka: KafkaSettings, intent: Intent, decide: Decide, clock: Clock | None = None
) -> Committed:
    """Change the topic by what stands there; see the steps above. `decide` may raise to change nothing.

    Raises
    ------
    BrokerUnavailable, TopicsMissing
    Fenced
        Another command has begun. Nothing of this one is visible.
    Stalled
        The broker does not end a transaction.
    """
    clock = clock or SystemClock()
    # One id for the one partition.
    producer: Any = transactional_producer(
        kafka, f"{kafka.topic(CONFIG)}-0-writer", client_id="tidegate-config", linger_ms=0
    )
    try:
        try:
            async with asyncio.timeout(_START_S):
                await producer.start()
        except TimeoutError:
            raise Stalled(f"an earlier change's transaction did not end within {_START_S:g} s") from None
        except KafkaError as error:
            raise unavailable(error, kafka) from error
        await require_topics(producer, [kafka.topic(CONFIG), kafka.topic(CONFIG_HISTORY)])
        before = await standing(kafka)
        wanted = decide(before)
        if not wanted:
            return Committed({}, before.book)
        offsets = await _transact(producer, kafka, intent, wanted, before.signatures, clock)
    finally:
        await producer.stop()
    after = await _seen(kafka, max(offsets.values()), clock)
    own = set(offsets.values())
    others = [change for change in after.changes if before.end <= change.offset and change.offset not in own]
    return Committed(offsets, after.book, [other for other in others if other.offset < max(own)])


async def publish(
    kafka: KafkaSettings, records: Mapping[str, bytes | None], intent: Intent | None = None
) -> dict[str, int]:
    """Write records (None deletes), whatever is there; the offset of each. Raises as `commit` does."""
    for again in range(_ATTEMPTS, -1, -1):
        try:
            return dict((await commit(kafka, intent or Intent(), lambda _: records)).offsets)
        except Fenced:
            # Somebody else's change came in between. Nothing hangs on it here, and nothing was written.
            if not again:
                raise
            # Each beginning ends whoever is at work: of several, all must not begin again at the same time.
            await SystemClock().sleep(random.uniform(0.0, _AGAIN_S))
    raise AssertionError("the last attempt returns or raises")


async def refusals(
    kafka: KafkaSettings, offsets: Mapping[str, int], *, within_s: float, clock: Clock | None = None
) -> list[ConfigRejection]:
    """What workers say against just published records; returns as soon as one says something."""
    clock = clock or SystemClock()
    deadline = clock.monotonic() + within_s
    while True:
        found = [r for r in await rejections(kafka) if offsets.get(r.key) == r.offset]
        if found or clock.monotonic() >= deadline:
            return found
        await clock.sleep(_LOOK_AGAIN_S)


async def rejections(kafka: KafkaSettings) -> list[ConfigRejection]:
    """What workers have refused, of the last 30 days, oldest first. Raises BrokerUnavailable."""
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


async def _transact(
    producer: Any,
    kafka: KafkaSettings,
    intent: Intent,
    wanted: Mapping[str, bytes | None],
    signatures: Signatures,
    clock: Clock,
) -> dict[str, int]:
    """Step 4. The offset of each record."""
    signed = {key: _signed(kafka, key, value, signatures, clock) for key, value in wanted.items()}
    try:
        async with asyncio.timeout(_COMMIT_S), producer.transaction():
            places = await _sent(
                [
                    await producer.send(
                        kafka.topic(CONFIG), value, key.encode(), headers=_headers(signed[key]), partition=0
                    )
                    for key, value in wanted.items()
                ]
            )
            entries = _entries(wanted, signed, places, intent)
            await _sent(
                [
                    await producer.send(kafka.topic(CONFIG_HISTORY), entry.to_json(), entry.key.encode())
                    for entry in entries
                ]
            )
    except (ProducerFenced, InvalidProducerEpoch):
        _retrieve(producer)
        raise _fenced() from None
    except TimeoutError:
        raise Stalled(f"the transaction was open for more than {_COMMIT_S:g} s; nothing is changed") from None
    except (KafkaError, AssertionError) as error:
        # aiokafka asserts its states: a producer that was fenced between two steps answers so.
        _retrieve(producer)
        if isinstance(error.__cause__, (ProducerFenced, InvalidProducerEpoch)):
            raise _fenced() from error
        if isinstance(error, AssertionError):
            raise KafkaError(f"the transaction failed: {error}") from error
        raise unavailable(error, kafka) from error
    return {key: place.offset for key, place in zip(wanted, places, strict=True)}


def _retrieve(producer: Any) -> None:
    """Look at errors that aiokafka keeps in futures of its own: else asyncio complains that nobody has."""
    held = producer._message_accumulator._batches.values()
    waiters = [batch._drain_waiter for batches in held for batch in batches]
    for waiter in (*waiters, producer._txn_manager._transaction_waiter):
        if waiter is not None and waiter.done() and not waiter.cancelled():
            waiter.exception()


async def _sent(acknowledgements: Sequence[Any]) -> list[Any]:
    # All of them, also after a first failure: none must be left to complain that nobody asked.
    answers = await asyncio.gather(*acknowledgements, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return list(answers)


def _signed(
    kafka: KafkaSettings, key: str, value: bytes | None, signatures: Signatures, clock: Clock
) -> str | None:
    signer = kafka.config_signer()
    if signer is None:
        return None
    latest = signatures.latest(key)
    # Another machine's clock may be ahead of this one: what is written later must be signed later.
    at = clock.now() if latest is None else max(clock.now(), latest + _MICROSECOND)
    return sign(*signer, kafka.topic(CONFIG), key, value, at)


def _headers(signature: str | None) -> list[tuple[str, bytes]]:
    return [] if signature is None else [(HEADER, signature.encode())]


def _entries(
    wanted: Mapping[str, bytes | None],
    signed: Mapping[str, str | None],
    places: Sequence[Any],
    intent: Intent,
) -> list[ConfigChange]:
    change = uuid4().hex[:16]
    return [
        history_entry(
            Change(key, value, place.offset, datetime.fromtimestamp(place.timestamp / 1000, UTC)),
            intent,
            change,
            signed[key],
        )
        for (key, value), place in zip(wanted.items(), places, strict=True)
    ]


async def _seen(kafka: KafkaSettings, offset: int, clock: Clock) -> Standing:
    """Step 5. Kafka answers the end of a transaction a moment before readers may see it."""
    deadline = clock.monotonic() + _COMMIT_S
    while True:
        found = await standing(kafka)
        if found.end > offset:
            return found
        if clock.monotonic() >= deadline:
            raise Stalled("the change is committed, but the broker does not show it")
        await clock.sleep(_VISIBLE_AGAIN_S)


def _fenced() -> Fenced:
    return Fenced("somebody else has begun to change the configuration; nothing is changed, run it again")
