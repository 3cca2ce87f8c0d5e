"""A labelled stream of calls: what happened, and what was injected into it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Split = Literal["train", "held_out"]

MATERIAL_NANOS: Final = 5_000_000_000
"""Half an hour of the ten dollars an hour that every stream is scaled to."""
LARGE_NANOS: Final = 50_000_000_000


@dataclass(frozen=True)
class Calls:
    """Calls as columns of one length, in order of `t`.

    Attributes
    ----------
    t : float64
        Epoch seconds.
    trace, customer, key, model : int
        Numbers that stand for names; a trace of -1 is none.
    input, cached, output : int64
        Tokens; `input` includes `cached`.
    cost : int64
        Nano-dollars.
    error, injected : bool
        Failed; added or made dearer by an episode.
    """

    t: Floats
    trace: Ints
    customer: Ints
    key: Ints
    model: Ints
    input: Ints
    cached: Ints
    output: Ints
    cost: Ints
    error: Flags
    injected: Flags

    def __len__(self) -> int:
        return len(self.t)

    def take(self, which: NDArray[Any]) -> Calls:
        """The calls at these indices, or where this mask is true."""
        return Calls(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    def ordered(self) -> Calls:
        return self.take(np.argsort(self.t, kind="stable"))

    @staticmethod
    def joined(*parts: Calls) -> Calls:
        """All calls of several, in order of time."""
        return Calls(
            **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Calls)}
        ).ordered()


@dataclass(frozen=True)
class Episode:
    """Something that was done to a stream.

    Attributes
    ----------
    size, share : float
        Multiple, and the share of traffic it is about.
    start, end : float
        Epoch seconds.
    excess_nanos : int
        What was spent over what would have been spent without it; 0 for what is benign.
    excess_t, excess_sum : arrays
        The same as it grows: epoch seconds and nano-dollars so far.
    causes : set of str
        Kinds of alert that name it right.
    """

    kind: str
    benign: bool
    size: float
    share: float
    start: float
    end: float
    excess_nanos: int
    excess_t: Floats
    excess_sum: Ints
    causes: frozenset[str]

    @property
    def material(self) -> bool:
        return not self.benign and self.excess_nanos >= MATERIAL_NANOS

    @property
    def large(self) -> bool:
        return not self.benign and self.excess_nanos >= LARGE_NANOS

    def lost_until(self, at: float) -> int:
        """Excess spent before an instant, nano-dollars."""
        index = int(np.searchsorted(self.excess_t, at, side="right"))
        return int(self.excess_sum[index - 1]) if index else 0


@dataclass(frozen=True)
class Stream:
    """One workflow's calls. Without episodes it is clean: whatever is paged on it is a false page."""

    workflow: str
    client: str
    split: Split
    start: float
    end: float
    warm_until: float
    calls: Calls
    episodes: tuple[Episode, ...]


@dataclass(frozen=True)
class Page:
    """An alert when it first fired; times in epoch seconds. Only critical ones wake somebody."""

    at: float
    started: float
    kind: str
    severity: str
    excess_nanos: int
    score: float
