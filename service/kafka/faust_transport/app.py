"""The Faust app of the keyed stage: made with settings that hold, run inside a program of ours."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import faust

from .fuse import Fuse, Reason
from .security import credentials
from .transport import Transport

log = logging.getLogger(__name__)

#: How long members may take to give up partitions and to join again; above `HAND_OVER_TIMEOUT_S`.
REBALANCE_TIMEOUT_S = 60.0
#: A member that has fetched nothing for so long has hung, and is thrown out.
MAX_POLL_INTERVAL_S = 300.0
_BATCH_BYTES: Final = 262_144
REQUEST_TIMEOUT_S = 30.0
SHUTDOWN_TIMEOUT_S = 45.0


class AppFailedError(Exception):
    """The Faust app stopped by itself; the reason is its cause or its text."""


class GuardedApp(faust.App):
    """A Faust app whose failure reaches the program that runs it. Made by `build_app`."""

    def __init__(
        self, app_id: str, *, commit_lag_s: float, on_fatal: Callable[[Reason], None], **settings: Any
    ) -> None:
        self.commit_lag_s = commit_lag_s
        self.fuse = Fuse(self._fail)
        self._on_fatal = on_fatal
        super().__init__(app_id, **settings)

    def _fail(self, reason: Reason) -> None:
        # Marks every service as crashed: agents take no further event, and nothing is committed any more.
        super()._crash(reason if isinstance(reason, BaseException) else AppFailedError(reason))
        self._on_fatal(reason)

    def _crash(self, reason: BaseException) -> None:
        # Reached from any service of the app; faust.Worker would notice, a program of ours would not.
        if not self.fuse.blown:
            self.fuse.blow(reason)

    def _create_directories(self) -> None:
        """Nothing: tables are kept in memory."""

    @property
    def ready(self) -> bool:
        """Whether tables are recovered and events are being processed. False during a rebalance."""
        return bool(self.tables.actives_ready and not self.rebalancing and not self.should_stop)

    @property
    def left_to_recover(self) -> int:
        """Records of changelogs that tables still miss. It sinks while they recover."""
        return int(self.tables.recovery.active_remaining_total())

    def assigned(self, topic: str) -> frozenset[int]:
        """The partitions of `topic` this worker has now; empty before the first assignment."""
        return frozenset(tp.partition for tp in self._assignment or () if tp.topic == topic)

    async def run_until(self, stop: asyncio.Event) -> None:
        """Start, process until `stop` is set, then commit and leave the group.

        Returns after an orderly stop. Raises AppFailedError when the app stopped by itself, and whatever kept
        it from starting. Touches neither signals nor logging. Await it in the loop that made the app.
        """
        starting = asyncio.create_task(self.start(), name="faust-start")
        told = asyncio.create_task(stop.wait())
        failed = asyncio.create_task(self.fuse.wait())
        try:
            # `start` returns once tables are recovered, which may take as long as a dead member's session.
            await asyncio.wait({starting, told, failed}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done() and starting.exception() is None:
                await asyncio.wait({told, failed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._shut_down(starting, told, failed)
        if starting.done() and not starting.cancelled() and (exc := starting.exception()) is not None:
            raise exc
        if self.fuse.blown:
            cause = self.fuse.reason if isinstance(self.fuse.reason, BaseException) else None
            raise AppFailedError(str(self.fuse.reason)) from cause

    async def _shut_down(self, *tasks: asyncio.Task[Any]) -> None:
        try:
            async with asyncio.timeout(SHUTDOWN_TIMEOUT_S):
                await self.stop()
        except TimeoutError:
            self.fuse.blow(f"the app did not stop in {SHUTDOWN_TIMEOUT_S:g} s")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._consumer is not None:
                self._consumer.release()


def build_app(
    *,
    app_id: str,
    bootstrap: str,
    security: Mapping[str, Any] | None,
    commit_lag_s: float = 2.0,
    on_fatal: Callable[[Reason], None],
    session_timeout_s: float = 15.0,
) -> GuardedApp:
    """A Faust app on `bootstrap` ("host:port[,host:port]"), in group `app_id`.

    `security`: see `security.credentials`. An offset is committed `commit_lag_s` after its acknowledgement at
    the earliest, and at once when partitions are given up. `on_fatal` is called once, in the app's loop, when
    the app can go no further; nothing is committed after that. A worker that sends no heartbeat for
    `session_timeout_s` is dead, and its partitions go to others; so long waits whoever follows one that died.
    Creates no topic: every one, changelogs included, must exist.
    """
    app = GuardedApp(
        app_id,
        commit_lag_s=commit_lag_s,
        on_fatal=on_fatal,
        broker=";".join(f"kafka://{server.strip()}" for server in bootstrap.split(",")),
        broker_credentials=credentials(security),
        broker_client_id=app_id,
        processing_guarantee="at_least_once",
        store="memory://",
        # Bytes stay bytes; Faust would read JSON even where a topic says `value_type=bytes`.
        key_serializer="raw",
        value_serializer="raw",
        # Topics are made by `tidegate topics create`, with the partitions and the cleanup they need.
        topic_allow_declare=False,
        topic_disable_leader=True,
        reply_create_topic=False,
        table_standby_replicas=0,
        web_enabled=False,
        # The event in hand is finished before partitions are given up: see Consumer.wait_empty.
        stream_wait_empty=True,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=session_timeout_s / 5,
        broker_rebalance_timeout=REBALANCE_TIMEOUT_S,
        broker_max_poll_interval=MAX_POLL_INTERVAL_S,
        broker_request_timeout=REQUEST_TIMEOUT_S,
        broker_commit_interval=min(1.0, commit_lag_s / 2) or 1.0,
        # By time only: committing waits for acknowledgements, and the fetching loop must not.
        broker_commit_every=sys.maxsize,
        producer_acks=-1,
        producer_compression_type="zstd",
        producer_linger=0.005,
        # One batch a partition is under way at a time, and Faust's usual 16 kB are three states: a round trip for
        # each three kept detect waiting with a core to spare.
        producer_max_batch_size=_BATCH_BYTES,
        producer_request_timeout=REQUEST_TIMEOUT_S,
        producer_threaded=False,
    )
    app.finalize()
    app.transport = app.producer_transport = Transport(app.conf.broker_consumer, app)
    return app
