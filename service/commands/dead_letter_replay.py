"""The work of `tidegate dead-letters replay`: survey, look what is counted already, publish in transactions.

1. survey: read the dead letters and the marks of earlier replays, and mend each chosen letter;
2. look: read the topics the letters come from, from shortly before the first one, for ids that a gateway has sent
   again by itself;
3. settle: fence other replays, read the marks again, and decide about each chosen letter, in its order; mended
   records and marks go out in one transaction per batch.

A dry run does the same without fencing and without writing. A replay that dies can be repeated at any step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from schemas.dead_letters import DeadLetter
from schemas.topics import DEAD_LETTER_REPLAYS
from service.dead_letters.lookout import Lookout, Seen
from service.dead_letters.mend import Mended
from service.dead_letters.reading import REPLAYABLE
from service.dead_letters.selection import Selection
from service.dead_letters.settle import Decision, Mending, Settler, Verdict, headers_of, mark_of
from service.runtime.clock import SystemClock
from service.settings import KafkaSettings

if TYPE_CHECKING:
    from service.kafka.replays import Replay

_BATCH: Final = 100
"""Letters settled in one transaction …"""
_RECORDS: Final = 1_000
"""… or records that it publishes, if these are more: a foreign record may hold many events."""

Tell = Callable[[Decision], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be replayed, and how.

    Attributes
    ----------
    dedup_offsets : int
        How far before the first letter to look for its id, and no further than ingest itself would.
    look : bool
        False: trust that no gateway has sent anything again.
    limit : int or None
        Publish at most so many.
    """

    kafka: KafkaSettings
    selection: Selection
    mending: Mending
    dedup_offsets: int
    again: bool = False
    look: bool = True
    dry_run: bool = False
    limit: int | None = None
    by: str | None = None


@dataclass
class Survey:
    """What there is to do, before anything is done. Ids and topics are by the contract's names.

    Attributes
    ----------
    chosen : set of str
        Origins of the letters that are meant.
    ids : set of (topic, id)
        Of all of them that can be published, settled or not.
    wanted : set of (topic, id)
        Of those that no replay has settled.
    refused : set of (topic, partition, offset)
        Where any dead letter comes from.
    starts : dict of (topic on the broker, partition) to int
        From which offset on a wanted id may have been counted.
    """

    chosen: set[str] = field(default_factory=set)
    ids: set[tuple[str, str]] = field(default_factory=set)
    wanted: set[tuple[str, str]] = field(default_factory=set)
    refused: set[tuple[str, int, int]] = field(default_factory=set)
    starts: dict[tuple[str, int], int] = field(default_factory=dict)


async def replay(wish: Wish, tell: Tell, note: Callable[[str], None]) -> tuple[Counter[Verdict], set[str]]:
    """Settle every chosen letter. How many got which verdict, and origins asked for that are no dead letters.

    Parameters
    ----------
    tell : callable
        Told each decision once it is durable; in a dry run once it is made.
    note : callable
        Told in a sentence what takes long.

    Raises
    ------
    BrokerUnavailable, TopicsMissing, Fenced, Stalled
    """
    from service.kafka.replays import replaying

    survey = await _survey(wish)
    counted = await _look(wish, survey, note)
    settler = Settler(wish.mending, counted, again=wish.again)
    told: Counter[Verdict] = Counter()
    asked = wish.selection.origins | wish.mending.replacements.keys()
    if wish.dry_run or not survey.ids:
        async for decision in _decisions(wish, settler, survey):
            told[decision.verdict] += 1
            tell(decision)
        return told, set(asked - survey.chosen)
    topics = [*sorted({topic for topic, _ in survey.starts}), wish.kafka.topic(DEAD_LETTER_REPLAYS)]
    async with replaying(wish.kafka, topics) as writer:
        batch: list[Decision] = []
        async for decision in _decisions(wish, settler, survey):
            batch.append(decision)
            if len(batch) == _BATCH or sum(len(each.publish) for each in batch) >= _RECORDS:
                await _carry_out(wish, writer, batch, told, tell)
                batch = []
        await _carry_out(wish, writer, batch, told, tell)
    return told, set(asked - survey.chosen)


