"""FOCUS 1.0 to 1.4: rows of a bill, as JSON objects whose keys are the columns' names.

Source: the FOCUS specification 1.2 with its example data, and what 1.3 and 1.4 renamed. A row sums up many calls
(an hour, a day, a month of one SKU), so it becomes a charge and never a call.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import orjson

from schemas.reasons import Reason, Refused
from service.ingest.adapters.foreign import (
    digest,
    dollars,
    event,
    event_id,
    first_label,
    instant,
    key_name,
    label,
    part,
    pseudonym,
)

OWN: Final = ("workflow", "team", "feature", "customer", "environment")
"""What tags and `x_` columns may name."""

_NUMBER: Final = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_ACCELERATOR: Final = re.compile(
    r"gpu|accelerator|\btpu|\b(?:[abhl]\d{2,3}[gs]?|l4|t4|v100|mi\d{3}x?)\b|\b(?:p[3-6]|g[4-6]|trn|inf)\w*\.\w+"
)
"""In a SKU or resource type: the word, NVIDIA's and AMD's models, AWS's families of instances."""
_HOURS: Final = re.compile(r"\bhours?\b|\bhrs?\b")
_SEATS: Final = re.compile(r"\b(?:seat|user|license|licence|subscription)s?\b")
_STORAGE: Final = re.compile(r"\bstorage\b|^\s*(?:[\d,]+ )?(?:[kmgtpe]i?b|tokens?)-(?:hour|day|month)s?\s*$")
_TUNING: Final = re.compile(r"fine[- ]?tun|\btraining\b")
_CREDITS: Final = re.compile(r"\bcredits?\b|\bcommitments?\b|\bprepa(?:id|yment)\b")
_MAX_QUANTITY: Final = 10**12


