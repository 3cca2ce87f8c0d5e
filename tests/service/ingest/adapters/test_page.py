"""docs/adapters.md names what the adapters read, and its examples work."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from schemas.decode import validate
from schemas.events import CostEvent
from service.ingest.adapters import ADAPTERS, FORMAT_HEADER, MAX_EVENTS, NATIVE, adapt, otel
from service.ingest.adapters.cloudevents import KINDS
from service.ingest.adapters.focus import OWN

PAGE = (Path(__file__).parents[4] / "docs" / "adapters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


def test_every_format_and_how_to_name_it_is_on_the_page() -> None:
    for name in (*ADAPTERS, NATIVE, FORMAT_HEADER):
        assert f"`{name}`" in PAGE
    assert f"{MAX_EVENTS:,} events" in PAGE


@pytest.mark.parametrize("attribute", sorted(otel.READ - {"traceloop.span.kind"}))
def test_every_attribute_of_a_span_that_is_read_is_on_the_page(attribute: str) -> None:
    assert f"`{attribute}`" in PAGE


@pytest.mark.parametrize("operation", sorted(otel.CALLS))
def test_every_operation_that_is_a_call_is_on_the_page(operation: str) -> None:
    assert f"`{operation}`" in PAGE


@pytest.mark.parametrize("name", sorted(KINDS) + list(OWN))
def test_every_kind_of_token_and_every_label_of_a_row_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_the_examples_work() -> None:
    for kind, text in BLOCKS:
        if kind == "json":
            for event in adapt(json.loads(text), ADAPTERS["cloudevents"]):
                validate(CostEvent, event)
        else:
            assert set(yaml.safe_load(text)) == {"exporters", "processors"}
    assert [kind for kind, _ in BLOCKS] == ["yaml", "json"]
