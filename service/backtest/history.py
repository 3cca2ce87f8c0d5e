"""Where history comes from. Every kind of it is taken through several configurations in one pass.

Another kind, such as columns in an archive, is one more class with `through` and `describe`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from schemas.decode import parse_object
from schemas.reasons import Refused
from schemas.topics import COST_EVENTS, ROLLUPS
from service.backtest.course import Folded, Followed, Judged, same_fold
from service.backtest.lanes import Lanes
from service.backtest.seating import Seating
from service.backtest.side import Side
from service.commands.lines import UNREADABLE, Source
from service.errors import InvalidInput
from service.rules.config import ConfigBook
from service.settings import IngestSettings, KafkaSettings

if TYPE_CHECKING:
    from service.kafka.past import Past

_BREATH: Final = 100
"""Records of one partition that are folded before another has its turn: little time, where calls are few."""


class History(Protocol):
    """Something that can be judged again."""

    def through(self, sides: Sequence[Side], seating: Seating) -> Judged:
        """All of it through these configurations. Raises TidegateError."""
        ...

    def describe(self) -> str: ...


@dataclass(frozen=True)
class Files:
    """Cost events as JSON lines, plain or compressed, one file after the other in order of time."""

    names: Sequence[str]
    ingest: IngestSettings = field(default_factory=IngestSettings)

    def describe(self) -> str:
        return ", ".join(self.names)

    def through(self, sides: Sequence[Side], seating: Seating) -> Judged:
        """Raises InvalidInput: a file is missing, cut off or damaged."""
        groups = _alike(sides)
        with seating.seat([members for _, members in groups]) as seated:
            courses = [
                Folded(book, members, self.ingest) for (book, _), members in zip(groups, seated, strict=True)
            ]
            for name in self.names:
                self._read(name, courses)
            for course in courses:
                course.drain()
            return _judged([course.judged() for course in courses], sides)

    def _read(self, name: str, courses: Sequence[Folded]) -> None:
        source = Source(name)
        try:
            for block in source.blocks():
                lines = [line.rstrip(b"\r") for line in block]
                for course in courses:
                    for line in lines:
                        course.feed(line)
        except UNREADABLE as error:
            after = courses[0].tally.lines
            raise InvalidInput(f"{source.name}: after line {after}: {error}") from None
        finally:
            source.close()


@dataclass(frozen=True)
class Events:
    """The topic `cost-events`, from a time on to its end as of now, by the times of its records."""

    kafka: KafkaSettings
    since: datetime | None
    ingest: IngestSettings = field(default_factory=IngestSettings)

    def describe(self) -> str:
        return self.kafka.topic(COST_EVENTS)

    def through(self, sides: Sequence[Side], seating: Seating) -> Judged:
        """Raises BrokerUnavailable."""
        return asyncio.run(self._through(sides, seating))

    async def _through(self, sides: Sequence[Side], seating: Seating) -> Judged:
        from service.kafka.past import Past

        groups = _alike(sides)
        async with Past.of(self.kafka, self.kafka.topic(COST_EVENTS), self.since) as past:
            with seating.seat([members for _, members in groups]) as seated:
                lanes = [
                    Lanes(book, members, self.ingest, past.partitions)
                    for (book, _), members in zip(groups, seated, strict=True)
                ]
                await _through_lanes(past, lanes)
                return _judged([lane.judged() for lane in lanes], sides)


async def _through_lanes(past: Past, lanes: Sequence[Lanes]) -> None:
    ended: set[int] = set()
    while past.partitions:
        more = await past.fill()
        for partition in past.partitions:
            if partition not in past.unread and partition not in ended and not past.held[partition]:
                ended.add(partition)
                for lane in lanes:
                    lane.end(partition)
        if not more:
            break
        partition = lanes[0].behind([p for p, records in past.held.items() if records])
        waiting = past.held[partition]
        records = [waiting.popleft() for _ in range(min(_BREATH, len(waiting)))]
        for lane in lanes:
            lane.take(partition, records)


@dataclass(frozen=True)
class Rollups:
    """The topic `rollups`: what ingest made of the events when they came, as detect judged it.

    The same as live to the second, and several times as fast; but blind to another price and another watch.
    """

    kafka: KafkaSettings
    since: datetime | None

    def describe(self) -> str:
        return self.kafka.topic(ROLLUPS)

    def through(self, sides: Sequence[Side], seating: Seating) -> Judged:
        """Raises BrokerUnavailable."""
        return asyncio.run(self._through(sides, seating))

    async def _through(self, sides: Sequence[Side], seating: Seating) -> Judged:
        from service.detect.clerk import read_rollup
        from service.kafka import past

        refused = 0
        with seating.seat([sides]) as (seated,):
            course = Followed(seated)
            async with aclosing(past.in_time(self.kafka, self.kafka.topic(ROLLUPS), self.since)) as batches:
                async for batch in batches:
                    for record in batch:
                        try:
                            told = read_rollup(record.value)
                        except Refused:
                            refused += not _is_outcome(record.value)
                            continue
                        course.take(told, record.partition, record.offset, record.timestamp / 1_000)
            judged = course.judged()
        judged.seen.refused = refused
        return judged


def _is_outcome(value: bytes | None) -> bool:
    try:
        return parse_object(value).get("type") == "outcome"
    except Refused:
        return False


def _alike(sides: Sequence[Side]) -> list[tuple[ConfigBook, list[Side]]]:
    """Sides that make the same rollups of the same events, so that these are folded once for them."""
    groups: list[tuple[ConfigBook, list[Side]]] = []
    for side in sides:
        for book, members in groups:
            if same_fold(book, side.book):
                members.append(side)
                break
        else:
            groups.append((side.book, [side]))
    return groups


def _judged(found: Sequence[Judged], sides: Sequence[Side]) -> Judged:
    """In the order in which the sides were given. Each has seen all of the history."""
    return Judged(found[0].seen, [side.verdict() for side in sides])
