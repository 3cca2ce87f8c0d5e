"""Prices as exact integers: what a token costs in nano-dollars, over a common denominator."""

from __future__ import annotations

from fractions import Fraction
from math import lcm
from typing import Final, NamedTuple

from genai_prices.types import ModelPrice, TieredPrices

from schemas.control import Price


class Rates(NamedTuple):
    """Nano-dollars per token, each a numerator over `per`, and per request."""

    input: int
    cached: int
    write: int
    output: int
    reasoning: int
    request: int
    per: int


class Tariff(NamedTuple):
    """Rates by the prompt's size: above a step's start the step's rates hold for *all* tokens of the call."""

    base: Rates
    steps: tuple[tuple[int, Rates], ...]  # by falling start


def list_tariff(price: ModelPrice) -> Tariff | None:
    """Exact rates of a list price; None when it does not price text tokens.

    Tokens without a rate of their own cost what their parent costs: cached and cache-written tokens the input
    rate, reasoning tokens the output rate. Source: genai-prices 0.2.3, `ModelPrice.calc_price`.
    """
    if price.input_mtok is None and price.output_mtok is None:
        return None
    starts = sorted(
        {
            tier.start
            for key in price_keys(price)
            if isinstance(value := getattr(price, key), TieredPrices)
            for tier in value.tiers
        },
        reverse=True,
    )
    base = _rates_at(price, 0)
    return Tariff(base, tuple((start, _rates_at(price, start + 1)) for start in starts))


def _rates_at(price: ModelPrice, tokens_in: int) -> Rates:
    def rate(key: str, else_: Fraction) -> Fraction:
        value = getattr(price, key)
        if value is None:
            return else_
        if isinstance(value, TieredPrices):
            value = next((t.price for t in reversed(value.tiers) if tokens_in > t.start), value.base)
        return Fraction(value)

    zero = Fraction(0)
    tokens_in_rate = rate("input_mtok", zero)
    tokens_out_rate = rate("output_mtok", zero)
    return _exact(
        tokens_in_rate,
        rate("cache_read_mtok", tokens_in_rate),
        rate("cache_write_mtok", tokens_in_rate),
        tokens_out_rate,
        rate("output_reasoning_mtok", tokens_out_rate),
        per_thousand_requests=rate("requests_kcount", zero),
    )


def contract_tariff(price: Price) -> Tariff:
    """Exact rates of a contract price. What it leaves out of the cache costs the input rate."""
    cached, write = price.cached_input_usd_per_mtok, price.cache_write_usd_per_mtok
    tokens_in_rate, tokens_out_rate = Fraction(price.input_usd_per_mtok), Fraction(price.output_usd_per_mtok)
    rates = _exact(
        tokens_in_rate,
        tokens_in_rate if cached is None else Fraction(cached),
        tokens_in_rate if write is None else Fraction(write),
        tokens_out_rate,
        tokens_out_rate,
    )
    return Tariff(rates, ())


def _exact(*per_mtok: Fraction, per_thousand_requests: Fraction = Fraction(0)) -> Rates:
    # A dollar per million tokens is 1,000 nano-dollars per token; per thousand requests, 1e6 per request.
    exact = [usd * 1_000 for usd in per_mtok] + [per_thousand_requests * 1_000_000]
    per = lcm(*(rate.denominator for rate in exact))
    tokens_in, cached, write, tokens_out, reasoning, request = (int(rate * per) for rate in exact)
    return Rates(tokens_in, cached, write, tokens_out, reasoning, request, per)


FREE: Final = Tariff(Rates(0, 0, 0, 0, 0, 0, 1), ())
"""OpenRouter's `:free` models: listed without any price. Any other model without one is unpriced, not free."""


def price_keys(price: ModelPrice) -> list[str]:
    """What a list price names at all."""
    return [key for key, value in vars(price).items() if value is not None]


def rates_for(tariff: Tariff, tokens_in: int) -> Rates:
    """The rates of a call whose prompt has so many tokens, cached ones included."""
    for start, rates in tariff.steps:
        if tokens_in > start:
            return rates
    return tariff.base


def rounded(numerator: int, per: int) -> int:
    """Whole nano-dollars, half to even."""
    if per == 1:
        return numerator
    whole, rest = divmod(numerator, per)
    twice = 2 * rest
    return whole + (twice > per or (twice == per and whole & 1))
