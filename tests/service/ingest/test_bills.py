"""Prices against bills that were computed by hand from vendors' public price pages."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import pytest

from service.ingest.price import Pricer

DOCUMENT = tomllib.loads((Path(__file__).parent / "bills.toml").read_text(encoding="utf-8"))
BILLS: list[dict[str, Any]] = DOCUMENT["bill"]
PRICER = Pricer()
_by_hand = pytest.mark.parametrize("bill", BILLS, ids=lambda bill: bill["what"])


@dataclass(frozen=True, slots=True)
class Call:
    provider: str
    model: str
    service_tier: str | None
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    status: str = "success"
    operation: str | None = "chat"


def call(bill: dict[str, Any]) -> Call:
    tokens = bill["tokens"]
    return Call(
        bill["provider"],
        bill["model"],
        bill.get("tier"),
        tokens["input"],
        tokens.get("cached", 0),
        tokens.get("written", 0),
        tokens.get("written_1h", 0),
        tokens.get("output", 0),
        tokens.get("reasoning", 0),
    )


def at_us(bill: dict[str, Any]) -> int:
    then = datetime.fromisoformat(bill["at"])
    return (then - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@_by_hand
def test_a_bill_is_what_a_hand_made_of_the_vendors_prices(bill: dict[str, Any]) -> None:
    priced = PRICER.price(call(bill), at_us(bill), None)
    assert (priced.cost_nanos, priced.list_nanos) == (bill["nanos"], bill["nanos"])
    assert (priced.fault, priced.source) == (bill.get("fault"), "list")


@_by_hand
def test_the_hand_did_not_slip(bill: dict[str, Any]) -> None:
    """The row's own prices and tokens, added up as decimals: nothing here is the pricer's."""
    tokens, usd = bill["tokens"], {name: Decimal(price) for name, price in bill["usd"].items()}
    hour, reasoning = tokens.get("written_1h", 0), tokens.get("reasoning", 0) if "reasoning" in usd else 0
    parts = {
        "input": tokens["input"] - tokens.get("cached", 0) - tokens.get("written", 0),
        "cached": tokens.get("cached", 0),
        "written": tokens.get("written", 0) - hour,
        "written_1h": hour,
        "output": tokens.get("output", 0) - reasoning,
        "reasoning": reasoning,
    }
    nanos = sum((count * usd[part] * 1_000 for part, count in parts.items() if count), Decimal(0))
    nanos += usd.get("request", Decimal(0)) * 10**9
    assert nanos.quantize(Decimal(1), ROUND_HALF_EVEN) == bill["nanos"]
    assert bill["page"] in DOCUMENT["pages"]


def test_the_bills_are_many_and_cover_what_vendors_charge_by() -> None:
    assert len({(b["provider"], b["model"], b.get("tier"), b["at"]) for b in BILLS}) >= 60
    assert {b.get("tier") for b in BILLS} >= {None, "batch", "flex", "priority", "scale", "default"}
    for kind in ("cached", "written", "written_1h", "reasoning"):
        assert sum(1 for b in BILLS if b["tokens"].get(kind)) >= 4, kind
    assert sum(1 for b in BILLS if b["tokens"]["input"] > 200_000) >= 8
