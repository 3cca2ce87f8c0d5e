"""Classes of service: batch, flex, priority, … What gateways call them, and what the list knows of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Final

from genai_prices.types import ModelPrice, PriceVariant, StartDateConstraint

from service.ingest.corrections import list_price
from service.ingest.pricelist import Listed

STANDARD: Final = frozenset({"", "auto", "default", "none", "on_demand", "standard", "standard_only"})
"""What providers and gateways call the usual class. `auto` is what was asked for, not what was billed: it may
have been a scale or priority tier that is paid for in advance, and nobody can tell."""

_ALIASES: Final = {
    # Vertex AI's `trafficType`: https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
}

BATCH_SINCE: Final = {
    # The list begins its batch prices on the day somebody checked them (2026-10), but the vendors have sold
    # batches at half price since these days.
    "anthropic": date(2024, 10, 8),  # https://www.anthropic.com/news/message-batches-api
    "google": date(
        2025, 7, 7
    ),  # https://developers.googleblog.com/en/scale-your-ai-workloads-batch-mode-gemini-api/
    "openai": date(2024, 4, 15),  # https://developers.openai.com/api/docs/changelog
}


def service_class(tier: str | None) -> str | None:
    """The class of service that a gateway's `service_tier` means; None: the standard one."""
    if tier is None:
        return None
    name = tier.strip().lower()
    return None if name in STANDARD else _ALIASES.get(name, name)


def class_price(listed: Listed, tier: str, at: datetime) -> ModelPrice | None:
    """What the list says of a class of service other than the standard one; None when it does not know it.

    The list names them `processing: batch`, `service_tier: flex | priority | fast` (OpenAI, Google) and
    `speed: fast` (Anthropic). What a class has no price of its own for, such as cached tokens in some
    batches, costs what it does in the standard class. A vendor's classes are not those of another provider
    that sells the same model.
    """
    if listed.vendor != listed.provider:
        return None
    context = {"processing": tier, "service_tier": tier, "speed": tier}
    model = listed.model
    variants = [each for each in model.price_variants or () if each.when.items() <= context.items()]
    if any(each.constraint is None or each.constraint.active(at) for each in variants):
        return model.get_prices(at, context)
    start = _batch_before_it_was_listed(listed, variants, at) if tier == "batch" else None
    return None if start is None else model.get_prices(start, context)


def _batch_before_it_was_listed(
    listed: Listed, variants: list[PriceVariant], at: datetime
) -> datetime | None:
    """The first day of a batch price that held before too: the standard price has not changed in between."""
    since = BATCH_SINCE.get(listed.vendor)
    starts = [
        each.constraint.start_date for each in variants if isinstance(each.constraint, StartDateConstraint)
    ]
    if since is None or not starts or at.date() < since:
        return None
    start = datetime.combine(min(starts), time.min, UTC)
    return start if at < start and list_price(listed, at) == list_price(listed, start) else None
