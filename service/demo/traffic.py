"""All calls of the demo in one order of event time: the usual ones, and those of the scripted events."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count

from service.demo.call import Call
from service.demo.injections import Injection
from service.demo.scenario import usual_calls
from service.demo.workflows import WORKFLOWS


class Traffic:
    """The stream of calls, taken piece by piece as event time goes on.

    Parameters
    ----------
    start : float
        Epoch seconds of event time of the first call.
    busiest : float
        The busiest instant of the day.
    """

    def __init__(self, seed: int, start: float, busiest: float) -> None:
        self._order = count()
        self._next: list[tuple[float, int, Call, Iterator[Call]]] = []
        self._touching: list[Injection] = []
        self._ended: set[str] = set()
        for workflow in WORKFLOWS:
            self._push(usual_calls(workflow, seed, start, busiest))

    def inject(self, injection: Injection) -> None:
        """Add a scripted event. It must start after what was taken already."""
        self._touching.append(injection)
        self._push(injection.calls())

    def end(self, name: str) -> None:
        """Whoever makes the calls of a scripted event makes no more."""
        self._ended.add(name)

    def take(self, until: float) -> Iterator[Call]:
        """Every call before `until` that was not taken yet, in order of time."""
        while self._next and self._next[0][0] < until:
            _, _, call, calls = heapq.heappop(self._next)
            if call.injection in self._ended:
                continue
            self._push(calls)
            if call.injection is None and self._touching:
                self._touch(call)
            yield call

    def _push(self, calls: Iterator[Call]) -> None:
        call = next(calls, None)
        if call is not None:
            heapq.heappush(self._next, (call.at, next(self._order), call, calls))

    def _touch(self, call: Call) -> None:
        self._touching = [t for t in self._touching if call.at < t.end and t.name not in self._ended]
        for injection in self._touching:
            if injection.workflow == call.workflow and injection.start <= call.at:
                injection.touch(call)
