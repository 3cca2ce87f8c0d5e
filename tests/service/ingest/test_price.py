from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from genai_prices import Usage
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from schemas.money import nanos
from service.ingest import pricelist
from service.ingest.price import Priced, Pricer
from service.ingest.pricelist import Listed
from service.ingest.service_class import class_price
from service.ingest.tariff import list_tariff, rates_for, rounded
from tests.service.ingest.calls import call, contract, price
from tests.service.ingest.events import T0

SHARED = Pricer()

MODELS = [(provider, model) for provider in get_snapshot().providers for model in provider.models]
USAGES = [
    # input, of which cached, of which written (a third of that for an hour), output, of which reasoning
    (1_000, 0, 0, 100, 0),
    (12_345, 2_345, 777, 999, 333),
    (200_000, 199_999, 1, 7, 7),
    (200_001, 50_000, 3, 11, 0),
    (600_000, 100_001, 17, 65_001, 1),
    (0, 0, 0, 5, 0),
]


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
                    cache_write_1h_tokens=written // 3,
                    output_tokens=out,
                    output_reasoning_tokens=reasoning,
                )
                expected = model.calc_price(usage, provider, genai_request_timestamp=day).total_price
                rates = rates_for(tariff, tokens_in)
                found = rounded(
                    (tokens_in - cached - written) * rates.input
                    + cached * rates.cached
                    + (written - written // 3) * rates.write
                    + written // 3 * rates.write_1h
                    + (out - reasoning) * rates.output
                    + reasoning * rates.reasoning
                    + rates.request,
                    rates.per,
                )
                assert found == nanos(expected), (provider.id, model.id, day)
                priced += 1
    assert priced > 20_000


def test_every_class_of_service_is_what_genai_prices_computes() -> None:
    at = datetime(2026, 11, 5, 2, tzinfo=UTC)
    found: Counter[str] = Counter()
    for provider, model in MODELS:
        for tier in ("batch", "flex", "priority", "fast"):
            of_class = class_price(Listed(provider.id, provider.id, model), tier, at)
            tariff = None if of_class is None else list_tariff(of_class)
            if tariff is None:
                continue
            context = {"processing": tier, "service_tier": tier, "speed": tier}
            for tokens_in, cached, _, out, _ in USAGES:
                usage = Usage(input_tokens=tokens_in, cache_read_tokens=cached, output_tokens=out)
                expected = model.calc_price(
                    usage, provider, genai_request_timestamp=at, price_context=context
                ).total_price
                rates = rates_for(tariff, tokens_in)
                cost = (tokens_in - cached) * rates.input + cached * rates.cached + out * rates.output
                assert rounded(cost + rates.request, rates.per) == nanos(expected), (model.id, tier)
            found[tier] += 1
    assert found["batch"] > 90
    assert min(found[tier] for tier in ("flex", "priority", "fast")) > 20


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


@given(
    st.sampled_from([(p.id, m.id) for p, m in MODELS[:: len(MODELS) // 97]]),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.sampled_from([None, "batch", "priority", "nonsense"]),
    st.integers(0, 4_000_000_000_000_000),
)
def test_money_is_never_negative_and_grows_with_tokens(
    which: tuple[str, str], tokens_in: int, tokens_out: int, tier: str | None, at_us: int
) -> None:
    def priced(more: int) -> Priced:
        usage = (tokens_in + more, tokens_in // 2, tokens_in // 3, tokens_out + more, tokens_out // 2)
        capped = tuple(min(count, 10**9) for count in usage)
        return SHARED.price(call(*which, capped, service_tier=tier), at_us, None)

    fewer, more = priced(0), priced(1_000)
    # … and it does not matter what was priced before.
    usage = (tokens_in, tokens_in // 2, tokens_in // 3, tokens_out, tokens_out // 2)
    assert Pricer().price(call(*which, usage, service_tier=tier), at_us, None) == fewer
    if fewer.cost_nanos is None or more.cost_nanos is None:
        assert fewer.fault == "unpriced" or not tokens_in + tokens_out
    else:
        assert 0 <= fewer.cost_nanos <= more.cost_nanos
        assert 0 <= fewer.reference_output_nanos <= fewer.reference_cost_nanos


@pytest.mark.parametrize(
    "when", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59.999999Z"]
)
@pytest.mark.parametrize(("provider", "model"), [("openai", "o3"), ("deepseek", "deepseek-chat"), ("x", "y")])
@pytest.mark.parametrize("tier", [None, "batch"])
def test_the_ends_of_time_have_prices_too(when: str, provider: str, model: str, tier: str | None) -> None:
    found = price(
        Pricer([contract("a", T0, "2")]), call(provider, model, occurred_at=when, service_tier=tier)
    )
    assert (found.fault == "unpriced") is (provider == "x")


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
