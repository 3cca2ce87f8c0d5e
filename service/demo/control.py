"""The config records of the demo: what an operator would put on the config topic, enforcement included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.control import CONTROL_KINDS, Control
from schemas.decode import validate

_RECORDS: Final = (
    {
        "kind": "rule",
        "name": "10-stop-runaway-traces",
        "author": "tidegate demo",
        "reason": "a run that spends far more than its workflow's runs do is stopped, and nothing else",
        "match": {"kinds": ["retry_loop", "runaway_trace"]},
        "scope": "trace",
        "action": {"action": "block", "message": "Stopped by Tidegate: this run spends far too much."},
        "mode": "enforce",
        "duration_s": 600.0,
    },
    {
        "kind": "rule",
        "name": "20-cheaper-summaries",
        "author": "tidegate demo",
        "reason": "summaries work with a small model too",
        "match": {"workflow": "doc-summaries", "severities": ["critical"]},
        "scope": "workflow",
        "action": {"action": "downgrade", "fallback_model": "gemini-2.5-flash"},
        "mode": "enforce",
        "duration_s": 300.0,
    },
    {
        "kind": "rule",
        "name": "30-cheaper-reviews",
        "author": "tidegate demo",
        "reason": "reviews go on with a smaller model until somebody has looked",
        "match": {"workflow": "code-review", "severities": ["critical"]},
        "scope": "workflow",
        "action": {"action": "downgrade", "fallback_model": "claude-haiku-4-5"},
        "mode": "enforce",
        "duration_s": 300.0,
    },
    {
        "kind": "tuning",
        "name": "demo",
        "author": "tidegate demo",
        "reason": "a person who watches wants to see an incident end",
        "settings": {"resolve_s": 45.0, "repeat_s": 15.0},
    },
)


def control_records() -> Sequence[Control]:
    """Rules that enforce, and a tuning with which incidents end sooner than by default."""
    return [validate(CONTROL_KINDS[str(record["kind"])], record) for record in _RECORDS]
