"""Seeded cost events in the wire format: many workflows of very different size, agent runs of a few calls."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

import orjson

START: Final = 1_769_817_600.0  # 2026-01-31T00:00:00Z
MODELS: Final = (
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini"),
    ("anthropic", "claude-sonnet-4-5"),
    ("google", "gemini-2.5-flash"),
)


def event_lines(
    count: int, *, workflows: int = 50, span_s: float = 21_600.0, seed: int = 7
) -> Iterator[bytes]:
    """`count` events of `span_s` seconds as JSON lines, in order of time.

    Half of the workflows report what a call cost; the others leave pricing to Tidegate.
    """
    chance = random.Random(seed)
    at = START
    for i in range(count):
        at += chance.expovariate(count / span_s)
        workflow = min(int(chance.paretovariate(0.8)) - 1, workflows - 1)
        provider, model = MODELS[workflow % len(MODELS)]
        tokens_in = int(chance.lognormvariate(7, 1)) + 1
        tokens_out = int(chance.lognormvariate(5, 1)) + 1
        event = {
            "event_id": f"call-{i:010d}",
            "occurred_at": round(at, 3),
            "provider": provider,
            "model": model,
            "workflow": f"workflow-{workflow:03d}",
            "team": f"team-{workflow % 7}",
            "customer": f"customer-{min(int(chance.paretovariate(1)), 500)}",
            "api_key": f"key-{workflow % 9}",
            "trace_id": f"run-{i // 100}-{workflow}-{chance.randrange(20)}",
            "input_tokens": tokens_in,
            "cached_input_tokens": tokens_in // 3,
            "output_tokens": tokens_out,
            "status": "success",
            "latency_ms": round(chance.random() * 2_000, 1),
        }
        if workflow % 2:
            event["cost_usd"] = f"{(tokens_in * 2.5 + tokens_out * 10) / 1e6:.9f}"
        yield orjson.dumps(event) + b"\n"
