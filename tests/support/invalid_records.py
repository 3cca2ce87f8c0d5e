"""Control records with one fault each, at a known place: made at random from the golden examples."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from schemas.catalog import EXAMPLES
from schemas.control import CONTROL_KINDS

_OF_NO_FIELD: tuple[Any, ...] = ([[]], {"no": ["such"]}, [{}])


def invalid_records(seed: int) -> Iterator[tuple[str, bytes, str]]:
    """Key, value, and the dotted path of what is wrong with it; never ends."""
    rng = random.Random(seed)
    kinds = sorted(CONTROL_KINDS)
    while True:
        kind = rng.choice(kinds)
        document = copy.deepcopy(EXAMPLES[f"config-{kind}"])
        key = f"{kind}/{document['name']}"
        path = rng.choice((_wrong_value, _unknown_field, _missing_field, _another_name))(rng, kind, document)
        yield key, json.dumps(document).encode(), path


def _places(document: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any, tuple[str, ...]]]:
    """Each value within: what holds it, under which key or index, and its path."""
    pairs = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in pairs:
        here = (*path, str(key))
        yield document, key, here
        if isinstance(value, (dict, list)):
            yield from _places(value, here)


def _wrong_value(rng: random.Random, kind: str, document: dict[str, Any]) -> str:
    places = [place for place in _places(document) if not isinstance(place[0][place[1]], (dict, list))]
    holder, key, path = rng.choice(places)
    holder[key] = rng.choice(_OF_NO_FIELD)
    return ".".join(path)


def _unknown_field(rng: random.Random, kind: str, document: dict[str, Any]) -> str:
    inner = [(holder[key], path) for holder, key, path in _places(document) if isinstance(holder[key], dict)]
    holder, path = rng.choice([(document, ()), *inner])
    name = f"x{rng.randrange(1_000_000)}"
    holder[name] = rng.choice((1, "x", None, *_OF_NO_FIELD))
    return ".".join((*path, name))


def _missing_field(rng: random.Random, kind: str, document: dict[str, Any]) -> str:
    required = [name for name, field in CONTROL_KINDS[kind].model_fields.items() if field.is_required()]
    name = rng.choice([*required, "kind"])
    document.pop(name, None)
    return name


def _another_name(rng: random.Random, kind: str, document: dict[str, Any]) -> str:
    document["name"] = f"{document['name']}-{rng.randrange(1_000_000)}"
    return "name"
