"""What a call cost: the gateway's word, else the contract's price, else the list price, else nobody knows.

List prices are those of `genai-prices`, which come with the package, offline, with their history. Its own
`calc_price` takes about 50 µs; here the prices of a (provider, model, class of service) that hold at a time
become exact integer rates once, and an event then costs a few integer multiplications. A test compares the two
for every model of the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol, final

from mypy_extensions import mypyc_attr

from schemas.control import Price
from schemas.rollups import PriceFaultKind
from service.ingest import pricelist
from service.ingest.call import Call
from service.ingest.quotes import Ladder, Quote, Quotes
from service.ingest.tariff import rates_for, rounded

OFF_LIST_FACTOR: Final = 2
"""A gateway's cost this many times the yardstick, or less than one part in as many, is far from it. Negotiated
discounts seldom reach half (and belong into a contract price, which then is the yardstick), batches are at
half, and surcharges (regions, data residency: a tenth) are below double; wrong units and wrong models are not."""
OFF_LIST_NANOS: Final = 100_000
"""… and off by more than $0.0001: a gateway that rounds to four decimals is off by half of that at most."""
ZERO_COST_NANOS: Final = 1_000
"""Tokens worth less than $0.000001 may cost 0: that is how a gateway with six decimals writes them."""

PriceSource = Literal["gateway", "contract", "list", "no_usage", "unpriced"]


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


@mypyc_attr(acyclic=True)
@final
class Priced:
    """What one call cost.

    Attributes
    ----------
    cost_nanos : int or None
        None: unpriced. Never 0 for unknown.
    reference_cost_nanos : int
        Standard list price of all tokens as if nothing had been cached; 0 when there is no list price.
    reference_output_nanos : int
        The share of it that is output.
    fault : str or None
        Why the cost is missing or hard to believe.
    list_nanos : int
        What the contract's price, else the list price, makes of this very call; 0 when there is neither.
    """

    __slots__ = (
        "cost_nanos",
        "fault",
        "list_nanos",
        "reference_cost_nanos",
        "reference_output_nanos",
        "source",
    )

    def __init__(
        self,
        cost_nanos: int | None,
        reference_cost_nanos: int,
        reference_output_nanos: int,
        fault: PriceFaultKind | None,
        list_nanos: int,
        source: PriceSource,
    ) -> None:
        self.cost_nanos = cost_nanos
        self.reference_cost_nanos = reference_cost_nanos
        self.reference_output_nanos = reference_output_nanos
        self.fault = fault
        self.list_nanos = list_nanos
        self.source = source

    def _all(self) -> tuple[object, ...]:
        return (
            self.cost_nanos,
            self.reference_cost_nanos,
            self.reference_output_nanos,
            self.fault,
            self.list_nanos,
            self.source,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Priced) and self._all() == other._all()

    def __hash__(self) -> int:
        return hash(self._all())

    def __repr__(self) -> str:
        return f"Priced{self._all()}"


class Pricer:
    """Prices calls. Not thread-safe; one per process.

    Parameters
    ----------
    prices : sequence of Price
        Contract prices of the config topic (`ConfigBook.prices`). They replace the *list* price while they are
        effective; of several, the one effective since last. A contract is for its provider by any name, and
        for the model as it is written, whatever the case of letters; where that is the list's own name of the
        model, also for all its other names that have no contract of their own. What a gateway computed itself
        still comes first.
    """

    def __init__(self, prices: Sequence[Price] = ()) -> None:
        self._quotes = Quotes(prices)
        self._now: dict[tuple[str, str, str | None], Quote] = {}

    def use(self, prices: Sequence[Price]) -> None:
        """Replace all contract prices."""
        self._quotes.use(prices)
        self._now.clear()

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
        - a class of service that neither a contract nor the list knows: the standard price, `unknown_tier`.
        """
        return self._price(
            (event.provider, event.model, event.service_tier),
            at_us,
            event.input_tokens,
            event.cached_input_tokens,
            event.cache_write_tokens,
            event.cache_write_1h_tokens,
            event.output_tokens,
            event.reasoning_tokens,
            event.status,
            cost_nanos,
        )

    def price_call(self, call: Call) -> Priced:
        """The same of a `Call`, whose attributes compiled code need not look up."""
        return self._price(
            (call.provider, call.model, call.service_tier),
            call.at,
            call.input_tokens,
            call.cached_input_tokens,
            call.cache_write_tokens,
            call.cache_write_1h_tokens,
            call.output_tokens,
            call.reasoning_tokens,
            call.status,
            call.cost_nanos,
        )

    def _price(
        self,
        which: tuple[str, str, str | None],
        at_us: int,
        tokens_in: int,
        cached: int,
        written: int,
        written_1h: int,
        tokens_out: int,
        reasoning: int,
        status: str,
        cost_nanos: int | None,
    ) -> Priced:
        quote = self._now.get(which)
        if quote is None or not quote.since_us <= at_us < quote.until_us:
            quote = pricelist.remember(self._now, which, self._quotes.at(*which, at_us))

        flat = quote.flat if tokens_in <= quote.first_step else quote.above(tokens_in)
        if flat is None:
            return _unlisted(cost_nanos, status, tokens_in + tokens_out)
        rate_in, rate_out, more_cached, more_write, more_write_1h, more_reasoning, request, per = flat

        output = tokens_out * rate_out
        if more_reasoning:
            output += reasoning * more_reasoning
        reference = tokens_in * rate_in + output
        listed = reference + request
        if cached:
            listed += cached * more_cached
        if written:
            listed += written * more_write + written_1h * more_write_1h
        if per != 1:
            listed, reference, output = rounded(listed, per), rounded(reference, per), rounded(output, per)
        other = quote.reference
        if other is not None:
            reference, output = _reference(other, tokens_in, tokens_out, reasoning)

        if cost_nanos is not None:
            fault: PriceFaultKind | None = None
            if not listed <= cost_nanos * OFF_LIST_FACTOR <= listed * OFF_LIST_FACTOR * OFF_LIST_FACTOR:
                fault = _disbelief(quote, tokens_in, tokens_out, status, cost_nanos, listed)
            return Priced(cost_nanos, reference, output, fault, listed, "gateway")
        if not tokens_in and not tokens_out:
            if status == "error":
                return Priced(0, 0, 0, None, 0, "no_usage")
            if not request:
                return Priced(None, 0, 0, "unpriced", 0, "unpriced")
        return Priced(listed, reference, output, quote.fault, listed, quote.source)


