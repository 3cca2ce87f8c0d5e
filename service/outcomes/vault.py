"""Where traces are kept between processes: a compacted topic, written in the transaction that tells of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Final

from schemas.topics import OUTCOME_TRACES
from service.errors import Stalled
from service.kafka.lane import Send
from service.kafka.reader import read
from service.outcomes import progress as progresses
from service.outcomes.join import Drained, Join
from service.outcomes.progress import Progress, UnreadableProgress
from service.outcomes.trace import UnreadableTrace
from service.settings import KafkaSettings

_LOG = logging.getLogger(__name__)
_PROGRESS: Final = b"progress"
_TRACE: Final = b"trace/"
_BREATH: Final = 5_000


async def opened(
    kafka: KafkaSettings, max_traces: int, alive: Callable[[], None]
) -> tuple[Join, Progress | None]:
    """What was kept last. To be asked for after the lane is open: before, its former owner may still write.

    `alive` is called every so often: a million traces take half a minute.

    Raises
    ------
    Stalled
        A trace of a later release, or a damaged one: to begin it anew would lose what it counted.
    BrokerUnavailable, TopicsMissing
    """
    found: dict[str, bytes] = {}
    position: bytes | None = None
    count = 0
    async with aclosing(read(kafka, kafka.topic(OUTCOME_TRACES))) as records:
        async for record in records:
            count += 1
            if count % _BREATH == 0:
                alive()
            if record.key == _PROGRESS:
                position = record.value
            elif record.key is not None and record.key.startswith(_TRACE):
                name = record.key[len(_TRACE) :].decode()
                if record.value is None:
                    found.pop(name, None)
                else:
                    found[name] = record.value
    alive()
    try:
        join = Join(found, max_traces)
        progress = None if position is None else progresses.load(position)
    except (UnreadableTrace, UnreadableProgress) as error:
        raise Stalled(f"the topic {kafka.topic(OUTCOME_TRACES)} cannot be read: {error}") from None
    _LOG.info("%d traces were kept", join.traces)
    return join, progress


def kept(kafka: KafkaSettings, drained: Drained, progress: Progress) -> Iterator[Send]:
    """The records that keep what has changed, and how far the topics were read with it."""
    topic = kafka.topic(OUTCOME_TRACES)
    for trace_id, data in drained.changed.items():
        yield Send(topic, data, _TRACE + trace_id.encode())
    yield Send(topic, progresses.dump(progress), _PROGRESS)