def from_focus(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One charge per row that is billed: of the row itself, or of a batch `{"rows": [row, …]}`.

    A row with a `BilledCost` of 0 is none (usage that a commitment or a marketplace pays for elsewhere).

    Raises
    ------
    Refused
        `negative` for credits and refunds, `invalid_value` for another currency than USD. Paths are columns,
        below `rows.<index>` in a batch.
    """
    rows = document.get("rows")
    if rows is None:
        return _charges({"": document})
    if not isinstance(rows, list):
        raise Refused(Reason.WRONG_TYPE, "expected a list of rows", "rows")
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise Refused(Reason.WRONG_TYPE, "expected a row", f"rows.{index}")
    return _charges({f"rows.{index}.": row for index, row in enumerate(rows)})


def _charges(rows: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    seen: Counter[str] = Counter()
    found = []
    for path, row in rows.items():
        cost = _cost(row, path)
        if cost:
            own = _id(row)
            seen[own] += 1  # two rows of one batch that are all the same are still two rows
            found.append(_charge(row, path, cost, own if seen[own] == 1 else f"{own}#{seen[own]}"))
    return found


def _cost(row: Mapping[str, Any], path: str) -> Decimal:
    value = row.get("BilledCost")
    if value is None:
        raise Refused(
            Reason.MISSING_FIELD, "not a row of FOCUS, or one without its cost", f"{path}BilledCost"
        )
    currency = row.get("BillingCurrency")
    if currency != "USD":
        reason = Reason.MISSING_FIELD if currency is None else Reason.INVALID_VALUE
        raise Refused(reason, "only bills in USD are read", f"{path}BillingCurrency")
    try:
        return dollars(value, f"{path}BilledCost") or Decimal(0)
    except Refused as refused:
        if refused.reason is not Reason.NEGATIVE:
            raise
        raise Refused(
            Reason.NEGATIVE,
            "credits, refunds and corrections that give money back are no charges",
            refused.path,
        ) from None


def _charge(row: Mapping[str, Any], path: str, cost: Decimal, own: str) -> dict[str, Any]:
    details = _pairs(row.get("SkuPriceDetails"))
    provider = first_label(
        *map(row.get, ("ServiceProviderName", "ProviderName", "PublisherName", "InvoiceIssuerName"))
    )
    model = first_label(
        row.get("x_Model"),
        details.get("ModelId"),
        details.get("InstanceType"),
        *map(row.get, ("SkuId", "ServiceName", "ChargeDescription")),
    )
    if provider is None:
        raise Refused(Reason.MISSING_FIELD, "names no provider", f"{path}ServiceProviderName")
    if model is None:
        raise Refused(Reason.MISSING_FIELD, "names neither SKU nor service", f"{path}ServiceName")
    quantity, unit = _quantity(row, path)
    labels = _labels(row)
    return event(
        event_id=own,
        occurred_at=instant(row.get("ChargePeriodStart"), f"{path}ChargePeriodStart"),
        provider=provider.lower(),
        model=model,
        workflow=labels["workflow"],
        team=first_label(labels["team"], row.get("SubAccountName"), row.get("SubAccountId")),
        feature=labels["feature"],
        customer=labels["customer"],
        user=pseudonym(row.get("PrincipalId")),
        api_key=key_name(row.get("CredentialId")),
        environment=labels["environment"],
        request_tags=[
            tag
            for column in ("ChargeCategory", "ServiceCategory", "SkuMeter")
            if (text := label(row.get(column))) is not None and (tag := label(f"{column}:{text}")) is not None
        ],
        cost_usd=cost,
        charge={"kind": _kind(row, details), "quantity": quantity, "unit": unit},
    )


def _kind(row: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    """The first of these that fits; every word is looked for in the columns named and nowhere else."""

    def text(*columns: str) -> str:
        return " | ".join(label(row.get(column)) or "" for column in columns).lower().replace("_", " ")

    category = text("ChargeCategory")
    unit, meter = text("PricingUnit"), text("SkuMeter", "SkuId", "ResourceType")
    if category in ("tax", "adjustment"):
        return "other"
    if _TUNING.search(meter):
        return "fine_tune"
    if "embedding" in meter:
        return "embeddings"
    if _SEATS.search(unit) or _SEATS.search(text("SkuMeter")):
        return "seats"
    if category == "credit" or (
        category == "purchase"
        and (row.get("CommitmentDiscountCategory") is not None or _CREDITS.search(f"{unit} | {meter}"))
    ):
        return "credits"
    if _HOURS.search(unit) and (
        _positive(details.get("GpuCount")) or _ACCELERATOR.search(f"{unit} | {meter}")
    ):
        return "gpu_hours"
    if text("ServiceCategory") == "storage" or _STORAGE.search(unit) or _STORAGE.search(text("SkuMeter")):
        return "storage"
    return "credits" if _CREDITS.search(unit) else "other"


def _quantity(row: Mapping[str, Any], path: str) -> tuple[float, str]:
    """What the cost pays for: the priced quantity, else the consumed one, else one charge (taxes, corrections)."""
    for quantity, unit in (("PricingQuantity", "PricingUnit"), ("ConsumedQuantity", "ConsumedUnit")):
        number, name = _decimal(row.get(quantity), f"{path}{quantity}"), label(row.get(unit))
        if number > _MAX_QUANTITY:
            raise Refused(Reason.OUT_OF_RANGE, f"more than {_MAX_QUANTITY:,}", f"{path}{quantity}")
        if number > 0 and name is not None:
            return float(number), name
    return 1.0, "charge"


def _decimal(value: object, path: str) -> Decimal:
    if value is None:
        return Decimal(0)
    text = str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    if len(text) > 40 or not _NUMBER.fullmatch(text):
        raise Refused(Reason.WRONG_TYPE, "expected a number", path)
    return Decimal(text)


def _positive(value: object) -> bool:
    return isinstance(value, (str, int, float)) and bool(re.fullmatch(r"0*[1-9]\d{0,5}(\.0+)?", str(value)))


def _labels(row: Mapping[str, Any]) -> dict[str, str | None]:
    """`x_` columns, then tags; a tag's scheme (`user:team`, `scheme/team`) counts for nothing."""
    tags = _pairs(row.get("Tags"))
    own = {key.lower().removeprefix("x_"): row[key] for key in sorted(row) if key[:2].lower() == "x_"}
    exact = {key.lower(): tags[key] for key in sorted(tags, reverse=True)}
    last = {re.split("[/:]", key)[-1]: exact[key] for key in sorted(exact, reverse=True)}
    return {name: first_label(own.get(name), exact.get(name), last.get(name)) for name in OWN}


def _pairs(value: object) -> Mapping[str, Any]:
    """A key-value column: an object, or the string that the specification asks for."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return {}
    return part({"": value}, "")


def _id(row: Mapping[str, Any]) -> str:
    """The row's own `x_EventId`, else a digest of its columns: FOCUS has no id of a row.

    Of the `x_` columns only those that are read count, so that the time of an export makes no new charge.
    """
    given = label(row.get("x_EventId"))
    if given is not None:
        return event_id(f"focus/{given}")
    known = {
        key: value
        for key, value in row.items()
        if value is not None and (not key.startswith("x_") or key[2:].lower() in (*OWN, "model"))
    }
    return "focus/" + digest(repr(_sorted(known)))


def _sorted(value: object) -> object:
    if isinstance(value, Mapping):
        return sorted((key, _sorted(item)) for key, item in value.items())
    return [_sorted(item) for item in value] if isinstance(value, list) else value
