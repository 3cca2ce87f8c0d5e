"""Follows Tidegate's output topics and puts every record on the board."""

from __future__ import annotations

import asyncio
from typing import Final

from schemas.reasons import Refused
from schemas.topics import ALERTS, DEAD_LETTERS, THROTTLE_ACKS, THROTTLE_COMMANDS, WORKFLOW_STATE
from service.demo.board import Board
from service.kafka import consumer, require_topics, started
from service.settings import KafkaSettings

_TOPICS: Final = (ALERTS, THROTTLE_COMMANDS, THROTTLE_ACKS, DEAD_LETTERS, WORKFLOW_STATE)


async def follow(kafka: KafkaSettings, board: Board) -> None:
    """Read all of them from their beginning, for ever. Raises BrokerUnavailable, KafkaError."""
    names = {kafka.topic(topic): topic.name for topic in _TOPICS}
    async with started(consumer(kafka, group_id=None), kafka) as reader:
        partitions = [tp for tps in (await require_topics(reader, names)).values() for tp in tps]
        reader.assign(partitions)
        await reader.seek_to_beginning(*partitions)
        while True:
            for source, records in (await reader.getmany(timeout_ms=200, max_records=500)).items():
                for record in records:
                    try:
                        board.read(names[source.topic], source.partition, record.key, record.value)
                    except Refused as refused:
                        board.notes.append(f"{source.topic}/{record.offset} is not readable: {refused}")
            await asyncio.sleep(0)
