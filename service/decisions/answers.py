"""Answers that were given: a question that comes again is answered as it was, and counts once."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from service.decisions.question import AskedCall, Verdict


class _Given(NamedTuple):
    question: int
    until: float
    verdict: Verdict


class Answers:
    """What was answered, by the token that asked and the call's `call_id`. Times are seconds of a monotonic clock.

    A call is the same if its id is and all else it says: a client that gives many calls one id by mistake must
    not have them all pass for the first. That is told by a hash, for a call may be kilobytes.
    """

    def __init__(self, limit: int, remember_s: float) -> None:
        """`limit`: how many are remembered; with one more the oldest is forgotten before its time."""
        self._limit = limit
        self._remember_s = remember_s
        self._given: OrderedDict[tuple[str, str], _Given] = OrderedDict()

    def known(self, token: str, call: AskedCall, now: float) -> Verdict | None:
        """What this call was answered; None if it has no id, or is another one, or that is too long ago."""
        if call.call_id is None:
            return None
        given = self._given.get((token, call.call_id))
        if given is None or given.until <= now or given.question != hash(call):
            return None
        return given.verdict

    def give(self, token: str, call: AskedCall, verdict: Verdict, now: float) -> None:
        """Remember an answer, unless the call has no id. From when it is given, however often it is asked for."""
        if call.call_id is None:
            return
        key = token, call.call_id
        self._given.pop(key, None)
        self._given[key] = _Given(hash(call), now + self._remember_s, verdict)
        # All are remembered for the same time: the first is the next to be over.
        while len(self._given) > self._limit or next(iter(self._given.values())).until <= now:
            self._given.popitem(last=False)

    def __len__(self) -> int:
        return len(self._given)
