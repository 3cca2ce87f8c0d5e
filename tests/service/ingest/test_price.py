from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from genai_prices import Usage
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import Price
from schemas.events import CostEvent
from schemas.money import nanos
from service.ingest import pricelist
from service.ingest.price import Priced, Pricer
from service.ingest.tariff import list_tariff, rates_for, rounded
from tests.service.ingest.events import T0, event

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MODELS = [(provider, model) for provider in get_snapshot().providers for model in provider.models]
USAGES = [
    # input, of which cached, of which written, output, of which reasoning
    (1_000, 0, 0, 100, 0),
    (12_345, 2_345, 777, 999, 333),
    (200_000, 199_999, 1, 7, 7),
    (200_001, 50_000, 3, 11, 0),
    (600_000, 100_001, 17, 65_001, 1),
    (0, 0, 0, 5, 0),
]


def call(provider: str, model: str, usage: tuple[int, ...] = USAGES[0], **more: Any) -> CostEvent:
    tokens_in, cached, written, out, reasoning = usage
    return event(
        provider=provider,
        model=model,
        input_tokens=tokens_in,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=out,
        reasoning_tokens=reasoning,
        **more,
    )


def price(pricer: Pricer, event: CostEvent) -> Priced:
    """As the fold calls it."""
    at_us = (event.occurred_at - EPOCH) // timedelta(microseconds=1)
    return pricer.price(event, at_us, None if event.cost_usd is None else nanos(event.cost_usd))


def cost(pricer: Pricer, event: CostEvent) -> tuple[int | None, str]:
    found = price(pricer, event)
    return found.cost_nanos, found.source


def test_every_list_price_is_what_genai_prices_computes() -> None:
    priced = 0
    for provider, model in MODELS:
        for day in (T0, T0 + timedelta(days=300, hours=9)):
            tariff = list_tariff(model.get_prices(day))
            if tariff is None:
                continue
            for tokens_in, cached, written, out, reasoning in USAGES:
                usage = Usage(
                    input_tokens=tokens_in,
                    cache_read_tokens=cached,
                    cache_write_tokens=written,
                    output_tokens=out,
                    output_reasoning_tokens=reasoning,
                )
                expected = model.calc_price(usage, provider, genai_request_timestamp=day).total_price
                rates = rates_for(tariff, tokens_in)
                found = rounded(
                    (tokens_in - cached - written) * rates.input
                    + cached * rates.cached
                    + written * rates.write
                    + (out - reasoning) * rates.output
                    + reasoning * rates.reasoning
                    + rates.request,
                    rates.per,
                )
                assert found == nanos(expected), (provider.id, model.id, day)
                priced += 1
    assert priced > 20_000


@pytest.mark.parametrize(
    ("provider", "model", "usage", "dollars"),
    [
        # By hand from the vendors' price pages of the time.
        ("openai", "gpt-4o", (1_000_000, 0, 0, 0, 0), "2.50"),
        ("openai", "gpt-4o-2024-08-06", (1_000_000, 1_000_000, 0, 100_000, 0), "2.25"),
        ("openai", "gpt-4o-20240806", (1_000, 0, 0, 100, 0), "0.0035"),
        ("openai", "gpt-4o-mini", (1, 0, 0, 0, 0), "0.00000015"),
        ("anthropic", "claude-sonnet-4-20250514", (100_000, 50_000, 10_000, 1_000, 0), "0.1875"),
        ("aws.bedrock", "us.anthropic.claude-sonnet-4-20250514-v1:0", (1_000, 0, 0, 100, 0), "0.0045"),
        ("azure", "azure/gpt-4o", (1_000, 0, 0, 100, 0), "0.0035"),
        ("litellm", "openai/gpt-4o", (1_000, 0, 0, 100, 0), "0.0035"),
        ("gcp.gen_ai", "gemini-2.5-pro", (200_000, 0, 0, 1_000, 0), "0.26"),
        ("google", "gemini-2.5-pro", (200_001, 0, 0, 1_000, 0), "0.5150025"),
    ],
)
def test_list_prices_by_hand(provider: str, model: str, usage: tuple[int, ...], dollars: str) -> None:
    assert cost(Pricer(), call(provider, model, usage)) == (nanos(Decimal(dollars)), "list")


def test_the_gateways_cost_comes_first_and_the_reference_still_is_the_list_price() -> None:
    priced = price(Pricer(), call("openai", "gpt-4o", (1_000, 500, 0, 100, 0), cost_usd="0.123456789"))
    assert priced == Priced(123_456_789, 3_500_000, 1_000_000, "off_list", 2_875_000, "gateway")
    assert price(Pricer(), call("openai", "gpt-4o", cost_usd=0)).cost_nanos == 0


