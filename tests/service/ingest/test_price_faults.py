"""Which costs are hard to believe: nothing for something, far off the list, a class of service nobody knows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from schemas.money import nanos
from service.ingest.price import Priced, Pricer
from tests.service.ingest.calls import call, contract, price
from tests.service.ingest.events import T0, event

GPT_4O = 3_500_000  # 1,000 in, 100 out


@pytest.mark.parametrize(
    ("usd", "fault"),
    [
        (None, None),
        ("0.0035", None),
        ("0.007", None),  # twice
        ("0.007001", "off_list"),
        ("0.00175", None),  # half: a batch that did not say so
        ("0.001749", "off_list"),
        ("3.5", "off_list"),  # somebody's thousands
        ("0.0000035", "off_list"),
        ("0", "zero_cost"),
    ],
)
def test_a_gateways_cost_is_compared_with_the_list(usd: str | None, fault: str | None) -> None:
    found = price(Pricer(), call("openai", "gpt-4o", cost_usd=usd))
    assert (found.fault, found.list_nanos) == (fault, GPT_4O)
    assert found.cost_nanos == (GPT_4O if usd is None else nanos(Decimal(usd)))  # counted as the gateway says


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("so small a call that it is rounded away", {"input_tokens": 3, "output_tokens": 0}),
        ("a failed call that is not charged", {"status": "error"}),
        ("a model that says it is free", {"provider": "openrouter", "model": "google/gemma-3-27b-it:free"}),
        ("a model without a list price", {"model": "house-model"}),
        ("no tokens", {"input_tokens": 0, "output_tokens": 0}),
    ],
)
def test_a_cost_of_zero_can_be_right(what: str, change: dict[str, Any]) -> None:
    model = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1_000, "cost_usd": 0}
    assert price(Pricer(), event(**{**model, **change})).fault is None, what


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("off by less than $0.0001", {"input_tokens": 10, "output_tokens": 1, "cost_usd": "0.0001"}),
        ("a failed call, charged in part", {"status": "error", "cost_usd": "0.0005"}),
        ("a stream that was cancelled, charged in part", {"status": "cancelled", "cost_usd": "0.0005"}),
        ("a class whose price nobody knows", {"service_tier": "scale", "cost_usd": "0.0005"}),
        ("a batch", {"service_tier": "batch", "cost_usd": "0.00175"}),
        ("a priority call", {"model": "gpt-5.5", "service_tier": "priority", "cost_usd": "0.02"}),
        ("images, which cost more than text", {"model": "gpt-image-1", "cost_usd": "0.025"}),
        (
            "sound, which costs more than text",
            {"provider": "google", "model": "gemini-2.5-flash", "cost_usd": "0.002"},
        ),
        ("fewer searches", {"provider": "perplexity", "model": "sonar", "cost_usd": "0.0061"}),
    ],
)
def test_a_cost_off_the_list_can_be_right(what: str, change: dict[str, Any]) -> None:
    autumn = "2026-11-01T12:00:00Z"
    model = {"provider": "openai", "model": "gpt-4o", "input_tokens": 1_000, "output_tokens": 100}
    found = price(Pricer(), event(**{**model, "occurred_at": autumn, **change}))
    assert found.fault is None, (what, found)


def test_a_contract_is_the_yardstick_where_there_is_one() -> None:
    pricer = Pricer([contract("cheap", T0, "0.5")])  # a fifth of the list price
    fair, listed = (
        price(pricer, call("openai", "gpt-4o", (10_000, 0, 0, 0, 0), cost_usd=usd))
        for usd in ("0.005", "0.025")
    )
    assert (fair.fault, fair.list_nanos) == (None, 5_000_000)
    assert listed.fault == "off_list"


def test_unpriced_and_unknown_classes_are_faults_of_calls_that_the_gateway_did_not_price() -> None:
    pricer = Pricer()
    assert price(pricer, call("openai", "gpt-77")).fault == "unpriced"
    assert price(pricer, call("openai", "gpt-77", service_tier="scale")).fault == "unpriced"
    assert price(pricer, call("openai", "gpt-77", cost_usd="0.5")).fault is None
    scale = price(pricer, call("openai", "gpt-4o", service_tier="scale"))
    assert scale == Priced(GPT_4O, GPT_4O, 1_000_000, "unknown_tier", GPT_4O, "list")
    assert price(pricer, call("openai", "gpt-4o", service_tier="scale", cost_usd="0.0035")).fault is None
    assert price(pricer, call("openai", "gpt-4o", service_tier="scale", cost_usd="0")).fault == "zero_cost"
