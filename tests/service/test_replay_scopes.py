"""`tidegate replay` with a watch in its configuration: judged besides workflows, and never summed with them."""

from __future__ import annotations

from pathlib import Path

import orjson

from service.replay import Replay, load_book

T0 = 1_767_260_000.0
WATCH = """
kind: watch
name: teams
scope: team
---
kind: watch
name: customers
scope: customer
min_usd_per_hour: "0.05"
"""


def replayed(config: Path | None) -> Replay:
    replay = Replay(load_book(config))
    for i in range(600):
        event = {
            "event_id": f"e{i}",
            "occurred_at": T0 + i / 5,
            "workflow": f"flow-{i % 3}",
            "team": "payments" if i % 3 else "care",
            "customer": "acme" if i % 2 else f"c-{i}",
            "gateway": "eu-1",
            "provider": "openai",
            "model": "gpt-4o",
            "trace_id": f"t-{i // 6}",
            "cost_usd": "0.001",
        }
        replay.feed(orjson.dumps(event))
    replay.drain()
    return replay


def test_scopes_are_judged_in_a_replay_and_its_totals_stay_those_of_workflows(tmp_path: Path) -> None:
    config = tmp_path / "watch.yaml"
    config.write_text(WATCH, encoding="utf-8")
    plain, watching = replayed(None), replayed(config)
    assert {key for key in watching.states if "\x1f" in key} == {
        "customer\x1facme",
        "gateway\x1feu-1",
        "team\x1fcare",
        "team\x1fpayments",
    }
    assert {key for key in plain.states if "\x1f" in key} == {"gateway\x1feu-1"}
    assert watching.states["team\x1fpayments"].totals.cost == 400 * 1_000_000
    assert watching.states["customer\x1facme"].totals.calls == 300 - 49, "from the fiftieth call on"
    one, other = plain.summary(), watching.summary()
    assert one["cost_nanos"] == 600 * 1_000_000
    assert set(one["workflows"]) == {"flow-0", "flow-1", "flow-2"}
    assert one | {"config_version": ""} == other | {"config_version": ""}
