"""What is to be done about each chosen dead letter, so that no event is ever counted twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from schemas.dead_letters import DeadLetter, DeadLetterReplay, Origin
from schemas.reasons import Reason, Refused
from service.dead_letters.mend import Check, Edit, Mended, edited
from service.dead_letters.reading import REPLAYABLE, as_native

REPLAY_OF: Final = "tidegate-replay-of"
"""Header of a record that was published again: the origin of its dead letter."""


class Verdict(StrEnum):
    """What becomes of one chosen dead letter."""

    PUBLISH = "publish"
    COUNTED = "counted"
    """A record of the same id is accounted for already: resent by the gateway, or replayed from another letter."""
    DONE = "done"
    """Settled by an earlier replay with the same content."""
    CONFLICT = "conflict"
    """Settled by an earlier replay with other content."""
    REFUSED = "refused"
    """Mended or not, the contract does not take it."""
    FOREIGN = "foreign"
    """Of a topic whose records are not published again."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and what it rests on.

    Attributes
    ----------
    why : str
        A few words for people.
    publish : tuple of bytes
        Values of the records that are published. Not those of a foreign record that are counted already.
    """

    letter: DeadLetter
    verdict: Verdict
    why: str = ""
    mended: Mended | None = None
    publish: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Mending:
    """How values are mended: by replacements that a person wrote, then by edits that are the same for all.

    Attributes
    ----------
    prefix : str
        Of topics on the broker.
    replacements : dict of str to bytes
        By origin; letters without one keep their value.
    """

    prefix: str
    check: Check
    edits: Sequence[Edit] = ()
    replacements: Mapping[str, bytes] = field(default_factory=dict)

    def topic(self, origin: Origin) -> str | None:
        """The contract's name of the topic a letter came from; None where nothing can be replayed."""
        bare = origin.topic.removeprefix(self.prefix) if origin.topic.startswith(self.prefix) else ""
        return bare if bare in REPLAYABLE else None

    def mend(self, letter: DeadLetter) -> Mended | Refused | None:
        """What would be published; why the contract does not take it; or None for a foreign letter."""
        topic = self.topic(letter.origin)
        if topic is None:
            return None
        value = self.replacements.get(str(letter.origin), letter.value)
        if value is None:
            lost = letter.reason is not Reason.EMPTY
            return Refused(
                Reason.EMPTY, "its value is only at the origin" if lost else "there is no value to mend"
            )
        try:
            headers = [(header.key, header.value) for header in letter.headers]
            return self.check.read(topic, edited(value, self.edits), headers)
        except Refused as refused:
            return refused


class _Settled(NamedTuple):
    """What a mark says."""

    letter: str
    content: str
    outcome: str
    record_id: str


class Settler:
    """Decides about dead letters one after the other; a record id is published once at most.

    Parameters
    ----------
    counted : dict of (topic, id) to str
        Ids that are accounted for although no replay published them, and where; topics by the contract's name.
    again : bool
        Publish also what an earlier replay settled with other content. It is counted besides the first.
    """

    def __init__(
        self, mending: Mending, counted: Mapping[tuple[str, str], str], *, again: bool = False
    ) -> None:
        self._mending = mending
        self._again = again
        self._settled: dict[str, _Settled] = {}
        self._known: dict[tuple[str, str], str] = dict(counted)

    def learn(self, marks: Iterable[DeadLetterReplay]) -> None:
        """What earlier replays did, in their order; only what concerns the letters to be decided about matters."""
        for mark in marks:
            self._settled[str(mark.origin)] = _Settled(
                mark.letter, mark.content, mark.outcome, mark.record_id
            )
            if (topic := self._mending.topic(mark.origin)) is not None:
                self._known[topic, mark.record_id] = f"replayed from {mark.origin}"

    def decide(self, letter: DeadLetter) -> Decision:
        """The verdict about one letter. What it settles is known from then on."""
        topic, mended = self._mending.topic(letter.origin), self._mending.mend(letter)
        if mended is None or topic is None:
            return Decision(letter, Verdict.FOREIGN, f"only {' and '.join(REPLAYABLE)} can be replayed")
        if isinstance(mended, Refused):
            return Decision(letter, Verdict.REFUSED, f"{mended.reason.value}: {mended}")
        origin, digest = str(letter.origin), letter.digest
        mark = self._settled.get(origin)
        if mark is not None and mark.letter == digest:
            if mark.content == mended.content:
                return Decision(letter, Verdict.DONE, f"{mark.outcome} as {mark.record_id}", mended)
            if not self._again:
                why = f"{mark.outcome} before as {mark.record_id}, with other content"
                return Decision(letter, Verdict.CONFLICT, why, mended)
        left = {one: value for one, value in mended.records if (topic, one) not in self._known}
        if not left:
            where = self._known[topic, mended.record_id]
            self._settled[origin] = _Settled(digest, mended.content, "counted", mended.record_id)
            return Decision(
                letter, Verdict.COUNTED, f"{mended.record_id} is counted already: {where}", mended
            )
        self._known |= {(topic, one): f"replayed from {origin}" for one in left}
        self._settled[origin] = _Settled(digest, mended.content, "published", mended.record_id)
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        counted = len(mended.records) - len(left)
        why = f"as {next(iter(left))}{more}{f'; {counted} are counted already' if counted else ''}"
        return Decision(letter, Verdict.PUBLISH, why, mended, tuple(left.values()))


def mark_of(decision: Decision, at: datetime, by: str | None) -> DeadLetterReplay:
    """The durable mark of a letter that is settled now."""
    mended = decision.mended
    assert mended is not None, "only what can be published is marked"
    return DeadLetterReplay(
        origin=decision.letter.origin,
        letter=decision.letter.digest,
        outcome="published" if decision.verdict is Verdict.PUBLISH else "counted",
        record_id=mended.record_id,
        content=mended.content,
        at=at,
        by=by,
    )


def headers_of(decision: Decision) -> list[tuple[str, bytes | None]]:
    """The original headers and where the letter came from; not where that itself had been replayed from."""
    letter, mended = decision.letter, decision.mended
    kept = [(header.key, header.value) for header in letter.headers if header.key != REPLAY_OF]
    if mended is not None and mended.foreign:
        kept = as_native(kept)
    return [*kept, (REPLAY_OF, letter.record_key)]
