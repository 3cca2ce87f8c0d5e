"""Cost events and what becomes of them on the way: seeded, structure-aware, as raw bytes.

About a third of what comes out is still an event, often an odd one; the rest is spoiled in its values, in its
structure or in its bytes. The same seed gives the same messages.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from tests.fuzz.edits import EDITS, MAX_BYTES
from tests.fuzz.hostile import (
    AMOUNTS,
    ANY,
    CHARGES,
    CHOICES,
    NESTS,
    NUMBERS,
    SPACES,
    STRINGS,
    TAGS,
    TIMES,
    VERSIONS,
)

BASE_S: Final = 1_769_851_800.0
"""2026-01-31T09:30:00Z: around here the healthy events happen, a thousand a second."""
Pairs = list[tuple[bytes, bytes]]
"""A document as it will be written: each key and each value as JSON, or as something that looks like it."""

_TOKEN_FIELDS: Final = (
    *(b"input_tokens", b"cached_input_tokens", b"cache_write_tokens", b"cache_write_1h_tokens"),
    *(b"output_tokens", b"reasoning_tokens"),
)
_LABELS: Final = (
    *(b"event_id", b"provider", b"model", b"workflow", b"team", b"feature", b"customer", b"user", b"api_key"),
    *(b"environment", b"gateway", b"trace_id", b"session_id", b"operation", b"service_tier"),
)
_VALUES: Final[dict[bytes, Sequence[bytes]]] = {
    **dict.fromkeys(_LABELS, STRINGS),
    **dict.fromkeys((*_TOKEN_FIELDS, b"attempt", b"latency_ms"), NUMBERS),
    b"occurred_at": TIMES,
    b"cost_usd": AMOUNTS,
    b"request_tags": TAGS,
    b"charge": CHARGES,
    b"status": CHOICES,
    b"usage_source": CHOICES,
    b"schema_version": VERSIONS,
}
_NAMES: Final = tuple(_VALUES)
_MODELS: Final = (
    *((b"openai", b"gpt-4o"), (b"openai", b"gpt-4o-mini"), (b"openai", b"gpt-5"), (b"openai", b"o3-mini")),
    *(
        (b"anthropic", b"claude-sonnet-4-5"),
        (b"anthropic", b"claude-3-5-haiku-20241022"),
        (b"google", b"gemini-2.5-pro"),
    ),
    *(
        (b"azure", b"azure/gpt-4o"),
        (b"deepseek", b"deepseek-chat"),
        (b"in-house", b"owl-1"),
        (b"openai", b"nothing-7"),
    ),
)
_JUNK_KEYS: Final = (
    *(
        b'"prompt"',
        b'"metadata"',
        b'""',
        b'"Event_Id"',
        b'" event_id"',
        b'"event_id "',
        b'"event_id\\u0000"',
        b'"\\ud800"',
    ),
    *(
        b'"x\\":y"',
        b'"__proto__"',
        b'"\xff"',
        b'"\xc3\xa9"',
        b'"e\xcc\x81"',
        b"event_id",
        b"'event_id'",
        b"1",
        b"null",
    ),
    *(b'"' + b"k" * 300 + b'"', b'"\\u0065vent_id"', b'"model\\n"', b'"a":"b","c"', b"{}", b'"\\"'),
)


def mutated(count: int, seed: int) -> Iterator[bytes]:
    """`count` messages. Ids are unique but for some 3 % that come again within fifty messages."""
    dice = random.Random(f"tidegate corpus {seed}")
    recent: list[bytes] = [b"{}"] * 50
    ids = [b"m"] * 50
    for number in range(count):
        slot = number % 50
        if dice.random() >= 0.03:
            ids[slot] = b"m-%d-%d" % (seed, number)
        pairs = event(dice, number, dice.choice(ids[: slot + 1]) if dice.random() < 0.03 else ids[slot])
        roll = dice.random()
        if roll < 0.62:
            for _ in range(dice.choice((1, 1, 1, 2, 3))):
                dice.choice(MUTATIONS)(dice, pairs)
        data = written(dice, pairs)
        recent[slot] = data
        if 0.5 < roll < 0.93:
            for _ in range(dice.choice((1, 1, 1, 1, 2, 3))):
                data = dice.choice(EDITS)(dice, data, recent)
        yield data


def event(dice: random.Random, number: int, event_id: bytes) -> Pairs:
    """A valid event, more or less complete."""
    provider, model = dice.choice(_MODELS)
    at = BASE_S + number / 1_000 + dice.choice((0.0, 0.0, -0.5, -3.25, -60.0, -4_000.0))
    pairs: Pairs = [
        (b'"event_id"', b'"%s"' % event_id),
        (b'"occurred_at"', repr(at).encode() if number % 2 else _rfc3339(at)),
        (b'"provider"', b'"%s"' % provider),
        (b'"model"', b'"%s"' % model),
    ]
    tokens = dice.choice((0, 17, 1_200, 250_000, 1_000_000_000))
    if tokens:
        out = dice.choice((0, 1, 310, 999))
        pairs += [
            (b'"input_tokens"', b"%d" % tokens),
            (b'"cached_input_tokens"', b"%d" % (tokens // dice.choice((2, 3, 10**10)))),
            (b'"output_tokens"', b"%d" % out),
            (b'"reasoning_tokens"', b"%d" % (out // 2)),
        ]
        if dice.random() < 0.3:
            pairs += [
                (b'"cache_write_tokens"', b"%d" % (tokens // 3)),
                (b'"cache_write_1h_tokens"', b"%d" % (tokens // 9)),
            ]
    if dice.random() < 0.7:
        pairs.append((b'"workflow"', b'"workflow-%02d"' % dice.randrange(30)))
    for name in (b"team", b"feature", b"customer", b"api_key", b"trace_id"):
        if dice.random() < 0.5:
            pairs.append((b'"%s"' % name, b'"%s-%d"' % (name, dice.randrange(40))))
    roll = dice.random()
    if roll < 0.4:
        pairs.append((b'"cost_usd"', b'"0.%09d"' % dice.randrange(10**9)))
    elif roll < 0.5:
        pairs.append((b'"cost_usd"', b"%d.%06d" % (dice.randrange(100), dice.randrange(10**6))))
        if roll < 0.45:
            pairs.append((b'"charge"', dice.choice(CHARGES[:7])))
    if dice.random() < 0.2:
        pairs.append((b'"status"', dice.choice(CHOICES[:3])))
        pairs.append((b'"usage_source"', dice.choice((b'"reported"', b'"estimated"'))))
    if dice.random() < 0.1:
        pairs.append((b'"service_tier"', dice.choice((b'"batch"', b'"priority"', b'"flex"', b'"default"'))))
        pairs.append((b'"attempt"', b"%d" % dice.randrange(1, 9)))
        pairs.append((b'"latency_ms"', b"%d.5" % dice.randrange(10_000)))
        pairs.append((b'"request_tags"', b'["beta","eu"]'))
    return pairs


def _rfc3339(at: float) -> bytes:
    return b'"' + datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z").encode() + b'"'


def written(dice: random.Random, pairs: Pairs) -> bytes:
    """The document's bytes: mostly compact or as Python writes it, sometimes with other white space."""
    roll = dice.random()
    if roll < 0.6:
        return b"{" + b",".join([key + b":" + value for key, value in pairs]) + b"}"
    if roll < 0.85:
        return b"{" + b", ".join([key + b": " + value for key, value in pairs]) + b"}"
    spaces: Sequence[bytes] = SPACES if dice.random() < 0.2 else SPACES[:7]
    before, after, around = dice.choice(spaces), dice.choice(spaces), dice.choice((b"", *spaces))
    comma = before + b"," + after
    if roll < 0.95:
        return b"{" + around + comma.join([k + around + b":" + after + v for k, v in pairs]) + around + b"}"
    return around + b"{" + comma.join([k + b":" + v for k, v in pairs]) + b"}" + before


