"""Feeds messages to the fold as a partition would, and holds what it drains against the ledger.

After every drain: records = events + duplicates + dead letters; calls and charges of all rollups, as they stand on
the wire, are the events, by workflow and bucket, and so is the money; each dead letter has its reason and the
original bytes. Now and then the fold is thrown away with what it had not drained, and rebuilt as after a crash.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Final

from schemas.dead_letters import DeadLetter
from schemas.rollups import Rollup
from service.ingest.dedup import SeenIds
from service.ingest.fold import Batch, Fold
from service.ingest.price import Pricer
from service.ingest.record import RawRecord
from service.settings import IngestSettings
from tests.fuzz.corpus import BASE_S
from tests.fuzz.ledger import Entries, Ledger

DEDUP_OFFSETS: Final = 3_000
_SETTINGS: Final = IngestSettings(dedup_offsets=DEDUP_OFFSETS)
_HEADERS: Final[tuple[tuple[tuple[str, Any], ...], ...]] = (
    (),
    (),
    (),
    (("traceparent", b"00-01"),),
    (("x", b"\xff\x00"), ("x", None)),
    (("tidegate-format", b"tidegate"),),
)
_KEYS: Final = (b"workflow-01", None, b"", b"\xff\xfe", b"k" * 300)


@dataclass
class Totals:
    """What became of all messages."""

    messages: int = 0
    rollup_calls: int = 0
    rollup_charges: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    rollups: int = 0
    rebuilt: int = 0
    cost_nanos: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    seconds: float = 0.0

    def line(self) -> dict[str, Any]:
        """As one JSON object."""
        return {**asdict(self), "by_reason": dict(self.by_reason.most_common())}


def records(messages: Iterable[bytes], seed: int) -> Iterator[RawRecord]:
    """Messages as records: with the holes, keys, headers and broker times that records have; some tombstones."""
    dice = random.Random(f"tidegate records {seed}")
    offset = 0
    for number, message in enumerate(messages):
        offset += 1 if dice.random() < 0.98 else dice.randrange(2, 500)
        at_ms = round((BASE_S + number / 1_000) * 1_000) + dice.choice((0, 0, 0, 5, -299_999))
        value = message if dice.random() < 0.999 else None
        yield RawRecord(
            0,
            offset,
            at_ms if dice.random() < 0.98 else -1,
            dice.choice(_KEYS),
            value,
            dice.choice(_HEADERS),
        )


class Mismatch(AssertionError):
    """The fold and the ledger do not agree, or the fold raised; `batch` is what was being folded."""

    def __init__(self, why: str, batch: Sequence[RawRecord]) -> None:
        super().__init__(why)
        self.batch = batch


class Harness:
    """One partition under test.

    Parameters
    ----------
    seed : int
        Decides records, batches and crashes.
    """

    def __init__(self, seed: int = 0) -> None:
        self.totals = Totals()
        self._seed = seed
        self._dice = random.Random(f"tidegate harness {seed}")
        self._pricer = Pricer()
        self._ledger = Ledger(DEDUP_OFFSETS, _SETTINGS.future_allowance_s)
        self._tail: deque[RawRecord] = deque()
        self._fold = self._new_fold()

    def _new_fold(self) -> Fold:
        return Fold(0, 4, _SETTINGS, self._pricer, topic="t.cost-events", limits=None)

    def run(self, messages: Iterable[bytes], progress: Callable[[Totals], None] | None = None) -> Totals:
        """Fold and check all messages. Raises Mismatch."""
        began = time.monotonic()
        stream = records(messages, self._seed)
        while batch := list(islice(stream, self._dice.choice((1, 2, 127, 128, 129, 700, 2_000)))):
            self._fold_and_check(batch)
            self.totals.seconds = round(time.monotonic() - began, 1)
            if progress is not None:
                progress(self.totals)
        return self.totals

    def _fold_and_check(self, batch: list[RawRecord]) -> None:
        try:
            if self._dice.random() < 0.3:
                self._crash(batch)
            self._take(self._fold, batch)
            drained = self._fold.drain()
        except Exception as error:
            self.totals.crashes += 1
            raise Mismatch(f"the fold raised {error!r}", batch) from error
        for record in batch:
            self._ledger.enter(record)
        self._remember(batch)
        try:
            self._check(drained, self._ledger.take())
        except AssertionError as error:
            raise Mismatch(str(error), batch) from error

    def _take(self, fold: Fold, batch: Sequence[RawRecord]) -> None:
        """In pieces, as polls would bring them."""
        at = 0
        while at < len(batch):
            size = self._dice.choice((1, 50, 128, 500))
            fold.take(batch[at : at + size])
            at += size

    def _crash(self, batch: Sequence[RawRecord]) -> None:
        """Lose a fold with some of the batch in it; another one remembers the tail."""
        self._take(self._fold, batch[: self._dice.randrange(len(batch) + 1)])
        self._fold = self._new_fold()
        self._fold.remember(list(self._tail))
        self.totals.rebuilt += 1

    def _remember(self, batch: Sequence[RawRecord]) -> None:
        self._tail += batch
        after = batch[-1].offset + 1
        first = after - SeenIds(DEDUP_OFFSETS).tail(after)
        while self._tail and self._tail[0].offset < first:
            self._tail.popleft()

    def _check(self, batch: Batch, wanted: Entries) -> None:
        rollups = [Rollup.from_json(delta.to_json()) for delta in batch.deltas]
        assert rollups == batch.rollups, "the bytes on the wire say something else"
        counted, cost = Counter[Any](), Counter[Any]()
        for rollup in rollups:
            place = rollup.workflow, rollup.bucket_start
            counted[place] += rollup.calls + rollup.charges
            cost[place] += rollup.cost_nanos
            _check_parts(rollup)
        assert batch.surplus == 0
        assert batch.records == wanted.records == batch.events + batch.duplicates + len(batch.dead_letters)
        assert counted == wanted.counted
        assert counted.total() == batch.events
        assert +cost == +wanted.cost_nanos
        assert batch.duplicates == wanted.duplicates
        assert sum(r.charges for r in rollups) == wanted.charges
        assert sum(r.input_tokens + r.output_tokens for r in rollups) == wanted.tokens
        assert sum(r.unpriced_calls for r in rollups) == wanted.unpriced
        self._check_letters(batch.dead_letters, wanted)
        totals = self.totals
        totals.messages += batch.records
        totals.rollups += len(rollups)
        totals.rollup_calls += sum(r.calls for r in rollups)
        totals.rollup_charges += sum(r.charges for r in rollups)
        totals.duplicates += batch.duplicates
        totals.cost_nanos += cost.total()
        totals.dead_letters += len(batch.dead_letters)
        totals.by_reason.update(letter.reason.value for letter in batch.dead_letters)

    def _check_letters(self, letters: Sequence[DeadLetter], wanted: Entries) -> None:
        for letter, (offset, reason, value) in zip(letters, wanted.refused, strict=True):
            assert (letter.origin.offset, letter.reason, letter.value) == (offset, reason, value)
            if self._dice.random() < 0.05:  # base64 and JSON take their time
                assert DeadLetter.from_json(letter.to_json()) == letter


def _check_parts(rollup: Rollup) -> None:
    """A rollup's parts do not exceed their wholes."""
    assert rollup.calls + rollup.charges > 0
    assert rollup.charge_nanos <= rollup.cost_nanos
    assert sum(t.calls for t in rollup.live_traces) + rollup.other_traces.calls <= rollup.calls
    traced = sum(t.calls for t in rollup.live_traces) + rollup.other_traces.calls
    assert traced + rollup.untraced_calls == rollup.calls
    for breakdown in rollup.by_dimension:
        assert sum(s.calls for s in breakdown.top) + breakdown.rest.calls <= rollup.calls
        assert sum(s.cost_nanos for s in breakdown.top) + breakdown.rest.cost_nanos <= rollup.cost_nanos
