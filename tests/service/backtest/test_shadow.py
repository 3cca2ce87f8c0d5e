"""A shadow that begins in the middle judges as if it had been there from the start."""

from __future__ import annotations

from schemas.alerts import Alert
from schemas.rollups import Rollup, Tick
from service.backtest.shadow import Shadow
from service.detect.state import encode
from service.replay import Replay
from service.rules.config import ConfigBook
from tests.service.backtest.test_judged import QUIET, book
from tests.service.backtest.traffic import LOOP_AT, lines


class Recorded(Replay):
    """A replay that keeps what ingest made, what came of it, and the states of a moment."""

    def __init__(self, config: ConfigBook) -> None:
        super().__init__(config)
        self.records: list[tuple[Rollup | Tick, list[Alert]]] = []
        self.saved: dict[str, bytes] = {}
        self.saved_at = -1

    def judge(self, record: Rollup | Tick) -> list[Alert]:
        alerts = super().judge(record)
        self.records.append((record, alerts))
        if self.saved_at < 0 and isinstance(record, Tick) and record.watermark.timestamp() > LOOP_AT - 300:
            self.saved_at = len(self.records)
            self.saved = {key: encode(state) for key, state in self.states.items()}
        return alerts


def recorded() -> Recorded:
    replay = Recorded(book())
    for line in lines():
        replay.feed(line)
    replay.drain()
    return replay


def shadowed(live: Recorded, candidate: ConfigBook) -> Shadow:
    shadow = Shadow(candidate, live.saved, 0.0)
    for offset, (record, alerts) in enumerate(live.records):
        if offset >= shadow.starts[0]:
            shadow.take(record, offset, 0.0, 0)
            for alert in alerts:
                shadow.live(alert)
    return shadow


def test_the_live_configuration_in_the_shadow_tells_what_live_tells() -> None:
    live = recorded()
    assert live.saved_at > 0
    compared = shadowed(live, book()).comparison()
    assert compared.same
    assert len(compared.unchanged) >= 1


def test_a_candidate_is_told_apart_and_states_that_cannot_be_read_begin_anew() -> None:
    live = recorded()
    live.saved["broken"] = b"\xff"
    shadow = shadowed(live, book(QUIET))
    assert shadow.unreadable == 1
    assert [i.workflow for i in shadow.comparison().lost] == ["agent"]
