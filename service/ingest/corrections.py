"""Where the list of prices is known to differ from what a vendor published at the time: a short, dated table.

Only what a vendor's own page, or what several readers of it wrote down at the time, leaves no doubt about. A row
goes when the list has it. Bills computed by hand are in `tests/service/ingest/bills.toml`.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple

from genai_prices.types import ModelPrice, Tier, TieredPrices

from service.ingest.pricelist import Listed


class Correction(NamedTuple):
    """From `since` until before `until`, these prices of the list are those instead, in dollars per million."""

    vendor: str
    model: str
    since: datetime
    until: datetime
    prices: dict[str, Decimal | TieredPrices]

    def holds(self, listed: Listed, at: datetime) -> bool:
        """Whether it is about this model then."""
        return self.concerns(listed) and self.since <= at < self.until

    def concerns(self, listed: Listed) -> bool:
        """Whether it is about this model at all."""
        return listed.model.id == self.model and listed.vendor == self.vendor


def _flat(tokens_in: str, cached: str, tokens_out: str) -> dict[str, Decimal | TieredPrices]:
    return {
        "input_mtok": Decimal(tokens_in),
        "cache_read_mtok": Decimal(cached),
        "output_mtok": Decimal(tokens_out),
    }


def _above_200k(base: str, above: str) -> TieredPrices:
    return TieredPrices(base=Decimal(base), tiers=[Tier(start=200_000, price=Decimal(above))])


def _utc(year: int, month: int, day: int, hour: int = 0) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


# Both endpoints at one price and no night discount, from https://api-docs.deepseek.com/quick_start/pricing as of
# August 2025; then "50%+" off with DeepSeek-V3.2-Exp, https://api-docs.deepseek.com/news/news250929; then, from
# V4 on, names for V4 Flash until they were retired. The list still has the prices of February 2025.
_OLD_DEEPSEEK: Final = [
    Correction("deepseek", model, since, until, _flat(*prices))
    for model in ("deepseek-chat", "deepseek-reasoner")
    for since, until, prices in (
        (_utc(2025, 9, 5, 16), _utc(2025, 9, 29), ("0.56", "0.07", "1.68")),
        (_utc(2025, 9, 29), _utc(2026, 4, 24), ("0.28", "0.028", "0.42")),
        (_utc(2026, 4, 24), _utc(2026, 7, 24, 16), ("0.14", "0.0028", "0.28")),
    )
]

CORRECTIONS: Final = (
    # https://platform.openai.com/docs/models/o3 at its launch: $10, cached $2.50, $40. The list has cached input
    # at the later $0.50.
    Correction("openai", "o3", _utc(2025, 4, 16), _utc(2025, 6, 10), {"cache_read_mtok": Decimal("2.50")}),
    # https://platform.claude.com/docs/en/models/sonnet-5-5/overview: a cache read was $0.20 until 2026-10-07.
    Correction(
        "anthropic",
        "claude-sonnet-5-5",
        _utc(2026, 9, 1),
        _utc(2026, 10, 7),
        {"cache_read_mtok": Decimal("0.20")},
    ),
    # Prompts above 200k of Claude Sonnet 4, as of Sonnet 4.5, which the list does have:
    # https://claude.com/blog/1m-context. The long context ended on 2026-04-30.
    Correction(
        "anthropic",
        "claude-sonnet-4-0",
        _utc(2025, 8, 12),
        _utc(2026, 4, 30),
        {
            "input_mtok": _above_200k("3", "6"),
            "cache_read_mtok": _above_200k("0.30", "0.60"),
            "cache_write_mtok": _above_200k("3.75", "7.50"),
            "cache_write_1h_mtok": _above_200k("6", "12"),
            "output_mtok": _above_200k("15", "22.50"),
        },
    ),
    *_OLD_DEEPSEEK,
)

_QUIET_WEEKENDS_SINCE: Final = _utc(2026, 10, 16)
"""DeepSeek's peak hours are from Monday to Friday: https://api-docs.deepseek.com/quick_start/pricing as of
October 2026. The list has them on every day. Chinese public holidays are quiet too, and not known here."""
_SATURDAY: Final = 5


def list_price(listed: Listed, at: datetime) -> ModelPrice:
    """The standard price of a model at an instant, corrected."""
    if listed.vendor == "deepseek" and at >= _QUIET_WEEKENDS_SINCE and at.weekday() >= _SATURDAY:
        at = at.replace(hour=0, minute=0, second=0, microsecond=0)
    price = listed.model.get_prices(at)
    for correction in CORRECTIONS:
        if correction.holds(listed, at):
            price = copy(price)
            for key, value in correction.prices.items():
                setattr(price, key, value)
    return price


def changes(listed: Listed, day: datetime) -> Iterator[datetime]:
    """When a correction begins or ends within a UTC day."""
    for correction in CORRECTIONS:
        if correction.concerns(listed):
            for instant in (correction.since, correction.until):
                if instant.date() == day.date():
                    yield instant
