"""How a record names its format, and how many events it may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from schemas.reasons import Reason, Refused
from service.ingest.adapters import ADAPTERS, MAX_EVENTS, Adapter, adapt, adapter_for

Headers = list[tuple[str, bytes]]
LITELLM, OTLP, CLOUDEVENTS = ADAPTERS["litellm"], ADAPTERS["otlp"], ADAPTERS["cloudevents"]


@pytest.mark.parametrize("default", [None, OTLP])
@pytest.mark.parametrize(
    "headers", [[], [("traceparent", b"00-1-2-01")], [("content-type", b"application/json")]]
)
def test_a_record_that_names_no_format_is_of_its_topics(headers: Headers, default: Adapter | None) -> None:
    assert adapter_for(headers, default) is default


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_a_header_names_the_format_whatever_the_topics_is(name: str) -> None:
    assert adapter_for([("tidegate-format", name.encode())], OTLP) is ADAPTERS[name]
    assert adapter_for([("Tidegate-Format", name.encode())], None) is ADAPTERS[name]


def test_a_header_can_say_that_the_record_is_of_the_wire_format() -> None:
    assert adapter_for([("tidegate-format", b"tidegate")], OTLP) is None


def test_of_a_header_that_comes_twice_the_last_counts() -> None:
    assert adapter_for([("tidegate-format", b"otlp"), ("tidegate-format", b"litellm")], None) is LITELLM


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (("tidegate-format", b"openinference"), Reason.INVALID_VALUE),
        (("tidegate-format", b""), Reason.INVALID_VALUE),
        (("tidegate-format", b"\xff"), Reason.INVALID_UTF8),
        (("content-type", b"application/cloudevents+avro"), Reason.INVALID_VALUE),
        (("content-type", b"application/cloudevents-batch+json"), Reason.INVALID_VALUE),
    ],
)
def test_an_unknown_format_is_refused(header: tuple[str, bytes], reason: Reason) -> None:
    with pytest.raises(Refused) as caught:
        adapter_for([header], LITELLM)
    assert caught.value.reason is reason
    assert caught.value.path == f"headers.{header[0]}"


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/cloudevents+json",
        b"Application/CloudEvents+JSON; charset=UTF-8",
        b"application/cloudevents",
    ],
)
def test_cloudevents_in_structured_mode_are_known_by_their_content_type(content_type: bytes) -> None:
    assert adapter_for([("content-type", content_type)], LITELLM) is CLOUDEVENTS


BINARY: Headers = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"evt_1"),
    ("ce_source", b"llm-api-gateway"),
    ("ce_type", b"prompt"),
    ("ce_subject", "käufer-1".encode()),
    ("ce_time", b"2026-01-31T14:07:31.250Z"),
    ("content-type", b"application/json"),
]
DATA = {"model": "gpt-4o", "provider": "openai", "type": "input", "tokens": "1250"}


@pytest.mark.parametrize("more", [[], [("tidegate-format", b"cloudevents")]])
def test_cloudevents_in_binary_mode_have_their_attributes_in_headers(more: Headers) -> None:
    adapter = adapter_for(BINARY + more, LITELLM)
    assert adapter is not None
    (event,) = adapt(DATA, adapter)
    assert event["event_id"] == "llm-api-gateway/evt_1"
    assert event["customer"] == "käufer-1"
    assert event["occurred_at"] == "2026-01-31T14:07:31.250Z"
    assert event["input_tokens"] == 1250


def test_both_modes_say_the_same() -> None:
    adapter = adapter_for(BINARY, None)
    assert adapter is not None
    attributes = {name[3:]: value.decode() for name, value in BINARY if name.startswith("ce_")}
    assert adapt(DATA, adapter) == adapt({**attributes, "data": DATA}, CLOUDEVENTS)


def test_a_named_format_comes_before_the_binding_of_cloudevents() -> None:
    assert adapter_for([*BINARY, ("tidegate-format", b"litellm")], None) is LITELLM


@pytest.mark.parametrize("number", [MAX_EVENTS, MAX_EVENTS + 1])
def test_a_record_holds_no_more_events_than_the_bound(number: int) -> None:
    def many(_: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{}] * number

    if number <= MAX_EVENTS:
        assert len(adapt({}, many)) == number
        return
    with pytest.raises(Refused) as caught:
        adapt({}, many)
    assert caught.value.reason is Reason.TOO_LONG
