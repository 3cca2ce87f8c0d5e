"""Contract prices of the config topic: when they hold, for which names, for which kinds of tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from schemas.control import PriceStep
from service.ingest.price import Priced, Pricer
from tests.service.ingest.calls import call, contract, cost, price
from tests.service.ingest.events import T0


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


def test_a_class_of_service_has_a_contract_of_its_own_or_its_list_price() -> None:
    batch = contract("batch", T0, "1", service_tier="Batch")
    standard = contract("standard", T0, "2")
    usage = (1_000_000, 0, 0, 0, 0)
    standard_call, batch_call = (
        call("openai", "gpt-4o", usage),
        call("openai", "gpt-4o", usage, service_tier="batch"),
    )
    # What the standard class costs by contract says nothing about batches.
    assert cost(Pricer([standard]), batch_call) == (1_250_000_000, "list")
    assert cost(Pricer([standard, batch]), batch_call) == (1_000_000_000, "contract")
    assert cost(Pricer([standard, batch]), standard_call) == (2_000_000_000, "contract")
    # The reference is the standard list price all the same: that is how a move to batches shows.
    assert price(Pricer([standard, batch]), batch_call).reference_cost_nanos == 2_500_000_000
    # Where nobody knows the class, the standard contract comes before the standard list price.
    scale = call("openai", "gpt-4o", usage, service_tier="scale")
    priced = price(Pricer([standard]), scale)
    assert (priced.fault, priced.list_nanos, priced.source) == ("unknown_tier", 2_000_000_000, "contract")


def test_a_contract_ends_and_what_was_before_it_holds_again() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    short = contract("short", noon, "1", effective_until=noon + timedelta(hours=1))
    pricer = Pricer([contract("long", noon - timedelta(days=9), "2"), short])
    costs = [
        cost(pricer, call("openai", "gpt-4o", (1_000, 0, 0, 0, 0), occurred_at=(noon + after).isoformat()))[0]
        for after in (timedelta(microseconds=-1), timedelta(0), timedelta(minutes=59), timedelta(hours=1))
    ]
    assert costs == [2_000_000, 1_000_000, 1_000_000, 2_000_000]


def test_a_contract_for_a_models_own_name_stands_for_its_other_names() -> None:
    pricer = Pricer([contract("family", T0, "2"), contract("one", T0, "3", model="gpt-4o-2024-11-20")])
    usage = (1_000, 0, 0, 0, 0)
    for provider, model, nanos_expected, source in [
        ("openai", "gpt-4o", 2_000_000, "contract"),
        ("OpenAI", "GPT-4o-2024-08-06", 2_000_000, "contract"),
        ("litellm", "openai/gpt-4o", 2_000_000, "contract"),
        ("openai", "gpt-4o-2024-11-20", 3_000_000, "contract"),
        ("openai", "gpt-4o-2024-05-13", 5_000_000, "list"),  # a model of its own in the list
        ("azure", "gpt-4o", 2_500_000, "list"),  # another provider
    ]:
        assert cost(pricer, call(provider, model, usage)) == (nanos_expected, source), (provider, model)


def test_a_contract_has_steps_a_fee_and_prices_for_every_kind_of_token() -> None:
    step = PriceStep(
        above_input_tokens=200_000,
        input_usd_per_mtok=Decimal(6),
        output_usd_per_mtok=Decimal(30),
        reasoning_usd_per_mtok=Decimal(20),
    )
    house = contract(
        "house",
        T0,
        "4",
        model="house-model",
        cache_write_usd_per_mtok=Decimal(5),
        cache_write_1h_usd_per_mtok=Decimal(8),
        reasoning_usd_per_mtok=Decimal("2.5"),
        per_request_usd=Decimal("0.001"),
        steps=[step],
    )
    pricer = Pricer([house])
    written = {"cache_write_1h_tokens": 4}
    found = price(pricer, call("openai", "house-model", (100, 0, 10, 30, 20), **written))
    tokens = 90 * 4_000 + 6 * 5_000 + 4 * 8_000 + 10 * 10_000 + 20 * 2_500
    assert (found.cost_nanos, found.source) == (tokens + 1_000_000, "contract")
    at_step = price(pricer, call("openai", "house-model", (200_000, 0, 0, 0, 0)))
    above = price(pricer, call("openai", "house-model", (200_001, 0, 10, 30, 20)))
    assert at_step.cost_nanos == 800_000_000 + 1_000_000
    assert above.cost_nanos == 200_001 * 6_000 + 10 * 30_000 + 20 * 20_000 + 1_000_000
    assert cost(pricer, call("openai", "house-model", (0, 0, 0, 0, 0))) == (1_000_000, "contract")
