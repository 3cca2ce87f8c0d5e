"""Prices as exact integers: what a token costs in nano-dollars, over a common denominator."""

from __future__ import annotations

from fractions import Fraction
from math import lcm
from typing import Final, NamedTuple

from genai_prices.types import ModelPrice, TieredPrices

from schemas.control import Price, PriceStep


class Rates(NamedTuple):
    """Nano-dollars per token, each a numerator over `per`, and per request.

    Attributes
    ----------
    write, write_1h : int
        To the provider's cache: to live minutes, and to live an hour.
    extra_input, extra_output : int
        How much dearer than text the dearest other kind of token is (audio, images, …). Events do not tell
        the kinds apart, so tokens are priced as text, and a gateway that knows better may say more.
    """

    input: int
    cached: int
    write: int
    write_1h: int
    output: int
    reasoning: int
    request: int
    per: int
    extra_input: int = 0
    extra_output: int = 0


class Tariff(NamedTuple):
    """Rates by the prompt's size: above a step's start the step's rates hold for *all* tokens of the call."""

    base: Rates
    steps: tuple[tuple[int, Rates], ...]  # by falling start


FREE: Final = Tariff(Rates(0, 0, 0, 0, 0, 0, 0, 1), ())
"""OpenRouter's `:free` models: listed without any price. Any other model without one is unpriced, not free."""

_OTHER_INPUT: Final = ("input_audio_mtok", "input_image_mtok", "input_video_mtok")
_OTHER_OUTPUT: Final = ("output_audio_mtok", "output_image_mtok", "output_video_mtok", "output_citation_mtok")


def list_tariff(price: ModelPrice, *, anthropic: bool = False) -> Tariff | None:
    """Exact rates of a list price; None when it does not price text tokens.

    Tokens without a rate of their own cost what their parent costs: cached and cache-written tokens the input
    rate, those written for an hour what written ones cost, reasoning tokens the output rate. Source:
    genai-prices 0.2.3, `ModelPrice.calc_price`.

    Parameters
    ----------
    anthropic : bool
        Anthropic's model, wherever it is sold: a token written to the cache for an hour costs twice an input
        token where the list does not say. Source: the multipliers of
        https://platform.claude.com/docs/en/about-claude/pricing#prompt-caching, which the clouds adopt.
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
    base = _rates_at(price, 0, anthropic)
    return Tariff(base, tuple((start, _rates_at(price, start + 1, anthropic)) for start in starts))


def _rates_at(price: ModelPrice, tokens_in: int, anthropic: bool) -> Rates:
    def rate(key: str, else_: Fraction) -> Fraction:
        value = getattr(price, key)
        if value is None:
            return else_
        if isinstance(value, TieredPrices):
            value = next((t.price for t in reversed(value.tiers) if tokens_in > t.start), value.base)
        return Fraction(value)

    zero = Fraction(0)
    tokens_in_rate, tokens_out_rate = rate("input_mtok", zero), rate("output_mtok", zero)
    write = rate("cache_write_mtok", tokens_in_rate)
    write_1h = 2 * tokens_in_rate if anthropic and price.cache_write_mtok is not None else write
    return exact_rates(
        tokens_in_rate,
        rate("cache_read_mtok", tokens_in_rate),
        write,
        rate("cache_write_1h_mtok", write_1h),
        tokens_out_rate,
        rate("output_reasoning_mtok", tokens_out_rate),
        per_request=rate("requests_kcount", zero) / 1_000,
        dearest_input=max(rate(key, zero) for key in _OTHER_INPUT),
        dearest_output=max(rate(key, zero) for key in _OTHER_OUTPUT),
    )


def contract_tariff(price: Price) -> Tariff:
    """Exact rates of a contract price. What it leaves out costs what its parent costs, as in a list price."""
    request = Fraction(price.per_request_usd or 0)
    return Tariff(
        _contract_rates(price, request),
        tuple((step.above_input_tokens, _contract_rates(step, request)) for step in reversed(price.steps)),
    )


def _contract_rates(price: Price | PriceStep, per_request: Fraction) -> Rates:
    cached, write, write_1h, reasoning = (
        price.cached_input_usd_per_mtok,
        price.cache_write_usd_per_mtok,
        price.cache_write_1h_usd_per_mtok,
        price.reasoning_usd_per_mtok,
    )
    tokens_in_rate, tokens_out_rate = Fraction(price.input_usd_per_mtok), Fraction(price.output_usd_per_mtok)
    write_rate = tokens_in_rate if write is None else Fraction(write)
    return exact_rates(
        tokens_in_rate,
        tokens_in_rate if cached is None else Fraction(cached),
        write_rate,
        write_rate if write_1h is None else Fraction(write_1h),
        tokens_out_rate,
        tokens_out_rate if reasoning is None else Fraction(reasoning),
        per_request=per_request,
    )


def exact_rates(
    tokens_in: Fraction,
    cached: Fraction,
    write: Fraction,
    write_1h: Fraction,
    tokens_out: Fraction,
    reasoning: Fraction,
    *,
    per_request: Fraction = Fraction(0),
    dearest_input: Fraction = Fraction(0),
    dearest_output: Fraction = Fraction(0),
) -> Rates:
    """Rates from dollars per million tokens, and dollars per request."""
    # A dollar per million tokens is 1,000 nano-dollars per token.
    exact = [usd * 1_000 for usd in (tokens_in, cached, write, write_1h, tokens_out, reasoning)]
    exact.append(per_request * 1_000_000_000)
    per = lcm(*(rate.denominator for rate in exact))
    extra_input = max(dearest_input - tokens_in, Fraction(0)) * 1_000
    extra_output = max(dearest_output - tokens_out, Fraction(0)) * 1_000
    rates = (int(rate * per) for rate in exact)
    return Rates._make((*rates, per, int(extra_input * per), int(extra_output * per)))


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
