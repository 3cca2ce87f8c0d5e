"""What goes wrong in the demo, and what only looks like it: scripted events on top of the usual traffic. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final, Literal

from service.demo.call import Call
from service.demo.scenario import RunMaker, diurnal
from service.demo.workflows import BY_NAME, CHAT, COMPLETION, REVIEW, SUMMARIES, SUPPORT

Kind = Literal["retry_loop", "context_growth", "dearer_calls", "launch"]

_GIVES_UP_AFTER: Final = 60
"""Rejections in a row after which a looping client's operator, or its own limit, ends it."""


class Injection:
    """One scripted event, between two instants of event time (epoch seconds).

    Attributes
    ----------
    name : str
        Unique within a demo.
    """

    kind: Kind

    def __init__(self, name: str, workflow: str, start: float, seconds: float) -> None:
        self.name = name
        self.workflow = workflow
        self.start = start
        self.end = start + seconds
        self._rejected = 0

    @property
    def benign(self) -> bool:
        """Whether nobody must be paged."""
        return self.kind == "launch"

    def calls(self) -> Iterator[Call]:
        """Calls that come on top of the usual ones, in order of time."""
        return iter(())

    def touch(self, call: Call) -> None:
        """Change a usual call of its workflow that is made meanwhile."""

    def answered(self, accepted: bool) -> bool:
        """The gateway's answer to one of its calls. False: whoever made them gives up."""
        self._rejected = 0 if accepted else self._rejected + 1
        return self._rejected < _GIVES_UP_AFTER


class RetryLoop(Injection):
    """One agent run whose tool keeps failing: it tries again six times a second with all of its context."""

    kind: Kind = "retry_loop"

    def __init__(
        self, name: str, workflow: str, start: float, seconds: float, *, calls_per_s: float = 6.0
    ) -> None:
        super().__init__(name, workflow, start, seconds)
        self._gap = 1.0 / calls_per_s

    def calls(self) -> Iterator[Call]:
        rng = random.Random(self.name)
        workflow = BY_NAME[self.workflow]
        feature = workflow.features[0]
        customer = f"{workflow.team}-{rng.randint(1, workflow.customers):03d}"
        at, attempt, context = self.start, 1, 18_000
        while at < self.end:
            yield Call(
                at=at,
                workflow=workflow.name,
                team=workflow.team,
                feature=feature,
                customer=customer,
                api_key=f"key-{workflow.name}-{feature}",
                gateway=workflow.gateway,
                provider="openai",
                model="gpt-4.1",
                trace_id=f"{workflow.name}-{self.name}",
                session_id=f"{customer}-{self.name}",
                tokens_in=context,
                tokens_out=rng.randint(120, 320),
                attempt=attempt,
                priced=workflow.prices,
                injection=self.name,
            )
            attempt += 1
            context = min(40_000, context + rng.randint(50, 250))  # each failure is added to the prompt
            at += rng.uniform(0.7, 1.3) * self._gap


class Launch(Injection):
    """Many new customers at once, each of them doing what customers do."""

    kind: Kind = "launch"
    ramp_s: Final = 4.0

    def __init__(
        self,
        name: str,
        workflow: str,
        start: float,
        seconds: float,
        *,
        busiest: float,
        multiple: float = 20.0,
    ) -> None:
        super().__init__(name, workflow, start, seconds)
        self._busiest = busiest
        self._multiple = multiple

    def calls(self) -> Iterator[Call]:
        rng = random.Random(self.name)
        workflow = BY_NAME[self.workflow]
        maker = RunMaker(workflow, rng, f"{self.name}-")
        per_s = (self._multiple - 1.0) * workflow.calls_per_s / workflow.calls_per_run
        pending: list[Call] = []
        at, customers = self.start, 0
        while at < self.end:
            at += rng.expovariate(per_s * diurnal(at, self._busiest))
            into, left = at - self.start, self.end - at
            if rng.random() * self.ramp_s >= min(into, left, self.ramp_s):
                continue
            if rng.random() < 0.7 or not customers:
                customers += 1
            customer = f"{workflow.team}-new-{rng.randint(max(1, customers - 200), customers):04d}"
            pending.sort(key=lambda call: call.at)
            while pending and pending[0].at <= at:
                yield pending.pop(0)
            pending += maker.run(at, rng.randrange(len(maker.rows)), customer, self.name)
        yield from sorted(pending, key=lambda call: call.at)


class ContextGrowth(Injection):
    """A release forgets to cut the history: every call of the workflow drags a growing context along."""

    kind: Kind = "context_growth"
    factor: Final = 9.0
    ramp_s: Final = 45.0

    def touch(self, call: Call) -> None:
        grown = min(1.0, (call.at - self.start) / self.ramp_s)
        call.tokens_in = round(call.tokens_in * (1.0 + (self.factor - 1.0) * grown))
        call.injection = self.name


class DearerModel(Injection):
    """Somebody switches the workflow to a model that costs fifteen times as much."""

    kind: Kind = "dearer_calls"

    def touch(self, call: Call) -> None:
        call.provider, call.model = "anthropic", "claude-opus-4-5"
        call.injection = self.name


def script(start: float, busiest: float, seconds: float | None) -> Iterator[Injection]:
    """The scripted events by their start.

    Parameters
    ----------
    start : float
        When the live traffic begins, epoch seconds of event time.
    seconds : float or None
        Length of the demo in event time: one loop and one launch, both over before its end. None: it goes on
        until it is stopped, and so do the events, of every kind.
    """
    if seconds is not None:
        yield RetryLoop("loop-1", SUPPORT.name, start + 0.15 * seconds, 0.6 * seconds)
        yield Launch("launch-1", CHAT.name, start + 0.30 * seconds, 0.58 * seconds, busiest=busiest)
        return
    act = 0
    while True:
        act += 1
        yield RetryLoop(f"loop-{act}a", SUPPORT.name, start + 20, 180)
        yield Launch(f"launch-{act}", CHAT.name, start + 75, 150, busiest=busiest)
        yield ContextGrowth(f"growth-{act}", REVIEW.name, start + 270, 420)
        yield RetryLoop(f"loop-{act}b", COMPLETION.name, start + 420, 180)
        yield DearerModel(f"dearer-{act}", SUMMARIES.name, start + 750, 360)
        start += 1_200
