"""The trail of the configuration as tidings: what was applied, and when announced launches begin and end. Pure.

All of it is found from the trail's records alone, in the order in which they lie there, and not from when they were
read: each replica, and each restart, comes to the same tidings with the same times. So it is enough to remember up
to when somebody was told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.control import ConfigChange, Control, Launch
from schemas.reasons import Refused
from service.kafka.config_past import headers_of
from service.notify.tidings import Edit, Phase, Tidings
from service.rules.config import ConfigBook
from service.rules.config_signature import Signatures

TOGETHER: Final = timedelta(seconds=5)
"""Changes of one person for one reason that are no further apart are one: a script that applies file by file."""
LONGEST: Final = timedelta(seconds=60)
"""Longest time that such changes add up to one."""
MAX_KEPT: Final = 200
"""Changes, and launches that are over, that can still be told: what is older is left out of what sums up."""
_OPEN: Final = 8
"""Changes at a time that records may still belong to: those of one transaction may have others' in between."""
_TICK: Final = timedelta(milliseconds=1)
_EVER: Final = datetime.max.replace(tzinfo=UTC)
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Span:
    """A launch record from when it was written to when it was replaced or deleted."""

    launch: Launch
    since: datetime
    until: datetime = _EVER
    goes_on: bool = False
    """It had begun under the record before it."""
    handed_on: bool = False
    """It goes on under the record after it."""

    @property
    def begins(self) -> datetime:
        return max(self.launch.starts_at, self.launch.effective_at or _NEVER, self.since)

    @property
    def ends(self) -> datetime:
        return min(self.launch.ends_at, self.launch.expires_at or _EVER)

    def runs(self, at: datetime) -> bool:
        return self.begins <= at < self.ends

    def phases(self) -> Iterator[Phase]:
        if self.begins >= min(self.ends, self.until):
            return  # withdrawn before it began, or over when it was announced
        if not self.goes_on:
            yield Phase(self.begins, "begins", self.launch)
        if self.until < self.ends:
            if not self.handed_on:
                yield Phase(self.until, "cancelled", self.launch)
        else:
            yield Phase(self.ends, "over", self.launch)


class Trail:
    """What the records of `config-history` amount to, from its beginning on."""

    def __init__(self, signatures: Signatures) -> None:
        """`signatures`: those of the config topic, new: what they refuse was never applied."""
        self.forgotten = _NEVER
        """When the last change happened that can be told no more."""
        self._signatures = signatures
        self._book = ConfigBook.empty()
        self._known: set[tuple[int, datetime]] = set()
        self._latest = _NEVER
        self._written: dict[str, tuple[datetime, int]] = {}
        self._edits: deque[Edit] = deque()
        self._launches: dict[str, _Span] = {}
        self._past: deque[_Span] = deque(maxlen=MAX_KEPT)
        self._tidings: list[Tidings] | None = None

    def hear(self, entry: ConfigChange) -> None:
        """Take in the next record. One that is known, by offset and time, changes nothing."""
        if (identity := (entry.offset, entry.written_at)) in self._known:
            return
        self._known.add(identity)
        place = (entry.written_at, entry.offset)
        overtaken = place < self._written.get(entry.key, place)
        was, before = self._book, self._book.records.get(entry.key)
        try:
            if entry.size > len(entry.value or b""):
                return  # the trail has only its beginning: it was too large for any worker to take
            book = was.apply(entry.key, entry.value, entry.offset)
            self._signatures.check(entry.key, entry.value, headers_of(entry))
        except Refused:
            return  # it changed nothing, and whoever refused it has said so
        after = book.records.get(entry.key)
        if before is None and after is None:
            return
        # What others wrote is recorded by workers that saw it, so it may lie behind what was written after it.
        at = self._latest = max(entry.written_at, self._latest + _TICK)
        if overtaken:
            self._add(Edit(at, entry, None, after, was, was, overtaken=True))
            return
        self._written[entry.key] = place
        self._book = book
        self._follow(entry.key, after, at)
        self._add(Edit(at, entry, before, after, was, book))

    def tidings(self) -> Sequence[Tidings]:
        """All that can still be told, with what launches will come to if nothing changes; by time."""
        if self._tidings is None:
            self._tidings = self._told()
        return self._tidings

    def _add(self, edit: Edit) -> None:
        self._tidings = None
        self._edits.append(edit)
        if len(self._edits) > MAX_KEPT:
            self.forgotten = self._edits.popleft().at

    def _follow(self, key: str, after: Control | None, at: datetime) -> None:
        """Account for a launch that is announced, changed or withdrawn."""
        old = self._launches.pop(key, None)
        new = _Span(after, at) if isinstance(after, Launch) else None
        if old is not None:
            old.until = at
            if new is not None and new.launch.workflow == old.launch.workflow:
                old.handed_on = new.goes_on = old.runs(at) and new.runs(at)
            self._past.append(old)
        if new is not None:
            self._launches[key] = new

    def _told(self) -> list[Tidings]:
        groups: list[list[Edit]] = []
        for edit in self._edits:
            near = (group for group in reversed(groups[-_OPEN:]) if _belongs(edit, group))
            if (group := next(near, None)) is None:
                groups.append([edit])
            else:
                group.append(edit)
        phases: dict[datetime, list[Phase]] = {}
        for span in (*self._past, *self._launches.values()):
            for phase in span.phases():
                phases.setdefault(phase.at, []).append(phase)
        found = []
        for group in groups:
            # A launch that begins or ends by being written is told of with that.
            own = [phase for edit in group for phase in phases.pop(edit.at, ())]
            found.append(Tidings(group[-1].at, tuple(group), tuple(own)))
        found += [Tidings(at, phases=tuple(own)) for at, own in phases.items()]
        return sorted(found, key=lambda one: one.until)


def _belongs(edit: Edit, group: Sequence[Edit]) -> bool:
    ours, last = edit.entry, group[-1].entry
    if ours.change == last.change:
        return True
    return (
        (ours.command, ours.author, ours.reason) == (last.command, last.author, last.reason)
        and edit.at - group[-1].at <= TOGETHER
        and edit.at - group[0].at <= LONGEST
    )


def sum_up(missed: Sequence[Tidings], since: datetime, *, cut: bool) -> Tidings:
    """Several tidings, in order, as one."""
    return Tidings(
        missed[-1].until,
        tuple(edit for one in missed for edit in one.edits),
        tuple(phase for one in missed for phase in one.phases),
        changes=len(missed),
        since=since,
        cut=cut,
    )
