"""Cost events as raw JSON text, to be spoiled one field at a time."""

from __future__ import annotations

import json

SMALLEST = {"event_id": "e-1", "occurred_at": 1769868451.25, "provider": "openai", "model": "gpt-4o"}


def with_field(field: str, text: str) -> bytes:
    """The smallest event with one more field, or another value for one, whose value is this JSON text."""
    others = {name: value for name, value in SMALLEST.items() if name != field}
    body = ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in others.items())
    return f'{{{body}, "{field}": {text}}}'.encode()


def without(field: str) -> bytes:
    """The smallest event without one of its fields."""
    return json.dumps({name: value for name, value in SMALLEST.items() if name != field}).encode()


def padded(size: int) -> bytes:
    """The smallest event with an unknown field that makes it `size` bytes."""
    start = json.dumps({**SMALLEST, "padding": ""})[:-2]
    return (start + "x" * (size - len(start) - 2) + '"}').encode()
