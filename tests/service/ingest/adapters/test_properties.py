"""Whatever comes, an adapter answers with documents or a refusal; the same one each time."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.decode import validate
from schemas.events import CostEvent
from schemas.reasons import Refused
from service.ingest.adapters import ADAPTERS, Adapter, adapt, adapter_for
from tests.service.ingest.adapters.golden_files import GOLDEN, Golden

_WORDS: Final = sorted(
    {
        "rows",
        "data",
        "workflow",
        "\ud800",
        "",
        "1.0",
        "success",
        "-1",
        "1e999",
        "2026-01-31T14:07:31Z",
        "{}",
        "[" * 99,
    }
    | {word for case in GOLDEN for word in (*case.record, *map(str, case.record.values())) if len(word) < 80}
)
_SCALARS: Final = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.sampled_from(_WORDS)
    | st.text(max_size=250)
)
_JSON: Final = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(_WORDS) | st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=25,
)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) below a node."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield node, key
        yield from _places(value)


@st.composite
def _mutated(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A golden record in which a few values were replaced, taken away or put elsewhere."""
    case: Golden = draw(st.sampled_from(GOLDEN))
    record = deepcopy(case.record)
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(record))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(("replace", "remove", "move"))):
            case "replace":
                holder[key] = draw(_JSON)
            case "remove":
                del holder[key]
            case _:
                other, there = draw(st.sampled_from(places))
                if not isinstance(other, list) or there < len(other):
                    holder[key] = deepcopy(other.get(there) if isinstance(other, dict) else other[there])
    return case.format, record


def _answer(adapter: Adapter, record: dict[str, Any]) -> Any:
    try:
        return adapt(record, adapter)
    except Refused as refused:
        return refused.reason, refused.path, refused.detail


def _holds(adapter: Adapter, record: dict[str, Any]) -> None:
    before = deepcopy(record)
    answer = _answer(adapter, record)
    assert repr(record) == repr(before)
    assert repr(_answer(adapter, deepcopy(before))) == repr(answer)
    for document in answer if isinstance(answer, list) else ():
        try:
            event = validate(CostEvent, document)
        except Refused:
            continue
        assert event.event_id == document["event_id"]
        assert event.cached_input_tokens + event.cache_write_tokens <= event.input_tokens


@pytest.mark.parametrize("name", sorted(ADAPTERS))
@given(record=st.dictionaries(st.sampled_from(_WORDS) | st.text(max_size=8), _JSON, max_size=8))
def test_anything_becomes_documents_or_a_refusal(name: str, record: dict[str, Any]) -> None:
    _holds(ADAPTERS[name], record)


@given(mutated=_mutated())
def test_a_spoiled_record_becomes_documents_or_a_refusal(mutated: tuple[str, dict[str, Any]]) -> None:
    name, record = mutated
    _holds(ADAPTERS[name], record)


@given(mutated=_mutated())
def test_what_an_adapter_makes_of_json_an_event_can_be_made_of(mutated: tuple[str, dict[str, Any]]) -> None:
    """Only what CloudEvents pass through unread (charges, events of the wire format) is left for it to refuse."""
    name, record = mutated
    try:
        record = orjson.loads(orjson.dumps(record))
    except (TypeError, ValueError):
        return  # what is no JSON never gets this far
    answer = _answer(ADAPTERS[name], record)
    for document in answer if isinstance(answer, list) else ():
        if name != "cloudevents" or not ("charge" in document or "event_id" in str(record.get("data"))):
            validate(CostEvent, document)


@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from(("tidegate-format", "content-type", "ce_specversion", "ce_id"))
            | st.text(max_size=5),
            st.sampled_from((b"otlp", b"cloudevents", b"application/cloudevents+json", b"1.0"))
            | st.binary(max_size=9),
        ),
        max_size=5,
    ),
    record=st.dictionaries(st.text(max_size=5), _JSON, max_size=3),
)
def test_any_headers_give_an_adapter_or_a_refusal(
    headers: list[tuple[str, bytes]], record: dict[str, Any]
) -> None:
    try:
        adapter = adapter_for(headers, ADAPTERS["focus"])
    except Refused:
        return
    if adapter is not None:
        _holds(adapter, record)
