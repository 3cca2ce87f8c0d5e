"""Follows throttle commands and budgets on the broker, and keeps a gate up to date.

1. Read both topics from their beginning, without a group: every gateway process needs all of them.
2. What is read is taken into the gate: it takes old, doubled and reordered records for what they are.
3. Every few seconds ask the broker for the ends of the topics. Only when everything up to such an end has been read
   is the gate told that the feed was heard of: a consumer alone does not say that its broker is away, it is just
   silent.
4. When reading fails, begin again at 1.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from types import TracebackType
from typing import Any, Final, Self

from gateway.broker import Connection, KafkaError, TopicPartition, at_most, consumer, not_ours
from gateway.gate import Gate
from gateway.publisher import Publisher
from schemas.budgets import BudgetSnapshot
from schemas.decode import decode, parse_object
from schemas.reasons import Refused
from schemas.throttles import ThrottleAck, ThrottleCommand
from schemas.topics import BUDGETS, THROTTLE_COMMANDS

_POLL_MS: Final = 200
_ASK_S: Final = 2.0
_ANSWER_S: Final = 10.0
_AGAIN_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_STOP_S: Final = 5.0

_LOG = logging.getLogger(__name__)


class Feed:
    """A thread of its own that reads. Start it after the process has forked."""

    def __init__(self, connection: Connection, gate: Gate, *, name: str = "gateway") -> None:
        """`name`: of this gateway process, for the broker's logs. Nothing is opened before `start`."""
        self._connection = connection
        self._gate = gate
        self._name = name
        self._commands = connection.topic(THROTTLE_COMMANDS)
        self._budgets = connection.topic(BUDGETS)
        # Answers go their own way, in memory: a topic of them that is missing must not hold up cost events.
        self._answers = Publisher(connection, None, name=f"{name}-acks", max_memory_bytes=1_048_576)
        self._counts: Counter[str] = Counter()
        self._caught_up = threading.Event()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Begin to read, also if the broker is away."""
        if self._thread is not None:
            raise RuntimeError("a feed is started once")
        self._answers.start()
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(started)), name="tidegate-feed", daemon=True
        )
        self._thread.start()
        started.wait()
        return self

    def wait_caught_up(self, timeout_s: float) -> bool:
        """Wait so long until all that was on the topics has been read once. Blocks."""
        return self._caught_up.wait(timeout_s)

    def close(self) -> None:
        """End reading; the gate goes on with what it knows. Blocks for some seconds at most."""
        if self._thread is not None and self._loop is not None:
            if self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(2 * _STOP_S)
            self._answers.close(_STOP_S)

    def counts(self) -> dict[str, int]:
        """For metrics: `commands`, `snapshots`, `refused` records, `failures` to read."""
        return {name: self._counts[name] for name in ("commands", "snapshots", "refused", "failures")}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _run(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        started.set()
        following = asyncio.create_task(self._follow_for_ever())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([following, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (following, stopping):
                task.cancel()
            await asyncio.wait([following, stopping])
        if not following.cancelled() and (error := following.exception()) is not None:
            _LOG.error("the feed ended, and the gate will be stale: %r", error)

    async def _follow_for_ever(self) -> None:
        pauses = 0
        while True:
            reader = consumer(self._connection, f"{self._name}-feed")
            try:
                await reader.start()
                pauses = 0
                await self._follow(reader)
            except (KafkaError, OSError, TimeoutError, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and not not_ours():
                    raise
                self._counts["failures"] += 1
                _LOG.warning("the feed begins again: %r", error)
            finally:
                await at_most(_STOP_S, reader.stop())
            await asyncio.sleep(_AGAIN_S[pauses])
            pauses = min(pauses + 1, len(_AGAIN_S) - 1)

    async def _follow(self, reader: Any) -> None:
        loop = asyncio.get_running_loop()
        sources = [TopicPartition(self._commands, 0), TopicPartition(self._budgets, 0)]
        reader.assign(sources)
        await reader.seek_to_beginning(*sources)
        ends, asked_at = await _ends(reader, sources), loop.time()
        caught_up, news = False, True
        while True:
            for records in (await reader.getmany(*sources, timeout_ms=_POLL_MS)).values():
                for record in records:
                    self._take(record, caught_up=caught_up)
            # Positions and not records tell the end: the last offset may be a transaction marker.
            if all([await reader.position(source) >= ends[source] for source in sources]):
                if news:
                    caught_up, news = True, False
                    self._answer(self._gate.heard())
                    self._caught_up.set()
                if loop.time() - asked_at >= _ASK_S:
                    ends, asked_at, news = await _ends(reader, sources), loop.time(), True

    def _take(self, record: Any, *, caught_up: bool) -> None:
        try:
            if record.topic == self._budgets:
                self._take_budget(record)
            elif record.value is not None:  # a tombstone says nothing: commands expire by themselves
                self._counts["commands"] += 1
                ack = self._gate.obey(decode(ThrottleCommand, record.value))
                # While catching up, what is over is no news, and was answered when it was.
                if caught_up or ack.result in ("applied", "unsupported", "failed"):
                    self._answer([ack])
        except Refused as refused:
            self._counts["refused"] += 1
            _LOG.warning("a record of %s at offset %d is refused: %s", record.topic, record.offset, refused)
            if record.topic == self._commands and (command_id := _command_id(record.value)) is not None:
                self._answer([self._gate.refuse(command_id, str(refused))])

    def _take_budget(self, record: Any) -> None:
        if record.value is None:
            self._gate.end_budget((record.key or b"").decode("utf-8", "replace"))
        else:
            self._counts["snapshots"] += 1
            self._gate.take(decode(BudgetSnapshot, record.value))

    def _answer(self, acks: list[ThrottleAck]) -> None:
        for ack in acks:
            self._answers.acknowledge(ack)


async def _ends(reader: Any, sources: list[Any]) -> dict[Any, int]:
    """Ends of the partitions as the broker has them now. Raises KafkaError or TimeoutError when it is away."""
    async with asyncio.timeout(_ANSWER_S):
        ends: dict[Any, int] = await reader.end_offsets(sources)
    return ends


def _command_id(value: bytes) -> str | None:
    """Of a command that cannot be read as a whole."""
    try:
        found = parse_object(value).get("command_id")
    except Refused:
        return None
    return found if isinstance(found, str) and 0 < len(found) <= 200 and found.isprintable() else None
