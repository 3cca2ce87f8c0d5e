"""One process of a group leads, the others stand by: for roles whose state is one and not sharded.

 1. The group has one partition to give: whoever gets it leads. It is had, and not read.
 2. Open the lane of that partition: nobody else can write from now on.
 3. Lead, until the partition goes, or the end is asked for.

When a transaction fails all that was not kept is thrown away, and 2. comes again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from prometheus_client import Counter

from service.errors import Fenced
from service.kafka.lane import Lane, LaneLost
from service.runtime.clock import Clock
from service.runtime.health import Health
from service.settings import KafkaSettings

_LOG = logging.getLogger(__name__)
_STAND_BY_MS: Final = 200
_MAX_AGE_S: Final = 30.0
_AGAIN_S: Final = 1.0


class Leadership(ConsumerRebalanceListener):
    """Leads while the group says so.

    Parameters
    ----------
    group : AIOKafkaConsumer
        Started, not subscribed.
    source : str
        Physical name of the topic whose partition 0 is given.
    role : str
        What health calls it.
    transactions : Counter
        By `result`: fenced, aborted.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        group: AIOKafkaConsumer,
        group_id: str,
        source: str,
        *,
        role: str,
        clock: Clock,
        health: Health,
        transactions: Counter,
    ) -> None:
        self._kafka = kafka
        self._group = group
        self._group_id = group_id
        self._source = TopicPartition(source, 0)
        self._role = role
        self._clock = clock
        self._health = health
        self._transactions = transactions
        self._ours = False
        self._stop = asyncio.Event()

    async def run(self, lead: Callable[[Lane], Awaitable[None]], stop: asyncio.Event) -> None:
        """Call `lead` with an open lane whenever it is ours, until `stop`. It goes on while `goes_on` says so.

        Raises
        ------
        Stalled, KafkaError, BrokerUnavailable
        """
        self._stop = stop
        self._health.expect(self._role)
        self._health.set_ready("group", False, "waiting for the group")
        self._group.subscribe([self._source.topic], listener=self)
        while not stop.is_set():
            if not self._ours:
                await self._group.getmany(timeout_ms=_STAND_BY_MS)
                self._health.beat(self._role)
                continue
            lane = Lane(self._kafka, self._group_id, self._source, max_age_s=_MAX_AGE_S)
            try:
                await lane.open(self._group, lambda _: 0)
                await lead(lane)
            except Fenced as fenced:
                _LOG.warning("%s", fenced)
                self._transactions.labels("fenced").inc()
                # The group finds out, too: until then this one must not take it back.
                await self._clock.sleep(self._kafka.session_timeout_s)
            except LaneLost as lost:
                _LOG.warning("begin again from what was kept: %s", lost)
                self._transactions.labels("aborted").inc()
                await self._clock.sleep(_AGAIN_S)
            finally:
                await lane.close()
        self._health.release(self._role)

    async def goes_on(self) -> bool:
        """Whether it is still ours, and nobody asked for the end. To be asked at least every few seconds."""
        await self._group.getmany(timeout_ms=0)  # the group must see that this one is alive
        self._health.beat(self._role)
        return self._ours and not self._stop.is_set()

    @property
    def ours(self) -> bool:
        return self._ours

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self._ours = False

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._ours = self._source in assigned
        if self._ours:
            self._group.pause(self._source)  # to have, and not to read
        # Without it, too: who stands by is as ready as it can be.
        self._health.set_ready("group", True)