def test_what_nobody_knows_is_unpriced_and_never_zero() -> None:
    pricer = Pricer()
    for provider, model in [
        ("openai", "gpt-77"),
        ("nobody", "gpt-4o"),
        ("groq", "whisper-large-v3"),
        ("/", "/"),
    ]:
        for _ in range(2):  # the second answer comes from the cache
            assert price(pricer, call(provider, model)) == Priced(None, 0, 0, "unpriced", 0, "unpriced")
    # A listed model without any price is unpriced; one that says so by name is free.
    assert price(pricer, call("github-copilot", "gpt-4o")).cost_nanos is None
    free = next(m.id for p, m in MODELS if p.id == "openrouter" and m.id.endswith(":free"))
    assert price(pricer, call("openrouter", free)) == Priced(0, 0, 0, None, 0, "list")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("error", Priced(0, 0, 0, None, 0, "no_usage")),
        ("cancelled", Priced(None, 0, 0, "unpriced", 0, "unpriced")),
        ("success", Priced(None, 0, 0, "unpriced", 0, "unpriced")),
    ],
)
def test_a_failed_call_without_usage_costs_nothing_but_a_cancelled_one_nobody_knows(
    status: str, expected: Priced
) -> None:
    assert price(Pricer(), call("openai", "gpt-4o", (0, 0, 0, 0, 0), status=status)) == expected


def test_history_decides_by_event_time() -> None:
    # o3 fell by four fifths on 2025-06-10.
    pricer = Pricer()
    old = call("openai", "o3", (1_000_000, 0, 0, 0, 0), occurred_at="2025-06-09T23:59:59Z")
    new = call("openai", "o3", (1_000_000, 0, 0, 0, 0), occurred_at="2025-06-10T00:00:00Z")
    assert [price(pricer, e).cost_nanos for e in (old, new, old)] == [
        10_000_000_000,
        2_000_000_000,
        10_000_000_000,
    ]


def test_a_price_by_time_of_day_changes_within_the_day() -> None:
    pricer = Pricer()
    costs = [
        price(
            pricer,
            call("deepseek", "deepseek-chat", (1_000_000, 0, 0, 0, 0), occurred_at=f"2025-03-01T{at}Z"),
        ).cost_nanos
        for at in ("00:29:59", "00:30:00", "16:29:59", "16:30:00")
    ]
    assert costs == [135_000_000, 270_000_000, 270_000_000, 135_000_000]


def contract(name: str, effective_from: datetime, usd: str, **more: Any) -> Price:
    return Price(
        name=name,
        provider="OpenAI",
        model="gpt-4o",
        effective_from=effective_from,
        input_usd_per_mtok=Decimal(usd),
        output_usd_per_mtok=Decimal(10),
        **more,
    )


def test_a_contract_price_replaces_the_list_price_from_its_date_on() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    pricer = Pricer()
    mega = (1_000_000, 0, 0, 0, 0)
    before, after, later = (
        call("openai", "gpt-4o", mega, occurred_at=(noon + timedelta(seconds=s)).timestamp())
        for s in (-1, 0, 90_000)
    )
    assert price(pricer, after).source == "list"
    pricer.use([contract("b", noon, "2"), contract("c", noon + timedelta(days=1), "1")])
    assert cost(pricer, before) == (2_500_000_000, "list")
    # The reference stays the list price: that is how a new price shows.
    assert price(pricer, after) == Priced(2_000_000_000, 2_500_000_000, 0, None, 2_000_000_000, "contract")
    assert price(pricer, later).cost_nanos == 1_000_000_000
    pricer.use([])
    assert price(pricer, after).source == "list"


def test_a_contract_price_may_say_what_the_cache_costs_and_prices_unlisted_models() -> None:
    unlisted = contract("x", T0, "4").model_copy(update={"model": "house-model"})
    pricer = Pricer([unlisted])
    usage = (100, 40, 10, 0, 0)
    assert price(pricer, call("openai", "house-model", usage)) == Priced(
        400_000, 400_000, 0, None, 400_000, "contract"
    )
    cached = {"cached_input_usd_per_mtok": Decimal("0.4"), "cache_write_usd_per_mtok": Decimal(5)}
    pricer.use([unlisted.model_copy(update=cached)])
    assert (
        price(pricer, call("openai", "house-model", usage)).cost_nanos == 50 * 4_000 + 40 * 400 + 10 * 5_000
    )


@given(st.integers(0, 10**12), st.integers(1, 10**9))
def test_rounding_is_half_to_even_once(numerator: int, per: int) -> None:
    assert rounded(numerator, per) == round(Fraction(numerator, per))


def test_invented_names_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricelist, "MAX_CACHED", 10)
    pricer = Pricer()
    for i in range(35):
        assert price(pricer, call("openai", f"gpt-4o-invented-{i}")).cost_nanos is None
        assert price(pricer, call("openai", "gpt-4o")).cost_nanos == 3_500_000
    quotes = pricer._quotes
    names = quotes._list
    for cache in (pricer._now, quotes._days, names._found):
        assert 0 < len(cache) <= 10
    assert len(names._snapshot._lookup_cache) + len(names._snapshot._provider_misses) <= 30
