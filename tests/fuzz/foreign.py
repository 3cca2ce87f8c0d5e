"""Foreign records and what becomes of them on the way, through the fold that reads them by their adapters.

There is no second opinion about what a foreign record means, so less is asked than of our own: nothing raises, and
every event that an adapter makes is counted, a duplicate, or in a dead letter with its record.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

import orjson

from schemas.rollups import Rollup
from service.ingest.fold import Fold
from service.ingest.price import Pricer
from service.ingest.record import RawRecord
from service.settings import IngestSettings
from tests.fuzz.corpus import BASE_S
from tests.fuzz.edits import EDITS
from tests.fuzz.hostile import ANY
from tests.service.ingest.adapters.golden_files import GOLDEN, Golden

_AT_MS: Final = round((BASE_S + 86_400) * 1_000)
_DRAIN: Final = 200
_BINARY: Final = [
    ("ce_id", b"a"),
    ("ce_source", b"gw"),
    ("ce_type", b"tokens"),
    ("ce_time", b"2026-01-31T00:00:00Z"),
]


def foreign(count: int, seed: int) -> Iterator[RawRecord]:
    """Golden records with hostile values in them, or their bytes spoiled, under headers that fit or not."""
    dice = random.Random(f"tidegate foreign {seed}")
    recent = [orjson.dumps(golden.record) for golden in GOLDEN]
    for offset in range(count):
        golden = dice.choice(GOLDEN)
        value = _spoiled(golden, dice)
        if dice.random() < 0.3:
            value = dice.choice(EDITS)(dice, value, recent)
        yield RawRecord(0, offset, _AT_MS, None, value, _headers(golden, dice))


_NOTHING: Final[Any] = None
"""Kafka has headers without a value."""


def _headers(golden: Golden, dice: random.Random) -> list[tuple[str, bytes]]:
    roll = dice.random()
    if roll < 0.9:
        return [("tidegate-format", golden.format.encode())]
    if roll < 0.95:
        binary = [(name, value) for name, value in _BINARY if dice.random() < 0.8]
        return [("ce_specversion", dice.choice((b"1.0", b"0.3", b"\xff"))), *binary]
    return dice.choice(
        (
            [("content-type", b"application/cloudevents+json; charset=utf-8")],
            [("content-type", b"application/cloudevents-batch+json")],
            [("tidegate-format", b"nobody's")],
            [("TIDEGATE-FORMAT", b"\xff")],
            [("tidegate-format", _NOTHING)],
            [("tidegate-format", b"otlp"), ("tidegate-format", b"tidegate")],
        )
    )


def _spoiled(golden: Golden, dice: random.Random) -> bytes:
    """One to three values anywhere in it replaced: by bytes, for some of them are no JSON."""
    document = deepcopy(golden.record)
    hostile: dict[bytes, bytes] = {}
    for number in range(dice.choice((0, 1, 1, 2, 3))):
        node, key = dice.choice(_places(document))
        mark = f"@@{number}@@"
        node[key] = mark
        hostile[b'"%s"' % mark.encode()] = dice.choice(ANY)
    value = orjson.dumps(document)
    for mark_bytes, instead in hostile.items():
        value = value.replace(mark_bytes, instead)
    return value


def _places(document: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    below = [document]
    while below:
        node = below.pop()
        items = list(node.items() if isinstance(node, dict) else enumerate(node))
        found += [(node, key) for key, _ in items]
        below += [value for _, value in items if isinstance(value, (dict, list))]
    return found


def run(count: int, seed: int) -> Counter[str]:
    """Fold them all: events, duplicates, dead letters by reason. Raises what the fold does, or AssertionError."""
    fold = Fold(0, 1, IngestSettings(dedup_offsets=1_000), Pricer(), topic="t")
    outcomes: Counter[str] = Counter()
    waiting: list[RawRecord] = []
    for record in foreign(count, seed):
        waiting.append(record)
        if len(waiting) == _DRAIN or record.offset == count - 1:
            outcomes += _folded(fold, waiting)
            waiting = []
    return outcomes


def _folded(fold: Fold, records: list[RawRecord]) -> Counter[str]:
    fold.take(records)
    batch = fold.drain()
    rollups = [Rollup.from_json(delta.to_json()) for delta in batch.deltas]
    assert batch.records == len(records)
    assert batch.records + batch.surplus == batch.events + batch.duplicates + len(batch.dead_letters)
    assert sum(rollup.calls + rollup.charges for rollup in rollups) == batch.events
    originals = {record.offset: record for record in records}
    for letter in batch.dead_letters:
        assert letter.value == originals[letter.origin.offset].value
    found = Counter(letter.reason.value for letter in batch.dead_letters)
    return found + Counter(events=batch.events, duplicates=batch.duplicates)
