"""What a call cost: the gateway's word, else the contract's price, else the list price, else nobody knows.

List prices are those of `genai-prices`, which come with the package, offline, with their history. Its own
`calc_price` takes about 50 µs; here each (provider, model, UTC day) becomes exact integer rates once, and an
event then costs a few integer multiplications. A test compares the two for every model of the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Final, Literal, NamedTuple, Protocol, TypeVar

from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, TimeOfDateConstraint

from schemas.control import Price
from schemas.rollups import PriceFaultKind
from service.ingest.tariff import FREE, Tariff, contract_tariff, list_tariff, price_keys, rates_for, rounded

MAX_CACHED: Final = 20_000
"""Entries of each cache. A flood of invented model names must not fill the memory."""

PROVIDER_ALIASES: Final = {
    # gen_ai.provider.name (OpenTelemetry) and custom_llm_provider (LiteLLM) that genai-prices does not know.
    "azure.ai.inference": "azure",
    "azure_ai": "azure",
    "fireworks_ai": "fireworks",
    "gcp.gen_ai": "google",
    "x_ai": "x-ai",
}

PriceSource = Literal["gateway", "contract", "list", "no_usage", "unpriced"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_K = TypeVar("_K")
_V = TypeVar("_V")


class Usage(Protocol):
    """What of a call decides its price: a `CostEvent`, or anything flat with the same names."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def input_tokens(self) -> int: ...
    @property
    def cached_input_tokens(self) -> int: ...
    @property
    def cache_write_tokens(self) -> int: ...
    @property
    def cache_write_1h_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def reasoning_tokens(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def operation(self) -> str | None: ...
    @property
    def service_tier(self) -> str | None: ...


class Priced(NamedTuple):
    """What one call cost.

    Attributes
    ----------
    cost_nanos : int or None
        None: unpriced. Never 0 for unknown.
    reference_cost_nanos : int
        List price of all tokens as if nothing had been cached; 0 when there is no list price.
    reference_output_nanos : int
        The share of it that is output.
    fault : str or None
        Why the cost is missing or hard to believe.
    list_nanos : int
        What the contract's price, else the list price, makes of this very call; 0 when there is neither.
    """

    cost_nanos: int | None
    reference_cost_nanos: int
    reference_output_nanos: int
    fault: PriceFaultKind | None
    list_nanos: int
    source: PriceSource


class _Entry(NamedTuple):
    """What holds for one (provider, model, UTC day)."""

    cost: Tariff | None
    reference: Tariff | None
    source: PriceSource
    varies: _Varying | None = None


class _Varying(NamedTuple):
    """What is needed when the price changes within a day."""

    model: ModelInfo | None
    contracts: tuple[tuple[datetime, Tariff], ...]  # by falling effective_from


class Pricer:
    """Prices events. Not thread-safe; one per process.

    Parameters
    ----------
    prices : sequence of Price
        Contract prices of the config topic (`ConfigBook.prices`). They replace the *list* price of exactly
        their provider and model, whatever the case of letters, for events from `effective_from` on; the
        latest effective one holds. What a gateway computed itself still comes first.
    """

    def __init__(self, prices: Sequence[Price] = ()) -> None:
        self._contracts: dict[tuple[str, str], list[Price]] = {}
        self._entries: dict[tuple[str, str, int], _Entry] = {}
        self._models: dict[tuple[str, str], ModelInfo | None] = {}
        self._tariffs: dict[int, tuple[ModelPrice, Tariff | None]] = {}
        self._snapshot = DataSnapshot(get_snapshot().providers, from_auto_update=False)
        self.use(prices)

    def use(self, prices: Sequence[Price]) -> None:
        """Replace all contract prices."""
        self._contracts = {}
        for price in sorted(prices, key=lambda p: (p.effective_from, p.name), reverse=True):
            self._contracts.setdefault((price.provider.lower(), price.model.lower()), []).append(price)
        self._entries.clear()

    def price(self, event: Usage, at_us: int, cost_nanos: int | None) -> Priced:
        """Price one call, rounded half to even to whole nano-dollars, once.

        Parameters
        ----------
        event : Usage
            A call. A metered charge costs what it says and never gets here.
        at_us : int
            When it ended, microseconds since the epoch, UTC.
        cost_nanos : int or None
            What the gateway computed; None when it did not say.

        Without the gateway's cost:

        - `error` without any token: 0, source `no_usage`. Providers do not charge for a failed call.
        - any other status without any token: unpriced, unless the model has a price per request. Gateways
          report none when a client hangs up, but the provider charges.
        - a model that is unknown, or whose list price is not per token (audio by the hour): unpriced.
        """
        at = _EPOCH + timedelta(microseconds=at_us)
        entry = self._entries.get((event.provider, event.model, at.toordinal()))
        if entry is None:
            entry = self._enter(event.provider, event.model, at)
        if entry.varies is not None:
            entry = self._resolve(entry.varies, at)

        tokens_in, tokens_out = event.input_tokens, event.output_tokens
        reference = reference_output = 0
        if entry.reference is not None:
            rates = rates_for(entry.reference, tokens_in)
            reasoning = event.reasoning_tokens
            output = (tokens_out - reasoning) * rates.output + reasoning * rates.reasoning
            reference = rounded(tokens_in * rates.input + output, rates.per)
            reference_output = rounded(output, rates.per)

        cost = 0
        if entry.cost is not None:
            rates = rates_for(entry.cost, tokens_in)
            if tokens_in or tokens_out or rates.request:
                cached, write, reasoning = (
                    event.cached_input_tokens,
                    event.cache_write_tokens,
                    event.reasoning_tokens,
                )
                cost = rounded(
                    (tokens_in - cached - write) * rates.input
                    + cached * rates.cached
                    + write * rates.write
                    + (tokens_out - reasoning) * rates.output
                    + reasoning * rates.reasoning
                    + rates.request,
                    rates.per,
                )
        if cost_nanos is not None:
            return Priced(cost_nanos, reference, reference_output, None, cost, "gateway")
        if not tokens_in and not tokens_out:
            if event.status == "error":
                return Priced(0, 0, 0, None, 0, "no_usage")
            if not cost:
                return Priced(None, 0, 0, "unpriced", 0, "unpriced")
        if entry.cost is None:
            return Priced(None, reference, reference_output, "unpriced", 0, "unpriced")
        return Priced(cost, reference, reference_output, None, cost, entry.source)

    def _enter(self, provider: str, model: str, at: datetime) -> _Entry:
        listed = self._find(provider, model)
        contracts = tuple(
            (price.effective_from, contract_tariff(price))
            for price in self._contracts.get((provider.lower(), model.lower()), ())
        )
        varying = _Varying(listed, contracts)
        if (listed is not None and _by_time_of_day(listed)) or any(
            start.date() == at.date() and start.time() != time.min for start, _ in contracts
        ):
            entry = _Entry(None, None, "unpriced", varying)
        else:
            entry = self._resolve(varying, at)
        return _remember(self._entries, (provider, model, at.toordinal()), entry)

    def _resolve(self, varying: _Varying, at: datetime) -> _Entry:
        listed = None if varying.model is None else self._list_tariff(varying.model, at)
        for start, tariff in varying.contracts:
            if start <= at:
                return _Entry(tariff, listed or tariff, "contract")
        return _Entry(listed, listed, "list" if listed is not None else "unpriced")

    def _list_tariff(self, model: ModelInfo, at: datetime) -> Tariff | None:
        price = model.get_prices(at)
        known = self._tariffs.get(id(price))  # the price is kept along with it, so that its id stays its own
        if known is None:
            free = model.id.endswith(":free") and not price_keys(price)
            known = _remember(self._tariffs, id(price), (price, FREE if free else list_tariff(price)))
        return known[1]

    def _find(self, provider: str, model: str) -> ModelInfo | None:
        key = (provider, model)
        if key in self._models:
            return self._models[key]
        if len(self._models) >= MAX_CACHED:
            # The snapshot remembers every name it was asked for, for ever: start another.
            self._snapshot = DataSnapshot(self._snapshot.providers, from_auto_update=False)
        return _remember(self._models, key, _find_model(self._snapshot, provider.strip(), model.strip()))


def _find_model(snapshot: DataSnapshot, provider: str, model: str) -> ModelInfo | None:
    provider = PROVIDER_ALIASES.get(provider.lower(), provider)
    try:
        found = snapshot.find_provider(None, provider, None) if provider.lower() != "litellm" else None
    except LookupError:
        return None
    names = [model]
    prefix, slash, rest = model.partition("/")
    if slash and rest:
        # `azure/gpt-4o` at azure: LiteLLM writes the provider in front of the model.
        try:
            if found is snapshot.find_provider(None, PROVIDER_ALIASES.get(prefix.lower(), prefix), None):
                names.append(rest)
        except LookupError:
            pass
    for name in names:
        try:
            return snapshot.find_provider_model(name, found, provider, None)[1]
        except LookupError:
            continue
    return None


def _by_time_of_day(model: ModelInfo) -> bool:
    return not isinstance(model.prices, ModelPrice) and any(
        isinstance(conditional, ConditionalPrice) and isinstance(conditional.constraint, TimeOfDateConstraint)
        for conditional in model.prices
    )


def _remember(cache: dict[_K, _V], key: _K, value: _V) -> _V:
    if len(cache) >= MAX_CACHED:
        cache.clear()
    cache[key] = value
    return value