def _unlisted(cost_nanos: int | None, status: str, tokens: int) -> Priced:
    if cost_nanos is not None:
        return Priced(cost_nanos, 0, 0, None, 0, "gateway")
    if status == "error" and not tokens:
        return Priced(0, 0, 0, None, 0, "no_usage")
    return Priced(None, 0, 0, "unpriced", 0, "unpriced")


def _reference(ladder: Ladder, tokens_in: int, tokens_out: int, reasoning: int) -> tuple[int, int]:
    """Of a contract or of a class of service: the standard list price tells how dear it has become."""
    flat = ladder.flat if tokens_in <= ladder.first_step else ladder.above(tokens_in)
    rate_in, rate_out, _, _, _, more_reasoning, _, per = flat
    output = tokens_out * rate_out + reasoning * more_reasoning
    reference = tokens_in * rate_in + output
    return (reference, output) if per == 1 else (rounded(reference, per), rounded(output, per))


def _disbelief(
    quote: Quote, tokens_in: int, tokens_out: int, status: str, cost: int, listed: int
) -> PriceFaultKind | None:
    """Whether a gateway's cost that is far from the yardstick is a fault."""
    if cost == 0:
        worth = listed >= ZERO_COST_NANOS and status != "error" and not quote.free
        return "zero_cost" if worth else None
    if quote.fault is not None or quote.tariff is None or not listed:
        return None  # the yardstick is not this class of service's
    rates = rates_for(quote.tariff, tokens_in)
    if cost < listed:
        # What is paid per request depends on what was asked for; an error or a cancelled stream, on luck.
        least = listed - rounded(rates.request, rates.per)
        far = cost * OFF_LIST_FACTOR < least and least - cost > OFF_LIST_NANOS
        return "off_list" if far and status == "success" else None
    extra = tokens_in * rates.extra_input + tokens_out * rates.extra_output
    most = listed + rounded(extra, rates.per)
    return "off_list" if cost > most * OFF_LIST_FACTOR and cost - most > OFF_LIST_NANOS else None
