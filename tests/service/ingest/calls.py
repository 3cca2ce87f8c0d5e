"""Calls and contracts to be priced, for the tests of prices."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from schemas.control import Price
from schemas.events import CostEvent
from schemas.money import nanos
from service.ingest.price import Priced, Pricer
from tests.service.ingest.events import event

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def call(provider: str, model: str, usage: tuple[int, ...] = (1_000, 0, 0, 100, 0), **more: Any) -> CostEvent:
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


def contract(name: str, effective_from: datetime, usd: str, **more: Any) -> Price:
    return Price(
        name=name,
        provider="OpenAI",
        effective_from=effective_from,
        input_usd_per_mtok=Decimal(usd),
        output_usd_per_mtok=Decimal(10),
        **{"model": "gpt-4o", **more},
    )
