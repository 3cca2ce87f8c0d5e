"""`tidegate replay` with records that have dates: they hold by event time, so a replay is the same at any time."""

from __future__ import annotations

from pathlib import Path

import orjson

from schemas.base import format_timestamp, parse_timestamp
from service.replay import Replay, load_book

T0 = 1_767_260_000.0
WATCH = """
kind: watch
name: teams
scope: team
effective_at: {start}
expires_at: {end}
"""


def test_a_record_holds_in_event_time(tmp_path: Path) -> None:
    config = tmp_path / "watch.yaml"
    start, end = (format_timestamp(parse_timestamp(T0 + after)) for after in (100, 200))
    config.write_text(WATCH.format(start=start, end=end), encoding="utf-8")
    replay = Replay(load_book(config))
    for i in range(1_500):
        event = {
            "event_id": f"e{i}",
            "occurred_at": T0 + i / 5,
            "workflow": "flow",
            "team": "care",
            "provider": "openai",
            "model": "gpt-4o",
            "cost_usd": "0.001",
        }
        replay.feed(orjson.dumps(event))
    replay.drain()
    calls = replay.states["team\x1fcare"].totals.calls
    assert 500 - 55 <= calls <= 500 + 55, "to within a bucket of ten seconds at either end"
    assert replay.states["flow"].totals.calls == 1_500
