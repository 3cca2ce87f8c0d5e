"""What is for a topic that the broker does not have: set aside, so that nothing behind it has to wait."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

_MAX_BYTES: Final = 4_194_304
_AGAIN_S: Final = 60.0

_LOG = logging.getLogger(__name__)


class Aside:
    """Records of topics that were found missing, in memory. They go back to the end of the spool when the topic is
    there, and when the process ends in order.

    Cost events are never set aside: without their topic there is nothing that could overtake them.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """`now`: seconds of a clock that never goes back."""
        self._now = now
        self._missing: dict[bytes, float] = {}  # when to look again
        self._there: set[bytes] = set()
        self._payloads: dict[bytes, list[bytes]] = {}
        self._bytes = 0

    @property
    def empty(self) -> bool:
        return not self._payloads

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def unsure(self, topic: bytes) -> bool:
        """Whether to ask the broker for a topic: it is not known to be there, nor was it missing just now."""
        return topic not in self._there and self._missing.get(topic, self._now()) <= self._now()

    def is_missing(self, topic: bytes) -> bool:
        return topic in self._missing

    def due(self) -> list[bytes]:
        """Missing topics that are to be asked for again."""
        return [topic for topic, at in self._missing.items() if at <= self._now()]

    def wait_s(self) -> float | None:
        """Until one is; None if there are none."""
        return max(min(self._missing.values()) - self._now(), 0.0) if self._missing else None

    def heard(self, topic: bytes, *, there: bool) -> list[bytes]:
        """What the broker says of a topic. Returns the records that had to wait for it, in their order."""
        if not there:
            if topic not in self._missing:
                _LOG.warning("there is no topic %s: its records wait in memory", topic.decode())
            self._missing[topic] = self._now() + _AGAIN_S
            return []
        self._missing.pop(topic, None)
        self._there.add(topic)
        return self._take(topic)

    def put(self, topic: bytes, payload: bytes) -> bool:
        """Keep a record of a missing topic. False: there is no room."""
        if self._bytes + len(payload) > _MAX_BYTES:
            return False
        self._payloads.setdefault(topic, []).append(payload)
        self._bytes += len(payload)
        return True

    def give_back(self) -> list[bytes]:
        """All of it."""
        return [payload for topic in list(self._payloads) for payload in self._take(topic)]

    def _take(self, topic: bytes) -> list[bytes]:
        payloads = self._payloads.pop(topic, [])
        self._bytes -= sum(map(len, payloads))
        return payloads
