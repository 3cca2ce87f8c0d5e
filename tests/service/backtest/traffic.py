"""Cost events of a few agents, some of which loop: small enough to be judged many times over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson

T0 = 1_769_817_600
LOOP_AT = T0 + 200 * 10
LOOP_S = 60
END = LOOP_AT + 300


def events(
    workflows: tuple[str, ...] = ("agent", "helper"), *, start: int = T0, dollars: float = 1.0
) -> Iterator[dict[str, object]]:
    """Three runs of two calls for a cent each every ten seconds; the first workflow then has a run that loops."""
    loop_at, end = start + LOOP_AT - T0, start + END - T0
    for at in range(start, end, 10):
        for workflow in workflows:
            for run in range(3):
                for call in range(2):
                    yield _event(workflow, at + run + call, f"run-{at}-{run}", call, 0.01)
        if loop_at <= at < loop_at + LOOP_S:
            for call in range(60):
                yield _event(workflows[0], at + 8 + call / 60, "run-stuck", at * 100 + call, dollars / 60)


def _event(workflow: str, at: float, trace: str, call: int, usd: float) -> dict[str, object]:
    return {
        "event_id": f"{workflow}-{trace}-{call}",
        "occurred_at": round(at, 3),
        "provider": "openai",
        "model": "gpt-4o",
        "workflow": workflow,
        "team": "care",
        "customer": "acme",
        "trace_id": f"{workflow}-{trace}",
        "input_tokens": round(usd * 400_000),
        "cost_usd": f"{usd:.9f}",
    }


def lines(**more: object) -> list[bytes]:
    """The same as JSON, in order of time."""
    found = sorted(events(**more), key=lambda event: float(str(event["occurred_at"])))  # type: ignore[arg-type]
    return [orjson.dumps(event) for event in found]


def written(path: Path, **more: object) -> Path:
    """A file of them."""
    path.write_bytes(b"\n".join(lines(**more)) + b"\n")
    return path