async def _survey(wish: Wish) -> Survey:
    mending, found = wish.mending, Survey()
    async for letter in _letters(wish.kafka):
        topic = mending.topic(letter.origin)
        if topic is not None:
            found.refused.add((topic, letter.origin.partition, letter.origin.offset))
        if not _takes(wish, letter):
            continue
        found.chosen.add(str(letter.origin))
        mended = mending.mend(letter)
        if topic is not None and isinstance(mended, Mended):
            found.ids.update((topic, one) for one, _ in mended.records)
    async for decision in _decisions(wish, Settler(mending, {}, again=wish.again), found, limited=False):
        origin = decision.letter.origin
        topic = mending.topic(origin)
        if decision.verdict is Verdict.PUBLISH and decision.mended is not None and topic is not None:
            found.wanted.update((topic, one) for one, _ in decision.mended.records)
            place, start = (origin.topic, origin.partition), max(origin.offset - wish.dedup_offsets, 0)
            found.starts[place] = min(found.starts.get(place, start), start)
    return found


async def _look(wish: Wish, survey: Survey, note: Callable[[str], None]) -> Mapping[tuple[str, str], str]:
    from service.kafka.replays import since

    check = wish.mending.check
    lookout = Lookout(survey.wanted, survey.refused, check.future_allowance_s, check.default)
    if not wish.look or not survey.starts:
        return lookout.counted
    for topic, partition in sorted(survey.starts):
        note(
            f"looking for ids that were sent again on {topic}/{partition} from {survey.starts[topic, partition]}"
        )
    names = {wish.kafka.topic(topic): name for name, (topic, _) in REPLAYABLE.items()}
    async with aclosing(since(wish.kafka, survey.starts)) as batches:
        async for records in batches:
            for record in records:
                place = names[record.topic], record.partition, record.offset
                lookout.see(Seen(*place, record.timestamp, record.value, record.headers))
    return lookout.counted


async def _decisions(
    wish: Wish, settler: Settler, survey: Survey, *, limited: bool = True
) -> AsyncGenerator[Decision, None]:
    """Read the marks, then decide about each letter that the survey has chosen."""
    from service.kafka.replays import marks

    topic = wish.mending.topic
    async with aclosing(marks(wish.kafka)) as found:
        async for mark in found:
            if str(mark.origin) in survey.chosen or (topic(mark.origin), mark.record_id) in survey.ids:
                settler.learn([mark])
    left = wish.limit if limited else None
    async for letter in _letters(wish.kafka):
        if left == 0:
            return
        if str(letter.origin) not in survey.chosen:
            continue
        decision = settler.decide(letter)
        if left is not None and decision.verdict is Verdict.PUBLISH:
            left -= 1
        yield decision


async def _carry_out(
    wish: Wish, writer: Replay, batch: Sequence[Decision], told: Counter[Verdict], tell: Tell
) -> None:
    from service.kafka.replays import Write

    at, replays = SystemClock().now(), wish.kafka.topic(DEAD_LETTER_REPLAYS)
    writes = []
    for decision in batch:
        letter = decision.letter
        # To where it came from: the same key may lie elsewhere by another client's partitioner, and
        # duplicates are found within one partition only.
        topic, partition, headers = letter.origin.topic, letter.origin.partition, headers_of(decision)
        writes += [Write(topic, letter.key, value, partition, headers) for value in decision.publish]
        if decision.verdict in (Verdict.PUBLISH, Verdict.COUNTED):
            writes.append(Write(replays, letter.record_key, mark_of(decision, at, wish.by).to_json()))
    if writes:
        await writer.commit(writes)
    for decision in batch:
        told[decision.verdict] += 1
        tell(decision)


def _takes(wish: Wish, letter: DeadLetter) -> bool:
    replacements = wish.mending.replacements
    return wish.selection.takes(letter) and (not replacements or str(letter.origin) in replacements)


async def _letters(kafka: KafkaSettings) -> AsyncGenerator[DeadLetter, None]:
    """Dead letters that can be read."""
    from service.kafka.replays import letters

    async with aclosing(letters(kafka)) as found:
        async for letter in found:
            if letter is not None:
                yield letter
