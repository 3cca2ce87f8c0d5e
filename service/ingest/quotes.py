"""Quotes: what a model costs in a class of service, from one instant to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, Literal

from genai_prices.types import ConditionalPrice, ModelPrice, TimeOfDateConstraint

from schemas.control import Price
from service.ingest.corrections import changes, list_price
from service.ingest.pricelist import Listed, PriceList, remember
from service.ingest.service_class import class_price, service_class
from service.ingest.tariff import (
    FREE,
    Rates,
    Tariff,
    contract_tariff,
    list_tariff,
    price_keys,
)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
DAY_US: Final = 86_400_000_000
_NO_STEP: Final = 2**63

Flat = tuple[int, int, int, int, int, int, int, int]
"""Input and output rate; how much more (mostly less) than an input token a cached and a written one cost, than
those an hour-long one; than an output token a reasoning one; per request; the denominator of them all."""


class Ladder:
    """A tariff laid out for speed: `flat` up to `first_step` input tokens, `above(tokens_in)` beyond."""

    __slots__ = ("_steps", "first_step", "flat")

    def __init__(self, tariff: Tariff) -> None:
        self.flat = _flat(tariff.base)
        self._steps = tuple((start, _flat(rates)) for start, rates in tariff.steps)
        self.first_step = self._steps[-1][0] if self._steps else _NO_STEP

    def above(self, tokens_in: int) -> Flat:
        """The rates of a prompt that is longer than `first_step`."""
        for start, flat in self._steps:
            if tokens_in > start:
                return flat
        return self.flat


class Quote:
    """What holds for one (provider, model, class of service) from `since_us` until before `until_us`.

    Attributes
    ----------
    ladder : Ladder or None
        None: there is no price. `flat` and `first_step` are its.
    tariff : Tariff or None
        The same, in full.
    reference : Ladder or None
        The standard list price where it is not `tariff`.
    fault : "unknown_tier" or None
        The class of service has no price: this is the standard one's.
    free : bool
        The model's name says that it costs nothing.
    """

    __slots__ = (
        "fault",
        "first_step",
        "flat",
        "free",
        "ladder",
        "reference",
        "since_us",
        "source",
        "tariff",
        "until_us",
    )

    def __init__(
        self,
        span_us: tuple[int, int],
        tariff: Tariff | None,
        reference: Tariff | None,
        source: Literal["contract", "list", "unpriced"],
        fault: Literal["unknown_tier"] | None,
        free: bool,
    ) -> None:
        self.since_us, self.until_us = span_us
        self.tariff = tariff
        self.ladder = None if tariff is None else Ladder(tariff)
        self.flat = None if self.ladder is None else self.ladder.flat
        self.first_step = _NO_STEP if self.ladder is None else self.ladder.first_step
        self.reference = None if reference is None or reference == tariff else Ladder(reference)
        self.source = source
        self.fault = fault
        self.free = free

    def above(self, tokens_in: int) -> Flat | None:
        """The rates of a prompt that is longer than `first_step`."""
        return None if self.ladder is None else self.ladder.above(tokens_in)


def _flat(rates: Rates) -> Flat:
    return (
        rates.input,
        rates.output,
        rates.cached - rates.input,
        rates.write - rates.input,
        rates.write_1h - rates.write,
        rates.reasoning - rates.output,
        rates.request,
        rates.per,
    )


class Contract:
    """A contract price and its exact rates."""

    __slots__ = ("since", "tariff", "tier", "until")

    def __init__(self, price: Price) -> None:
        self.tier = service_class(price.service_tier)
        self.since = price.effective_from
        self.until = price.effective_until
        self.tariff = contract_tariff(price)

    def holds(self, at: datetime) -> bool:
        """Whether it is effective then."""
        return self.since <= at and (self.until is None or at < self.until)


class Quotes:
    """Makes quotes from contracts and the list of prices. A quote is never longer than a UTC day."""

    def __init__(self, prices: Sequence[Price] = ()) -> None:
        self._list = PriceList()
        self._days: dict[tuple[str, str, str | None, int], tuple[Quote, ...]] = {}
        self.use(prices)

    def use(self, prices: Sequence[Price]) -> None:
        """Replace all contract prices."""
        self._contracts: dict[tuple[str, str], list[Contract]] = {}
        for price in sorted(prices, key=lambda p: (p.effective_from, p.name), reverse=True):
            key = self._provider(price.provider), price.model.strip().lower()
            self._contracts.setdefault(key, []).append(Contract(price))
        self._days.clear()

    def at(self, provider: str, model: str, tier: str | None, at_us: int) -> Quote:
        """The quote that holds at an instant, microseconds since the epoch."""
        key = (provider, model, tier, at_us // DAY_US)
        quotes = self._days.get(key)
        if quotes is None:
            quotes = remember(self._days, key, self._day(provider, model, service_class(tier), key[3]))
        return next(quote for quote in quotes if quote.since_us <= at_us < quote.until_us)

    def _provider(self, name: str) -> str:
        return self._list.provider(name) or name.strip().lower()

    def _day(self, provider: str, model: str, tier: str | None, day: int) -> tuple[Quote, ...]:
        """Quotes of one day, split where a price may change within it."""
        listed = self._list.find(provider, model)
        contracts = self._contracts_for(provider, model, listed)
        first, end = day * DAY_US, (day + 1) * DAY_US
        starts = {first, end}
        for contract in contracts:
            starts.add(_micros(contract.since))
            starts.add(end if contract.until is None else _micros(contract.until))
        if listed is not None:
            midnight = EPOCH + timedelta(days=day)
            starts.update(_micros(instant) for instant in changes(listed, midnight))
            starts.update(_micros(instant) for instant in _clock_times(listed, midnight))
        spans = pairwise(sorted(each for each in starts if first <= each <= end))
        return tuple(self._quote(provider, model, tier, listed, contracts, span) for span in spans)

    def _contracts_for(self, provider: str, model: str, listed: Listed | None) -> list[Contract]:
        """Those for the name as it is written first, then those for the list's own name of the model."""
        names = [(self._provider(provider), model.strip().lower())]
        if listed is not None:
            names.append((listed.provider, listed.model.id.lower()))
        return [contract for name in dict.fromkeys(names) for contract in self._contracts.get(name, ())]

    def _quote(
        self,
        provider: str,
        model: str,
        tier: str | None,
        listed: Listed | None,
        contracts: list[Contract],
        span_us: tuple[int, int],
    ) -> Quote:
        at = EPOCH + timedelta(microseconds=span_us[0])
        free = model.strip().lower().endswith(":free")
        standard_list = None if listed is None else _list_tariff(listed, at)
        contract = next((c.tariff for c in contracts if c.tier is None and c.holds(at)), None)
        reference = standard_list or contract

        if tier is not None:
            own = next((c.tariff for c in contracts if c.tier == tier and c.holds(at)), None)
            if own is not None:
                return Quote(span_us, own, reference or own, "contract", None, free)
            of_class = self._of_class(provider, listed, tier, at)
            if of_class is not None:
                return Quote(span_us, of_class, reference or of_class, "list", None, free)
        unknown: Literal["unknown_tier"] | None = None if tier is None else "unknown_tier"
        if contract is not None:
            return Quote(span_us, contract, reference, "contract", unknown, free)
        return Quote(
            span_us,
            standard_list,
            reference,
            "list" if standard_list is not None else "unpriced",
            unknown,
            free,
        )

    def _of_class(self, provider: str, listed: Listed | None, tier: str, at: datetime) -> Tariff | None:
        if listed is None:
            return None
        if listed.provider == "openrouter" and tier == "batch":
            # OpenRouter sells batches as models of their own: https://openrouter.ai/docs/features/batch
            batch = self._list.find(provider, f"{listed.model.id}:{tier}")
            if batch is None or not batch.model.id.endswith(f":{tier}"):
                return None
            return _list_tariff(batch, at)
        price = class_price(listed, tier, at)
        return None if price is None else list_tariff(price, anthropic=_is_anthropics(listed))


def _list_tariff(listed: Listed, at: datetime) -> Tariff | None:
    price = list_price(listed, at)
    if listed.model.id.endswith(":free") and not price_keys(price):
        return FREE
    return list_tariff(price, anthropic=_is_anthropics(listed))


def _is_anthropics(listed: Listed) -> bool:
    return "claude" in listed.model.id.lower()


def _clock_times(listed: Listed, midnight: datetime) -> Iterator[datetime]:
    """When in a day the list price may change: some providers have peak hours."""
    prices = listed.model.prices
    conditional: list[ConditionalPrice] = [] if isinstance(prices, ModelPrice) else prices
    for each in (*conditional, *(listed.model.price_variants or ())):
        if isinstance(each.constraint, TimeOfDateConstraint):
            for clock in (each.constraint.start_time, each.constraint.end_time):
                # A time without an offset is UTC; with one, it may be yesterday's or tomorrow's.
                at = datetime.combine(midnight.date(), clock, clock.tzinfo or UTC).astimezone(UTC)
                yield at.replace(year=midnight.year, month=midnight.month, day=midnight.day)


def _micros(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1)
