"""Reading the audit trail on `config-history`, and what it can give back to the config topic."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import aclosing
from datetime import datetime

from schemas.control import ConfigChange
from schemas.decode import decode
from schemas.reasons import Refused
from schemas.topics import CONFIG_HISTORY
from service.errors import TopicsMissing
from service.kafka.config_fold import ConfigFold
from service.kafka.replays import since
from service.settings import KafkaSettings

_LOG = logging.getLogger(__name__)


async def unshadow(kafka: KafkaSettings, fold: ConfigFold) -> None:
    """Find again what compaction has removed because a record that is refused came after it.

    So the last good record stays in force for whoever starts weeks later, too. Raises BrokerUnavailable.
    """
    if not fold.shadowed:
        return
    try:
        entries, _ = await recorded(kafka, 0)
    except TopicsMissing:
        return  # nobody has kept a trail
    fold.restore(each_once(entries))


def each_once(entries: Iterable[ConfigChange]) -> list[ConfigChange]:
    """In the order of the config topic. Of two entries about the same, the one that knows who it was."""
    found: dict[tuple[int, datetime], ConfigChange] = {}
    for entry in entries:
        identity = (entry.offset, entry.written_at)
        if entry.command != "seen" or identity not in found:
            found[identity] = entry
    return [found[identity] for identity in sorted(found, key=lambda i: (i[1], i[0]))]


async def recorded(kafka: KafkaSettings, start: int) -> tuple[list[ConfigChange], int]:
    """The entries from an offset of the trail on, and the offset to go on from. Raises BrokerUnavailable."""
    entries: list[ConfigChange] = []
    async with aclosing(since(kafka, {(kafka.topic(CONFIG_HISTORY), 0): start})) as batches:
        async for batch in batches:
            for record in batch:
                start = record.offset + 1
                try:
                    entries.append(decode(ConfigChange, record.value))
                except Refused as refused:
                    _LOG.warning(
                        "unreadable record at offset %d of %s: %s", record.offset, record.topic, refused
                    )
    return entries, start
