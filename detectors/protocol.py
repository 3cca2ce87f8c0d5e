"""What a detector sees, says and promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

Plain = Any
"""Nested lists, dicts with str keys, numbers, strings, None: what MessagePack and JSON hold."""


class Trace(Protocol):
    """Running totals of one trace, from its first call on. Read only; the caller may pass what it keeps anyway.

    Attributes
    ----------
    cost_nanos : int
        Nano-dollars.
    max_input_tokens : int
        Largest context of any of its calls.
    started, last : float
        Epoch seconds of event time.
    """

    trace_id: str
    calls: int
    cost_nanos: int
    max_input_tokens: int
    started: float
    last: float


# Nobody changes a window or a score, and yet they are not frozen: with every field of every bucket checked against
# that, they would take five times as long to make.
@dataclass(slots=True, unsafe_hash=True)
class Window:
    """What one workflow did in one stretch of event time. Windows come in order of `start` and may have gaps.

    Attributes
    ----------
    start, seconds : float
        Epoch seconds; length.
    traces : float
        Distinct traces that were active, plus calls without a trace (an estimate: it comes from a sketch).
    reference_nanos, reference_output_nanos : int
        List price of all tokens as if nothing was cached; output's share of it. 0 where no price is known.
    live : sequence of Trace
        Traces that had a call in this window.
    finished : sequence of Trace
        Traces that ended (went silent) by the end of this window; each is given once.
    usual_nanos_per_s : float
        What the workflow usually spends per second at this time of day; 0 while unknown.
    customers, api_keys : sequence of (name, calls, nano-dollars)
        The dearest ones in this window, each once; the others are left out.
    begun : float or None
        Traces that began in this window (an estimate). A trace that goes on for minutes is in many windows'
        `traces`, and in one window's `begun`. None where that is not known.
    """

    start: float
    seconds: float
    calls: int
    cost_nanos: int
    traces: float
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reference_nanos: int = 0
    reference_output_nanos: int = 0
    errors: int = 0
    live: Sequence[Trace] = field(default=())
    finished: Sequence[Trace] = field(default=())
    usual_nanos_per_s: float = 0.0
    customers: Sequence[tuple[str, int, int]] = field(default=())
    api_keys: Sequence[tuple[str, int, int]] = field(default=())
    begun: float | None = None

    @property
    def end(self) -> float:
        return self.start + self.seconds

    @property
    def begun_traces(self) -> float:
        return self.traces if self.begun is None else self.begun


@dataclass(slots=True, unsafe_hash=True)
class Score:
    """A verdict with the numbers it rests on.

    Attributes
    ----------
    value, threshold : float
        How unusual, in the detector's own scale (0 = usual), and from where on it speaks.
    usual_nanos, excess_nanos, gate_nanos : int
        What the judged traffic would usually have cost, the dollars over that, and how many are needed.
    factor : str
        Which quantity is unusual.
    culprits : tuple of str
        Trace ids (of a newcomer: its name) that are to blame, the dearest first.
    ready : bool
        Enough was learnt to judge.
    since : float or None
        When what is unusual began, epoch seconds; None if the detector cannot tell.
    """

    value: float
    threshold: float
    usual_nanos: int = 0
    excess_nanos: int = 0
    gate_nanos: int = 0
    factor: str = ""
    culprits: tuple[str, ...] = ()
    ready: bool = True
    since: float | None = None

    @property
    def speaks(self) -> bool:
        """Unusual, and dear enough to matter."""
        return self.ready and self.value >= self.threshold and self.excess_nanos >= self.gate_nanos > 0


@dataclass(frozen=True, slots=True)
class Contribution:
    """One factor's share of the change in spend against the usual."""

    factor: str
    share_nanos: int
    before: float
    after: float


class Detector(Protocol):
    """One opinion on one workflow's windows.

    Promises, each held by the battery: deterministic; `load(dump())` at any point changes nothing; the dump is
    plain and bounded whatever comes; `score` and `explain` change nothing; more of the bad never scores lower;
    no clock and no I/O.
    """

    name: ClassVar[str]
    format: ClassVar[int]
    """Of its dump. A dump of another format is not read: the detector starts fresh."""
    params: Any
    """A frozen dataclass of tunables. May be replaced between calls; what was learnt stays."""

    def learn(self, window: Window, *, frozen: bool = False) -> None:
        """Move on by one closed window.

        `frozen` (an incident fires, a launch runs) moves time on but teaches nothing: the baseline is kept as
        it was, so that an incident does not become the new normal.
        """

    def score(self, window: Window) -> Score:
        """How unusual the window is, given everything learnt before it. The window may still be open."""

    def explain(self, window: Window) -> Sequence[Contribution]:
        """What the window's difference from the usual consists of. Shares add up to the difference."""

    def dump(self) -> Plain:
        """Everything learnt, as plain data."""

    @classmethod
    def load(cls, plain: Plain, params: Any) -> Self:
        """The detector that was dumped. Raises ValueError if `plain` is not of its shape."""
