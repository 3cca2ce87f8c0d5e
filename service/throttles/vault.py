"""Where the desk is kept between processes: a compacted topic, written in the transaction that tells of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

import msgspec

from schemas.alerts import Alert
from schemas.decode import decode
from schemas.reasons import Refused
from schemas.topics import THROTTLE_STATE
from service.errors import Stalled
from service.kafka.lane import Send
from service.kafka.reader import latest
from service.rules import throttling
from service.rules.throttling import UnreadableThrottling
from service.settings import KafkaSettings
from service.throttles.desk import Desk, Watch
from service.throttles.incidents import Incidents

VERSION: Final = 1
_THROTTLING: Final = b"throttling"
_WATCH: Final = b"watch"
_INCIDENT: Final = b"incident/"
_LOG = logging.getLogger(__name__)


class Kept(msgspec.Struct, array_like=True):
    """The watch, and per topic the offset of the next record."""

    watch: Watch
    positions: dict[str, int]


async def opened(kafka: KafkaSettings, ack_wait_s: float) -> tuple[Desk, dict[str, int]]:
    """The desk that was kept last, and where to read on. To be asked for after the lane is open.

    Raises
    ------
    Stalled
        What was kept is of a later release, or damaged: to begin anew would leave throttles that nobody ends.
    BrokerUnavailable, TopicsMissing
    """
    found = await latest(kafka, kafka.topic(THROTTLE_STATE))
    try:
        state = throttling.load(found[_THROTTLING]) if _THROTTLING in found else None
        kept = _load(found[_WATCH]) if _WATCH in found else Kept(Watch(), {})
        incidents = [decode(Alert, value) for key, value in found.items() if key.startswith(_INCIDENT)]
    except (UnreadableThrottling, ValueError, Refused) as error:
        raise Stalled(f"the topic {kafka.topic(THROTTLE_STATE)} cannot be read: {error}") from None
    _LOG.info("%d incidents were kept", len(incidents))
    return Desk(state, kept.watch, Incidents(incidents), ack_wait_s=ack_wait_s), kept.positions


def kept(kafka: KafkaSettings, desk: Desk, positions: dict[str, int]) -> Iterator[Send]:
    """The records that keep what has changed."""
    topic = kafka.topic(THROTTLE_STATE)
    for fingerprint, alert in desk.incidents.changes():
        yield Send(topic, None if alert is None else alert.to_json(), _INCIDENT + fingerprint.encode())
    yield Send(topic, throttling.dump(desk.throttling), _THROTTLING)
    yield Send(topic, bytes((VERSION,)) + msgspec.msgpack.encode(Kept(desk.watch, positions)), _WATCH)


def _load(data: bytes) -> Kept:
    if not data or data[0] != VERSION:
        raise ValueError(f"version {data[0] if data else 'none'}, this release reads {VERSION}")
    try:
        return msgspec.msgpack.decode(memoryview(data)[1:], type=Kept)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None
