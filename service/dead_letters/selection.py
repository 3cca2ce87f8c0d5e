"""Which dead letters are meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from pydantic_core import PydanticCustomError

from schemas.base import parse_timestamp
from schemas.dead_letters import DeadLetter
from schemas.reasons import Reason
from service.errors import InvalidInput

_AGO: Final = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_ORIGIN: Final = re.compile(
    r"(?P<topic>[a-zA-Z0-9._-]+)/(?P<partition>\d{1,10})/(?P<offset>\d{1,19})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Dead letters that fit everything that is given; what is empty or None takes any.

    Attributes
    ----------
    topics : frozenset of str
        Names on the broker of the topics that the refused records came from.
    since, until : datetime or None
        Bounds of the refused record's own time; `until` is not included.
    gateway : str or None
        What the refused value says in its field `gateway`, if it is JSON.
    origins : frozenset of str
        As `topic/partition/offset`.
    """

    reasons: frozenset[Reason] = frozenset()
    topics: frozenset[str] = frozenset()
    partitions: frozenset[int] = frozenset()
    since: datetime | None = None
    until: datetime | None = None
    gateway: str | None = None
    origins: frozenset[str] = frozenset()

    @property
    def everything(self) -> bool:
        """Nothing is given."""
        return self == Selection()

    def takes(self, letter: DeadLetter) -> bool:
        """Whether a letter is meant."""
        origin = letter.origin
        return (
            (not self.origins or str(origin) in self.origins)
            and (not self.reasons or letter.reason in self.reasons)
            and (not self.topics or origin.topic in self.topics)
            and (not self.partitions or origin.partition in self.partitions)
            and (self.since is None or letter.timestamp >= self.since)
            and (self.until is None or letter.timestamp < self.until)
            and (self.gateway is None or gateway_of(letter.value) == self.gateway)
        )


def gateway_of(value: bytes | None) -> str | None:
    """The gateway that a refused value names, as far as it can be read at all."""
    try:
        document: Any = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    named = document.get("gateway") if isinstance(document, dict) else None
    return named if isinstance(named, str) else None


def parse_instant(text: str, now: datetime) -> datetime:
    """RFC 3339, or how long ago: `90s`, `15m`, `3h`, `2d`. Raises InvalidInput."""
    if ago := _AGO.fullmatch(text):
        return now - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
    try:
        return parse_timestamp(text)
    except PydanticCustomError:
        raise InvalidInput(
            f"{text!r} is no time: give RFC 3339 with an offset, or how long ago (90s, 15m, 3h, 2d)"
        ) from None


def parse_origin(text: str, prefix: str) -> str:
    """`topic/partition/offset` with the topic's name on the broker, also where its prefix was left out.

    Raises InvalidInput.
    """
    found = _ORIGIN.fullmatch(text)
    if found is None:
        raise InvalidInput(
            f"{text!r} is no origin: give TOPIC/PARTITION/OFFSET as `dead-letters list` shows it"
        )
    return f"{physical(found['topic'], prefix)}/{int(found['partition'])}/{int(found['offset'])}"


def physical(topic: str, prefix: str) -> str:
    """A topic's name on the broker, given that or the contract's."""
    return topic if topic.startswith(prefix) else prefix + topic
