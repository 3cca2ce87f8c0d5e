"""One trace: what it has cost, which outcomes it led to, and what both together amount to.

What is told of a trace is a function of the two alone (`Trace.told`), and what is written is by how much that has
changed. So the order in which calls and outcomes come, and into how many pieces, decides nothing: whoever adds up
what was written has what the trace amounts to now.
"""

from __future__ import annotations

from bisect import insort
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from schemas.base import MAX_INT
from schemas.events import UNATTRIBUTED, Outcome
from schemas.rollups import BUCKET_SECONDS

VERSION: Final = 1
MAX_OUTCOMES: Final = 1_000
"""Of one trace: each is kept, and what a trace is told as is worked out over all of them."""
MAX_WORKFLOWS: Final = 16
"""Told apart in one trace; what it costs in others counts, without a name."""
_OTHERS: Final = ""
_DIGEST: Final = 16
_THOUSANDTHS: Final = 1_000

Place = tuple[str, str, int]
"""Workflow, kind of outcome, and start of the bucket in epoch seconds: what sums are kept by."""


class UnreadableTrace(ValueError):
    """Bytes that no version of the codec wrote."""


class Sums(NamedTuple):
    """What the outcomes of one place amount to; the fields of `schemas.outcomes.OutcomeRollup`."""

    outcomes: int = 0
    quantity_thousandths: int = 0
    unmatched: int = 0
    traces: int = 0
    cost_nanos: int = 0
    calls: int = 0
    unpriced_calls: int = 0

    def plus(self, other: Sums) -> Sums:
        return Sums(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: Sums) -> Sums:
        return Sums(*(a - b for a, b in zip(self, other, strict=True)))


NOTHING: Final = Sums()


class Spent(msgspec.Struct, array_like=True):
    """What a trace has cost in one workflow."""

    cost_nanos: int = 0
    calls: int = 0
    unpriced_calls: int = 0


class Reached(msgspec.Struct, array_like=True, frozen=True, order=True):
    """An outcome. They are in order of time: the earliest is the one that its trace is counted with."""

    bucket: int
    digest: bytes
    kind: str
    quantity: int
    workflow: str | None = None

    @classmethod
    def of(cls, outcome: Outcome) -> Reached:
        start = int(outcome.occurred_at.timestamp()) // BUCKET_SECONDS * BUCKET_SECONDS
        quantity = round(outcome.quantity * _THOUSANDTHS)
        return cls(start, digest(outcome.outcome_id), outcome.kind, quantity, outcome.workflow)


def digest(outcome_id: str) -> bytes:
    """What an outcome is recognised by: 16 bytes instead of up to 800."""
    return blake2b(outcome_id.encode(), digest_size=_DIGEST).digest()


class Trace(msgspec.Struct, array_like=True):
    """Plain state.

    Attributes
    ----------
    touched : int
        When something was last heard of it, epoch seconds of the topics' time.
    spent : dict of str to Spent
        By workflow.
    reached : list of Reached
        In order.
    """

    touched: int
    spent: dict[str, Spent]
    reached: list[Reached]

    @classmethod
    def fresh(cls) -> Trace:
        return cls(0, {}, [])

    def spend(self, workflow: str, cost_nanos: int, calls: int, unpriced_calls: int) -> None:
        """Add what calls and charges cost. A sum that no integer of the contract holds stays at the largest."""
        spent = self.spent.get(workflow)
        if spent is None:
            if len(self.spent) >= MAX_WORKFLOWS:
                workflow = _OTHERS
            spent = self.spent.setdefault(workflow, Spent())
        spent.cost_nanos = min(spent.cost_nanos + cost_nanos, MAX_INT)
        spent.calls = min(spent.calls + calls, MAX_INT)
        spent.unpriced_calls = min(spent.unpriced_calls + unpriced_calls, MAX_INT)

    def reach(self, outcome: Reached) -> None:
        """Add an outcome that is not there yet."""
        insort(self.reached, outcome)

    @property
    def full(self) -> bool:
        """One more outcome would be too many."""
        return len(self.reached) >= MAX_OUTCOMES

    def told(self) -> dict[Place, Sums]:
        """What the trace amounts to, by place. Its outcomes share its cost equally, to the nano-dollar."""
        if not self.reached:
            return {}
        cost = min(sum(spent.cost_nanos for spent in self.spent.values()), MAX_INT)
        calls = min(sum(spent.calls for spent in self.spent.values()), MAX_INT)
        unpriced = min(sum(spent.unpriced_calls for spent in self.spent.values()), MAX_INT)
        unmatched, home, count = int(not self.spent), self._home(), len(self.reached)
        found: dict[Place, Sums] = {}
        for i, outcome in enumerate(self.reached):
            place = outcome.workflow or home, outcome.kind, outcome.bucket
            found[place] = found.get(place, NOTHING).plus(
                Sums(
                    1,
                    outcome.quantity,
                    unmatched,
                    int(i == 0),
                    _part(cost, i, count),
                    _part(calls, i, count),
                    _part(unpriced, i, count),
                )
            )
        return found

    def _home(self) -> str:
        """Whose outcomes those are that do not say: the workflow's in which most was spent."""
        named = [(-s.cost_nanos, -s.calls, name) for name, s in self.spent.items() if name != _OTHERS]
        return min(named)[2] if named else UNATTRIBUTED


def _part(whole: int, i: int, count: int) -> int:
    """The i-th of `count` parts that are as equal as integers can be, and add up to the whole."""
    return whole * (i + 1) // count - whole * i // count


def change(before: dict[Place, Sums], after: dict[Place, Sums]) -> dict[Place, Sums]:
    """By how much the sums have changed, where they have."""
    changes = {
        place: after.get(place, NOTHING).minus(before.get(place, NOTHING))
        for place in [*before, *(place for place in after if place not in before)]
    }
    return {place: sums for place, sums in changes.items() if sums != NOTHING}


_decode: Final = msgspec.msgpack.Decoder(Trace).decode
_encode: Final = msgspec.msgpack.Encoder().encode


def dump(trace: Trace) -> bytes:
    """One version byte, then MessagePack."""
    return bytes((VERSION,)) + _encode(trace)


def load(data: bytes) -> Trace:
    """Bytes to a trace. Raises UnreadableTrace."""
    if not data or data[0] != VERSION:
        raise UnreadableTrace(f"version {data[0] if data else 'none'}, this release reads {VERSION}")
    try:
        return _decode(memoryview(data)[1:])
    except msgspec.MsgspecError as error:
        raise UnreadableTrace(str(error)) from None
