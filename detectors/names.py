"""Which names were seen before, in a few hundred bytes however many there are."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, Final, Self

from detectors.decay import number

_WORD: Final = 64
_HASHES: Final = 4
_BITS_PER_NAME: Final = 16
_FIRST_WORDS: Final = 8
_SURE: Final = 32
GENERATION_S: Final = 7 * 86_400.0


@lru_cache(maxsize=4_096)
def fingerprint(name: str) -> int:
    """63 bits of a name, the same everywhere and always."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class KnownNames:
    """Fingerprints seen in this generation and the last: of one to two weeks, or of the most that fit.

    A generation is a row of Bloom filters, each twice as large as the one before, so that a workflow with five
    customers pays for five. It ends after a week, or when its filters are full. What is asked for counts as known
    wrongly in at most 0.24 % of cases per filter, 2 % when all eight are full; what was added within the week is
    never forgotten unless more names than fit came since.

    State: 72 B for up to 32 names; at most 2 x `words` x 9 B. Cost: 0.1 us for one of the 32 names that were
    added last, else 1 us a filter.

    References
    ----------
    Almeida, Baquero, Preguica, Hutchison, "Scalable Bloom Filters", Information Processing Letters 2007.
    """

    __slots__ = ("_count", "_filters", "_last", "_since", "_sure", "words")

    def __init__(self, words: int) -> None:
        self.words = words
        self._since: float | None = None
        self._filters: list[list[int]] = []
        self._last: list[list[int]] = []
        self._count = 0
        # Names that are in this generation for certain: a shortcut to what the filters say, no more.
        self._sure: set[int] = set()

    def knows(self, name: int) -> bool:
        return name in self._sure or _in(self._filters, name) or _in(self._last, name)

    def add(self, name: int, now: float) -> None:
        """Remember a fingerprint; `now` in epoch seconds."""
        if self._since is None:
            self._since = now
        elif now - self._since >= GENERATION_S:
            # Nobody is forgotten merely because nobody came for weeks.
            self._begin(now)
        if name in self._sure:
            return
        if len(self._sure) >= _SURE:
            self._sure.clear()
        if _in(self._filters, name):
            self._sure.add(name)
            return
        if not self._filters or self._count >= len(self._filters[-1]) * _WORD // _BITS_PER_NAME:
            size = 2 * len(self._filters[-1]) if self._filters else _FIRST_WORDS
            if self._filters and sum(map(len, self._filters)) + size > self.words:
                self._begin(now)
                size = _FIRST_WORDS
            self._filters.append([0] * size)
            self._count = 0
        bits = self._filters[-1]
        for at in _places(name, len(bits)):
            bits[at >> 6] |= 1 << (at & 63)
        self._count += 1
        self._sure.add(name)

    def _begin(self, now: float) -> None:
        self._sure.clear()
        self._last, self._filters, self._count, self._since = self._filters, [], 0, now

    def dump(self) -> list[Any]:
        return [
            self._since,
            self._count,
            [list(f) for f in self._filters],
            [list(f) for f in self._last],
        ]

    @classmethod
    def load(cls, plain: Any, words: int) -> Self:
        """The names that were dumped. Raises ValueError if `plain` is not of their shape."""
        if not isinstance(plain, list) or len(plain) != 4:
            raise ValueError("expected 4 parts of known names")
        since, count, filters, last = plain
        loaded = cls(words)
        loaded._since = None if since is None else number(since)
        loaded._count = int(number(count, least=0.0))
        loaded._filters, loaded._last = _loaded(filters, words), _loaded(last, words)
        return loaded


def _loaded(plain: Any, words: int) -> list[list[int]]:
    if not isinstance(plain, list):
        raise ValueError("expected filters")  # noqa: TRY004 (callers tell of dumps)
    size, held = _FIRST_WORDS, 0
    for bits in plain:
        held += size
        whole = isinstance(bits, list) and len(bits) == size and held <= words
        if not whole or not all(type(b) is int and 0 <= b < 1 << _WORD for b in bits):
            raise ValueError("expected filters of 64-bit words, each twice the last")
        size *= 2
    return [list(bits) for bits in plain]


def _places(name: int, words: int) -> list[int]:
    # Two halves make as many hashes as are wanted: Kirsch and Mitzenmacher, "Less Hashing, Same Performance", 2006.
    step, at = (name >> 31) | 1, name & 0x7FFFFFFF
    mask = words * _WORD - 1
    return [(at + i * step) & mask for i in range(_HASHES)]


def _in(filters: list[list[int]], name: int) -> bool:
    # The largest first: most names are in it. Written out, for every name of every window comes by here.
    step, first = (name >> 31) | 1, name & 0x7FFFFFFF
    for bits in reversed(filters):
        mask = len(bits) * _WORD - 1
        at = first
        for _ in range(_HASHES):
            place = at & mask
            if not bits[place >> 6] >> (place & 63) & 1:
                break
            at += step
        else:
            return True
    return False
