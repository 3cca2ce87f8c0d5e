"""OTLP spans: which are calls, and what is wrong with those that cannot be read."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from schemas.reasons import Reason, Refused
from service.ingest.adapters import otel
from service.ingest.adapters.otel import from_otlp
from tests.service.ingest.adapters.golden_files import record

SPANS = record("otlp", "convention-of-2026-openai-chat")


def spans(given: dict[str, Any], /, **more: Any) -> dict[str, Any]:
    """The one span of `SPANS` with other attributes."""
    record = deepcopy(SPANS)
    span = record["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    kinds = {str: "stringValue", int: "intValue", float: "doubleValue", bool: "boolValue"}
    span["attributes"] = [
        {"key": key, "value": {kinds[type(value)]: str(value) if type(value) is int else value}}
        for key, value in given.items()
    ]
    span.update(more)
    return record


CALL = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}
USAGE = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2}


@pytest.mark.parametrize("operation", sorted(otel.NOT_CALLS))
def test_what_surrounds_calls_is_no_call(operation: str) -> None:
    assert from_otlp(spans({**CALL, **USAGE, "gen_ai.operation.name": operation})) == []


@pytest.mark.parametrize("operation", sorted(otel.CALLS))
def test_a_call_counts_with_and_without_usage(operation: str) -> None:
    assert len(from_otlp(spans({**CALL, "gen_ai.operation.name": operation}))) == 1
    assert len(from_otlp(spans({**CALL, **USAGE, "gen_ai.operation.name": operation}))) == 1


@pytest.mark.parametrize(
    ("attributes", "counts"),
    [
        ({"gen_ai.operation.name": "rerank", "gen_ai.system": "cohere"}, False),
        ({"gen_ai.operation.name": "rerank", "gen_ai.system": "cohere", **USAGE}, True),
        ({"gen_ai.system": "openai", **USAGE}, True),
        (USAGE, False),  # the sum that some agents' spans carry
        ({"gen_ai.operation.name": "chat"}, False),
        ({**CALL, **USAGE, "traceloop.span.kind": "task"}, False),
        ({}, False),
    ],
)
def test_other_operations_count_if_they_report_usage(attributes: dict[str, Any], counts: bool) -> None:
    assert bool(from_otlp(spans(attributes))) is counts


@pytest.mark.parametrize(
    ("kind", "counts"), [(0, True), (1, True), (2, False), (3, True), (4, False), (5, False)]
)
def test_the_side_that_serves_a_call_does_not_count_it(kind: int, counts: bool) -> None:
    assert bool(from_otlp(spans({**CALL, **USAGE}, kind=kind))) is counts


def test_a_span_that_names_neither_provider_nor_model_where_it_need_not_is_counted_all_the_same() -> None:
    (event,) = from_otlp(spans({**USAGE, "gen_ai.request.model": "gpt-4o"}))
    assert event["provider"] == "unknown"
    (event,) = from_otlp(spans({**USAGE, "gen_ai.system": "openai"}))
    assert event["model"] == "unknown"


def test_workflow_falls_back_to_traceloop_and_then_to_the_agent() -> None:
    names = {"gen_ai.workflow.name": "a", "traceloop.workflow.name": "b", "gen_ai.agent.name": "c"}
    found = []
    for _ in names.copy():
        found.append(from_otlp(spans({**CALL, **names}))[0]["workflow"])
        del names[next(iter(names))]
    assert found == ["a", "b", "c"]


def test_the_case_of_hexadecimal_ids_does_not_matter_and_that_of_others_does() -> None:
    assert from_otlp(spans(CALL, traceId="AB", spanId="CD")) == from_otlp(
        spans(CALL, traceId="ab", spanId="cd")
    )
    assert from_otlp(spans(CALL, spanId="q83vEjRWeJA=")) != from_otlp(spans(CALL, spanId="Q83vEjRWeJA="))


@pytest.mark.parametrize(
    ("more", "reason", "name"),
    [
        ({"traceId": ""}, Reason.MISSING_FIELD, "traceId"),
        ({"spanId": None}, Reason.MISSING_FIELD, "spanId"),
        ({"endTimeUnixNano": None}, Reason.MISSING_FIELD, "endTimeUnixNano"),
        ({"endTimeUnixNano": "soon"}, Reason.WRONG_TYPE, "endTimeUnixNano"),
        ({"endTimeUnixNano": "9" * 20}, Reason.BAD_TIMESTAMP, "endTimeUnixNano"),
        ({"attributes": {}}, Reason.WRONG_TYPE, "attributes"),
        ({"attributes": [{"value": {}}]}, Reason.WRONG_TYPE, "attributes.0.key"),
    ],
)
def test_a_call_that_cannot_be_read_is_refused_where_it_lies(
    more: dict[str, Any], reason: Reason, name: str
) -> None:
    with pytest.raises(Refused) as caught:
        from_otlp(spans(CALL, **more))
    assert (caught.value.reason, caught.value.path) == (
        reason,
        f"resourceSpans.0.scopeSpans.0.spans.0.{name}",
    )


def test_an_empty_export_holds_nothing_and_another_document_is_refused() -> None:
    assert from_otlp({}) == []
    assert from_otlp({"resourceSpans": []}) == []
    others: list[dict[str, Any]] = [{"resourceLogs": []}, {"resourceMetrics": []}, {"litellm_call_id": "x"}]
    for other in others:
        with pytest.raises(Refused) as caught:
            from_otlp(other)
        assert (caught.value.reason, caught.value.path) == (Reason.MISSING_FIELD, "resourceSpans")
