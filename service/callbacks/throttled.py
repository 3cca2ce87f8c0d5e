"""What is throttled, or waits for a yes, by incident: followed on the topic of throttle events."""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import aclosing
from datetime import timedelta
from typing import Final

from schemas.decode import decode
from schemas.reasons import Refused
from schemas.throttles import ThrottleEvent
from schemas.topics import THROTTLE_EVENTS
from service.errors import BrokerUnavailable
from service.kafka import KafkaError
from service.kafka.reader import read
from service.runtime.clock import Clock
from service.settings import KafkaSettings

BACK: Final = timedelta(days=2)
"""How far back it is read at the start: longer than throttles last."""
MAX_INCIDENTS: Final = 10_000
_OVER: Final = frozenset({"withdrawn", "barred", "released", "rested", "ended"})
_RETRY_S: Final = 1.0

_LOG = logging.getLogger(__name__)


class Throttled:
    """The fold: proposals by the fingerprint of their incident. Reading an event twice changes nothing."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, dict[str, None]] = OrderedDict()

    def apply(self, event: ThrottleEvent) -> None:
        """Events of one scope come in order."""
        of_incident = self._open.setdefault(event.alert_fingerprint, {})
        if event.change in _OVER:
            of_incident.pop(event.proposal, None)
        else:
            of_incident[event.proposal] = None
        if not of_incident:
            del self._open[event.alert_fingerprint]
        elif len(self._open) > MAX_INCIDENTS:
            self._open.popitem(last=False)

    def proposals(self, fingerprint: str) -> list[str]:
        """What an approval names, of everything that is done or proposed about an incident."""
        return list(self._open.get(fingerprint, {}))


async def follow(kafka: KafkaSettings, throttled: Throttled, clock: Clock) -> None:
    """Fold the topic for ever. While no broker answers, what is known stays."""
    while True:
        try:
            await _read(kafka, throttled, clock)
        except (KafkaError, BrokerUnavailable) as error:
            _LOG.warning("throttle events: %s; read again", error)
            await clock.sleep(_RETRY_S)


async def _read(kafka: KafkaSettings, throttled: Throttled, clock: Clock) -> None:
    since = clock.now() - BACK
    async with aclosing(read(kafka, kafka.topic(THROTTLE_EVENTS), follow=True, since=since)) as records:
        async for record in records:
            try:
                throttled.apply(decode(ThrottleEvent, record.value))
            except Refused as refused:
                _LOG.warning("throttle event at offset %d left out: %s", record.offset, refused)
