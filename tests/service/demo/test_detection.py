"""The demo's story without a broker: its traffic through the same fold and step that the roles run."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from schemas.alerts import Alert
from schemas.rollups import Rollup, Tick
from schemas.throttles import ThrottleCommand
from service.demo.call import publish
from service.demo.control import control_records
from service.demo.gateway import Gateway
from service.demo.injections import Injection, script
from service.demo.ledger import Sum
from service.demo.traffic import Traffic
from service.detect.desk import Desk
from service.detect.state import WorkflowState
from service.ingest.fold import Fold
from service.ingest.price import Pricer
from service.ingest.record import RawRecord
from service.rules.config import ConfigBook, control_key
from service.settings import IngestSettings
from service.throttles import desk as throttles_desk

LIVE = 1_790_000_000.0
PAST_S = 8 * 3_600.0
BUSIEST = LIVE + 5_400.0


@dataclass
class Story:
    """One lane, one desk and one gateway, in event time."""

    seed: int
    alerts: list[tuple[float, Alert]] = field(default_factory=list)
    commands: list[tuple[float, ThrottleCommand]] = field(default_factory=list)
    published: dict[str, Sum] = field(default_factory=dict)
    states: dict[str, WorkflowState] = field(default_factory=dict)
    rejected: int = 0

    def __post_init__(self) -> None:
        self.traffic = Traffic(self.seed, LIVE - PAST_S, BUSIEST)
        self._now = LIVE - PAST_S
        self._fold = Fold(0, 1, IngestSettings(), Pricer())
        self._desk = Desk(0, self.states.get)
        self._gateway = Gateway()
        self._pricer = Pricer()
        self._offset = self._rollups = 0
        self._scripted: dict[str, Injection] = {}
        self._book = ConfigBook.empty()
        for offset, record in enumerate(control_records()):
            self._book = self._book.apply(control_key(record), record.to_json(), offset)
        self._throttles = throttles_desk.Desk()
        self._throttles.use(self._book)

    def inject(self, injection: Injection) -> None:
        self._scripted[injection.name] = injection
        self.traffic.inject(injection)

    def play(self, until: float, batch_s: float) -> None:
        """Go on to `until`, committing every `batch_s` seconds as ingest does."""
        while self._now < until:
            self._now = min(until, self._now + batch_s)
            for call in self.traffic.take(self._now):
                made = self._gateway.admit(call)
                if call.injection and not self._scripted[call.injection].answered(made):
                    self.traffic.end(call.injection)
                if not made:
                    self.rejected += 1
                    continue
                sent = publish(call, f"e-{self._offset}", self._pricer)
                before = self.published.get(call.workflow, Sum())
                self.published[call.workflow] = before + Sum(1, sent.nanos)
                self._fold.take([RawRecord(0, self._offset, int(call.at * 1_000), None, sent.value, ())])
                self._offset += 1
            self._judge()

    def _judge(self) -> None:
        batch = self._fold.drain()
        records: list[Rollup | Tick] = [*batch.rollups, *([batch.tick] if batch.tick else [])]
        for record in records:
            applied = self._desk.apply(record, self._rollups, self._now, self._book)
            self._rollups += 1
            self.states.update(applied.changed)
            self.alerts += [(self._now, alert) for alert in applied.effects.alerts]
            for alert in applied.effects.alerts:
                self._throttles.take(alert)
        for command in self._throttles.turn(self._now).commands:
            self._gateway.obey(command, self._now)
            self.commands.append((self._now, command))


@pytest.mark.parametrize("seed", [7, 11])
def test_the_loop_is_stopped_in_seconds_and_the_launch_is_only_noticed(seed: int) -> None:
    story = Story(seed)
    story.play(LIVE, 60.0)
    assert story.alerts == [], "nothing happens in the past"
    loop, launch = script(LIVE, BUSIEST, 60.0)
    story.inject(loop)
    story.inject(launch)
    story.play(LIVE + 60, 0.2)

    told = [(at, alert) for at, alert in story.alerts if alert.sequence == 1]
    pages = [(at, alert) for at, alert in told if alert.severity == "critical"]
    assert [alert.workflow for _, alert in pages] == ["support-agent"]
    at, page = pages[0]
    assert at - loop.start < 8
    assert page.kind in ("retry_loop", "runaway_trace")
    assert page.evidence.traces[0].trace_id == "support-agent-loop-1"
    assert "support-agent-loop-1" in page.summary
    assert page.excess_nanos > 0

    commands = [c for _, c in story.commands if c.action.action != "release"]
    assert [(c.scope.kind, c.scope.value, c.mode) for c in commands] == [
        ("trace", "support-agent-loop-1", "enforce")
    ]
    assert story.rejected == 60

    notices = [alert for _, alert in told if alert.severity == "info"]
    assert [(alert.workflow, alert.kind) for alert in notices] == [("chat", "launch")]
    assert {w: Sum(s.totals.calls, s.totals.cost) for w, s in story.states.items()} == story.published
