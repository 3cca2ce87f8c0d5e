"""From events on: what ingest says of charges, prices and repetitions is what detect tells."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from schemas.alerts import Alert
from service.replay import Replay
from tests.service.detect.builders import BOOK, T0

START = datetime.fromtimestamp(T0 + 34_200, UTC)


class Gateway:
    """Publishes events of the workflow `chat` into a replay, and keeps the alerts."""

    def __init__(self) -> None:
        self.replay = Replay(BOOK)
        self.alerts: list[Alert] = []
        self.spent = 0
        self._serial = 0

    def say(self, at: float, *, event_id: str | None = None, **fields: Any) -> None:
        self._serial += 1
        event = {
            "event_id": event_id or f"e{self._serial}",
            "occurred_at": (START + timedelta(seconds=at)).isoformat(),
            "workflow": "chat",
            "provider": "openai",
            "model": "gpt-4o",
            "input_tokens": 1_000,
            "output_tokens": 100,
        }
        effects = self.replay.feed(orjson.dumps(event | fields))
        self._told(effects.alerts if effects else [])

    def calls(self, start: int, seconds: int, **fields: Any) -> None:
        """Two calls a second."""
        for i in range(2 * seconds):
            self.say(start + i / 2, trace_id=f"t{start}-{i // 4}", **fields)

    def end(self) -> list[Alert]:
        self._told(self.replay.drain().alerts)
        assert sum(self.replay.tally.refused.values()) == 0
        return self.alerts

    def _told(self, alerts: list[Alert]) -> None:
        self.alerts += alerts


def test_a_model_that_nobody_has_a_price_for_is_told_until_the_gateway_says_what_it_costs() -> None:
    gateway = Gateway()
    gateway.calls(0, 300)
    gateway.calls(300, 400, model="gpt-99")
    gateway.calls(700, 700, model="gpt-99", cost_usd="0.01")
    found = gateway.end()
    assert {(a.kind, a.severity) for a in found} == {("data_quality", "warning")}
    assert [a.status for a in found].count("resolved") == 1
    assert len({a.fingerprint for a in found}) == 1
    first, last = found[0], found[-1]
    assert 0 <= (first.updated_at - START).total_seconds() - 300 <= 60
    assert "calls of openai/gpt-99 from 09:35" in first.summary
    assert "have no price" in first.summary
    assert last.status == "resolved"


def test_a_month_of_seats_and_a_cluster_by_the_hour_are_spent_and_not_alerted() -> None:
    gateway = Gateway()
    charge = {"kind": "seats", "quantity": 25, "unit": "seat"}
    gpu = {"kind": "gpu_hours", "quantity": 8, "unit": "hour"}
    calm: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0, "provider": "acme"}
    for minute in range(30):
        gateway.calls(60 * minute, 60)
        gateway.say(60 * minute + 59.9, model="seats", charge=charge, cost_usd="500", **calm)
        gateway.say(60 * minute + 59.95, model="h100", charge=gpu, cost_usd="16.40", **calm)
    assert gateway.end() == []
    state = gateway.replay.states["chat"]
    assert state.totals.calls == 30 * 120
    assert state.totals.charges == 60
    assert state.totals.charge_cost == 30 * 516_400_000_000
    assert state.totals.call_cost == 30 * 120 * (1_000 * 2_500 + 100 * 10_000)
    assert sum(b.cost for b in state.buckets) <= state.totals.call_cost


def test_a_gateway_that_publishes_everything_twice_is_told() -> None:
    gateway = Gateway()
    for i in range(600):
        gateway.say(i / 2, event_id=f"call-{i}")
        gateway.say(i / 2, event_id=f"call-{i}")
    found = gateway.end()
    assert {a.verdict.detector for a in found} == {"data_quality.duplicates"}
    assert 0.45 < found[0].verdict.score <= 0.5
    assert gateway.replay.states["chat"].totals.calls == 600