def _replace(dice: random.Random, pairs: Pairs) -> None:
    at = dice.randrange(len(pairs))
    key = pairs[at][0]
    pairs[at] = key, dice.choice(_VALUES.get(key[1:-1], ANY))


def _put(dice: random.Random, pairs: Pairs) -> None:
    """A value from its own hostile list in a field that may be there already: then the key comes twice."""
    name = dice.choice(_NAMES)
    key = b'"%s"' % name
    value = dice.choice(_VALUES[name])
    for at, (known, _) in enumerate(pairs):
        if known == key and dice.random() < 0.95:
            pairs[at] = key, value
            return
    pairs.insert(dice.randrange(len(pairs) + 1), (key, value))


def _wrong_kind(dice: random.Random, pairs: Pairs) -> None:
    at = dice.randrange(len(pairs))
    pairs[at] = pairs[at][0], dice.choice(ANY)


def _drop(dice: random.Random, pairs: Pairs) -> None:
    if len(pairs) > 1:
        del pairs[dice.randrange(len(pairs))]


def _again(dice: random.Random, pairs: Pairs) -> None:
    key, value = dice.choice(pairs)
    if dice.random() < 0.3 and len(key) > 3 and key[:1] == b'"':
        key = b'"\\u%04x%s' % (key[1], key[2:])  # the same name, written otherwise
    pairs.insert(dice.randrange(len(pairs) + 1), (key, dice.choice((value, dice.choice(ANY)))))


def _escape(dice: random.Random, pairs: Pairs) -> None:
    """The same text, with one of its letters as an escape: still the same event."""
    at = dice.randrange(len(pairs))
    key, value = pairs[at]
    if dice.random() < 0.5 and key[:1] == b'"' and len(key) > 3:
        pairs[at] = b'"\\u%04x%s' % (key[1], key[2:]), value
    elif value[:1] == b'"' and len(value) > 3 and value[1:2] not in b'\\"' and value[1] < 128:
        pairs[at] = key, b'"\\u%04X%s' % (value[1], value[2:])


def _unknown(dice: random.Random, pairs: Pairs) -> None:
    key = dice.choice(_JUNK_KEYS) if dice.random() < 0.5 else b'"x-%d"' % dice.randrange(9)
    pairs.insert(dice.randrange(len(pairs) + 1), (key, dice.choice(ANY)))


def _nest(dice: random.Random, pairs: Pairs) -> None:
    pairs.append((b'"extra"', dice.choice(NESTS)))


def _shuffle(dice: random.Random, pairs: Pairs) -> None:
    dice.shuffle(pairs)


def _grow(dice: random.Random, pairs: Pairs) -> None:
    """To just below, at or just above the largest record that is read, as long as it is written compactly."""
    size = sum(len(key) + len(value) + 2 for key, value in pairs) + 1
    room = MAX_BYTES - size - len(b'"padding":"",') + dice.choice((-1, 0, 0, 1, 2, 5_000))
    pairs.append((b'"padding"', b'"' + dice.choice((b"x", b"x", b"{", b"[")) * room + b'"'))


MUTATIONS: Final[tuple[Callable[[random.Random, Pairs], None], ...]] = (
    *((_replace,) * 12 + (_put,) * 12 + (_wrong_kind,) * 4 + (_drop,) * 3 + (_again,) * 3),
    *((_escape,) * 3 + (_unknown,) * 5 + (_nest,) * 2 + (_shuffle,) * 3),
)
