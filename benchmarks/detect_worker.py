"""The detect worker with a watch in its hand: what is applied, encoded and looked at, in CPU seconds."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final, cast

from benchmarks.traffic import START_MS
from detectors.protocol import Detector, Score, Window
from detectors.unit_cost import UnitCost
from schemas.rollups import Rollup, Tick
from service.detect import state as codec
from service.detect.clerk import read_rollup
from service.detect.desk import Desk
from service.detect.state import WorkflowState
from service.rules.config import ConfigBook
from service.settings import Settings

BEGIN: Final = START_MS / 1_000
"""Event time at which the traffic begins, epoch seconds."""
_TRIALS: Final = 10_000


class _Timed:
    """A detector with a watch on its two verbs, and on the question whether it is worth asking."""

    def __init__(self, inner: Detector, watch: Watch) -> None:
        object.__setattr__(self, "inner", inner)
        object.__setattr__(self, "watch", watch)

    def score(self, window: Window) -> Score:
        begun = time.process_time()
        score: Score = self.inner.score(window)
        self.watch.note(f"{self.inner.name}.score", time.process_time() - begun)
        return score

    def learn(self, window: Window, *, frozen: bool = False) -> None:
        begun = time.process_time()
        self.inner.learn(window, frozen=frozen)
        self.watch.note(f"{self.inner.name}.learn", time.process_time() - begun)

    def may_speak(self, window: Window) -> bool:
        begun = time.process_time()
        may: bool = cast(UnitCost, self.inner).may_speak(window)
        self.watch.note(f"{self.inner.name}.may_speak", time.process_time() - begun)
        return may

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "inner"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)


@dataclass
class Watch:
    """CPU seconds by detector and verb, between so many pairs of looks at the clock."""

    spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    looks: Counter[str] = field(default_factory=Counter)

    def note(self, what: str, seconds: float) -> None:
        self.spent[what] += seconds
        self.looks[what] += 1

    def seconds(self) -> dict[str, float]:
        """What was spent, without the looking."""
        looking = 0.0
        for _ in range(_TRIALS):
            begun = time.process_time()
            looking += time.process_time() - begun
        return {what: max(s - self.looks[what] * looking / _TRIALS, 0.0) for what, s in self.spent.items()}


@dataclass
class Stretch:
    """What was handled in some minutes of event time."""

    rollups: int = 0
    """Of workflows, and the pulses of gateways."""
    ticks: int = 0
    woken: int = 0
    """States that a tick changed."""
    read_s: float = 0.0
    apply_s: float = 0.0
    encode_s: float = 0.0
    changelog_bytes: int = 0
    alerts: Counter[str] = field(default_factory=Counter)
    active: set[tuple[str, int]] = field(default_factory=set)
    """Workflow and minute."""

    @property
    def judged_s(self) -> float:
        return self.apply_s + self.encode_s


class Worker:
    """One desk and a table in memory, handled as the detect role handles them."""

    def __init__(self) -> None:
        self.states: dict[str, WorkflowState] = {}
        self.desk = Desk(0, self._lookup)
        self.watch: Watch | None = None
        self._book = ConfigBook.empty()
        self._offset = 0
        settings = Settings().detect
        self._soft, self._hard = settings.state_soft_bytes, settings.state_hard_bytes

    def handle(self, batch: list[bytes], into: Stretch) -> None:
        """Read, apply and encode the records of one commit."""
        begun = time.process_time()
        records = [read_rollup(value) for value in batch]
        into.read_s += time.process_time() - begun
        for record in records:
            self._handle(record, into)

    def _handle(self, record: Rollup | Tick, into: Stretch) -> None:
        begun = time.process_time()
        applied = self.desk.apply(record, self._offset, BEGIN, self._book)
        handled = time.process_time()
        self._offset += 1
        into.apply_s += handled - begun
        for workflow, state in applied.changed.items():
            self.states[workflow] = state
            into.changelog_bytes += self._encoded(state, into)
        if isinstance(record, Tick):
            into.ticks += 1
            into.woken += len(applied.changed)
        else:
            into.rollups += 1
            if record.scope is None:
                into.active.add((record.workflow, int(record.bucket_start.timestamp()) // 60))
        into.alerts.update(alert.severity for alert in applied.effects.alerts if alert.sequence == 1)

    def _encoded(self, state: WorkflowState, into: Stretch) -> int:
        held = state.detectors
        state.detectors = {name: getattr(kept, "inner", kept) for name, kept in held.items()}
        begun = time.process_time()
        data = codec.encode(state, soft=self._soft, hard=self._hard)
        into.encode_s += time.process_time() - begun
        state.detectors = held
        return len(state.workflow) + len(data)

    def look_inside(self) -> Watch:
        """From now on detectors are timed."""
        self.watch = Watch()
        for state in self.states.values():
            self._time(state, self.watch)
        return self.watch

    def _lookup(self, workflow: str) -> WorkflowState | None:
        state = self.states.get(workflow)
        if state is None and self.watch is not None:
            state = WorkflowState.fresh(workflow)
            self._time(state, self.watch)
        return state

    def _time(self, state: WorkflowState, watch: Watch) -> None:
        state.detectors = {n: cast(Detector, _Timed(kept, watch)) for n, kept in state.detectors.items()}

    def sizes(self) -> list[int]:
        """Bytes of each state as the changelog has it."""
        return [len(codec.encode(state, soft=self._soft, hard=self._hard)) for state in self.states.values()]
