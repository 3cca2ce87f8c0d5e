"""The loop: polls all assigned partitions, folds each, and commits each through its own lane.

The numbers are the steps of `service.kafka.lane`. One loop and not one task per partition: folding is all CPU,
and one thread has only one. Commits do overlap with polling and folding: while one batch of a partition is on
its way the next is being folded, and if the first fails both are thrown away and read again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from schemas.topics import COST_EVENTS
from service.errors import Fenced
from service.ingest import pace
from service.ingest.price import Pricer
from service.ingest.scopes import Watching
from service.ingest.stream import Parked, Stream
from service.ingest.trace_costs import Joining
from service.kafka import Consumer, ConsumerRebalanceListener, KafkaError, TopicPartition
from service.kafka.lane import LaneLost
from service.kafka.poll import Poller, Records
from service.runtime import metrics
from service.runtime.clock import Clock
from service.runtime.health import Health
from service.settings import Settings

_LOG = logging.getLogger(__name__)
_POLL_MS: Final = 100
_POLL_RECORDS: Final = 10_000
"""What is polled and not yet folded is in memory: several times the bytes on the wire."""
_LEAST_RECORDS: Final = 1_000
"""Polled all the same when others are held: whoever is behind must come forward."""
_COMMIT_MS: Final = 10
"""Longest wait for records while a partition that has some waits for its commit to end."""
_REOPEN_S: Final = 1.0


class Intake(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types, and asks for the class
    """Owns the consumer's partitions from assignment to revocation.

    Parameters
    ----------
    consumer : Consumer
        Started, not subscribed.
    partitions : int
        Of the cost-events topic.
    fenced_wait_s : float
        How long a fenced lane stays shut while this process still believes to own the partition. At least the
        group's session timeout: by then the group has told who owns it.
    """

    def __init__(
        self,
        settings: Settings,
        consumer: Consumer,
        partitions: int,
        pricer: Pricer,
        watching: Watching,
        joining: Joining,
        clock: Clock,
        health: Health,
        *,
        fenced_wait_s: float,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._partitions = partitions
        self._pricer = pricer
        self._watching = watching
        self._joining = joining
        self._clock = clock
        self._health = health
        self._fenced_wait_s = fenced_wait_s
        self._poller = Poller(consumer)
        self._streams: dict[TopicPartition, Stream] = {}
        self._shut: dict[TopicPartition, float] = {}  # ours but without a lane: when to open one
        self._parked: dict[TopicPartition, Parked] = {}
        # A rebalance waits for the end of a turn: nothing is given up half folded.
        self._turn = asyncio.Lock()
        self._failure: Exception | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Poll, fold and commit until `stop`; then commit what is folded and give the partitions up.

        Raises
        ------
        TooManyDeadLetters, Stalled, KafkaError
            Nothing that is not committed is lost: it is read again.
        """
        self._health.expect("ingest")
        self._health.set_ready("partitions", False, "waiting for partitions")
        self._consumer.subscribe([self._settings.kafka.topic(COST_EVENTS)], listener=self)
        stopping = asyncio.create_task(stop.wait())
        clean = False
        try:
            while not stop.is_set():
                async with self._turn:
                    await self._reap()
                    await self._open_shut()
                records = await self._poll(stopping)
                async with self._turn:
                    await self._take(records)
                if self._failure is not None:
                    raise self._failure
                self._health.beat("ingest")
            clean = True
        finally:
            stopping.cancel()
            async with self._turn:
                await self._give_up(list(self._streams), commit=clean)
            self._health.release("ingest")

    # --- partitions come and go ---------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Commit what is folded and stop the producers, before anybody else gets the partitions."""
        try:
            async with self._turn:
                self._shut = {}
                self._health.set_ready("partitions", False, "partitions change hands")
                await self._give_up([source for source in revoked if source in self._streams], commit=True)
        except Exception as error:  # noqa: BLE001 - aiokafka swallows what a listener raises
            self._fail(error)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """The lanes are opened with the next turn; until then nothing is fetched."""
        try:
            self._consumer.pause(*assigned)
            self._shut = dict.fromkeys(assigned, 0.0)
            self._parked = {s: parked for s, parked in self._parked.items() if s in self._shut}
            self._say_ready()
        except Exception as error:  # noqa: BLE001 - aiokafka swallows what a listener raises
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        _LOG.error("while partitions change hands: %r", error)
        self._failure = self._failure or error

    def _say_ready(self) -> None:
        metrics.INGEST_LANES.set(len(self._streams))
        shut = ", ".join(str(source.partition) for source in sorted(self._shut))
        self._health.set_ready("partitions", not shut, f"opening the lanes of partitions {shut}")

    async def _open_shut(self) -> None:
        now = self._clock.monotonic()
        if due := [source for source, when in self._shut.items() if when <= now]:
            known = self._consumer.partitions_for_topic(due[0].topic)
            self._partitions = max(self._partitions, len(known or ()))
            await asyncio.gather(*(self._open(source) for source in due))
            self._say_ready()

    async def _open(self, source: TopicPartition) -> None:
        parked = self._parked.pop(source, None)
        try:
            self._streams[source] = await Stream.open(
                self._settings,
                self._consumer,
                source,
                self._partitions,
                self._pricer,
                self._watching,
                self._joining,
                parked,
                self._clock,
            )
        except KafkaError as error:
            _LOG.warning("%s-%d: cannot open the lane yet: %r", *source, error)
            self._shut[source] = self._clock.monotonic() + _REOPEN_S
        else:
            del self._shut[source]
            self._consumer.resume(source)

    async def _reap(self) -> None:
        for source, stream in list(self._streams.items()):
            try:
                stream.reap()
            except Fenced as error:
                # Whoever fenced us owns the partition. Our group membership is about to tell us the same; only
                # if it does not, the fence was no takeover, and the partition would be nobody's.
                await self._drop(source, error, self._fenced_wait_s)
            except LaneLost as error:
                await self._drop(source, error, _REOPEN_S)

    async def _drop(self, source: TopicPartition, error: Exception, wait_s: float) -> None:
        _LOG.warning("%s-%d: lane dropped: %s", *source, error)
        stream = self._streams.pop(source)
        self._consumer.pause(source)
        self._shut[source] = self._clock.monotonic() + wait_s
        self._say_ready()
        await stream.close()

    async def _give_up(self, sources: Iterable[TopicPartition], *, commit: bool) -> None:
        streams = [self._streams.pop(source) for source in sources]
        ends = await asyncio.gather(*(self._end(s, commit=commit) for s in streams), return_exceptions=True)
        metrics.INGEST_LANES.set(len(self._streams))
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _end(self, stream: Stream, *, commit: bool) -> None:
        try:
            if commit and (parked := await stream.finish()):
                self._parked[stream.source] = parked
        except (Fenced, LaneLost) as error:
            _LOG.warning("%s-%d: given up with a batch uncommitted: %s", *stream.source, error)
        finally:
            await stream.close()

    # --- turns --------------------------------------------------------------------------------------------

    async def _poll(self, stopping: asyncio.Task[bool]) -> Records:
        """Step 5. A partition that has records which are not folded yet is left alone meanwhile.

        aiokafka waits for the end of a rebalance whatever the timeout, so `stop` interrupts it.
        """
        streams = self._streams.values()
        blocked = [s for s in streams if s.full and s.committing is not None]
        commits = [s.committing for s in blocked if s.committing is not None]
        until = self._until()
        ready = any(s.held and s not in blocked and self._may_go_on(until)(s.fold.watermark) for s in streams)
        positions = {s.source: s.position for s in streams if not s.held and s not in blocked}
        if self._streams and not positions:
            if not ready:
                await asyncio.wait(
                    [*commits, stopping], timeout=_POLL_MS / 1_000, return_when=asyncio.FIRST_COMPLETED
                )
            return {}
        held = sum(len(s.held) for s in streams)
        polling = asyncio.create_task(
            self._poller.poll(
                positions,
                timeout_ms=0 if ready else _COMMIT_MS if commits else _POLL_MS,
                max_records=max(_POLL_RECORDS - held, _LEAST_RECORDS),
            )
        )
        await asyncio.wait({polling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not polling.done():
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)
            return {}
        return polling.result()

    def _waiting(self, stream: Stream) -> int | None:
        """Records on the broker that have not been folded; None before the broker has said where its log ends."""
        end = self._consumer.highwater(stream.source)
        return None if end is None else max(end - stream.position, len(stream.held))

    def _until(self) -> float:
        return pace.limit(s.standing(self._waiting(s)) for s in self._streams.values())

    def _may_go_on(self, until: float) -> Callable[[float], bool]:
        now = self._clock.now().timestamp()
        return lambda watermark: pace.may_fold(watermark, until, now)

    async def _take(self, records: Records) -> None:
        """Steps 4 and 6, and the beginning of 7. What came for a partition without a lane is read again later."""
        for source, stream in self._streams.items():
            stream.held.extend(records.get(source, ()))
        may_go_on = self._may_go_on(self._until())
        now = self._clock.now().timestamp()
        for source, stream in self._streams.items():
            await stream.take(may_go_on)
            stream.look(not stream.held and source not in records and await self._read_up(source))
            waiting = self._waiting(stream) or 0
            stream.commit_if_due(waiting)
            partition = str(source.partition)
            metrics.INGEST_LAG.labels(partition).set(waiting)
            if stream.fold.watermark > 0:
                metrics.INGEST_WATERMARK_AGE.labels(partition).set(now - stream.fold.watermark)

    async def _read_up(self, source: TopicPartition) -> bool:
        """Whether there is nothing to read: a partition that only waits to be fetched is not idle."""
        end = self._consumer.last_stable_offset(source)
        return end is not None and await self._consumer.position(source) >= end
