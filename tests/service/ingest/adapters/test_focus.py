"""FOCUS rows: kinds of charges, ids, tags, and what cannot be a charge."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.reasons import Reason, Refused
from service.ingest.adapters.focus import from_focus
from tests.service.ingest.adapters.golden_files import but, ids, record

ROW = record("focus", "tokens-of-version-1-2")


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({}, "other"),
        ({"PricingUnit": "GPU-Hours"}, "gpu_hours"),
        ({"PricingUnit": "Hours", "SkuMeter": "NVIDIA H100 80GB"}, "gpu_hours"),
        ({"PricingUnit": "1 Hour", "SkuId": "Standard_NC24ads_A100_v4"}, "gpu_hours"),
        ({"PricingUnit": "Hours", "SkuPriceDetails": '{"GpuCount": "4"}'}, "gpu_hours"),
        ({"PricingUnit": "Hours", "SkuPriceDetails": '{"GpuCount": 0}', "SkuId": "m5.large"}, "other"),
        ({"PricingUnit": "Hours", "SkuId": "Standard_D4_v4"}, "other"),
        ({"PricingUnit": "Users/Month"}, "seats"),
        ({"SkuMeter": "Business Licenses"}, "seats"),
        ({"ServiceCategory": "Storage", "PricingUnit": "GB-Months"}, "storage"),
        ({"PricingUnit": "GiB-Hours"}, "storage"),
        ({"PricingUnit": "Credits"}, "credits"),
        ({"ChargeCategory": "Purchase", "SkuMeter": "Prepaid Credits"}, "credits"),
        ({"ChargeCategory": "Purchase", "CommitmentDiscountCategory": "Spend"}, "credits"),
        ({"SkuMeter": "Fine tuning"}, "fine_tune"),
        ({"SkuId": "text-embedding-3-small"}, "embeddings"),
        ({"ChargeCategory": "Tax", "PricingUnit": "Seats"}, "other"),
        ({"ChargeCategory": "Adjustment", "ChargeClass": "Correction"}, "other"),
    ],
)
def test_the_kind_of_a_charge(columns: dict[str, Any], kind: str) -> None:
    assert from_focus(but(ROW, **columns))[0]["charge"]["kind"] == kind


def test_a_row_is_the_same_charge_whenever_it_is_exported() -> None:
    shuffled = dict(sorted(ROW.items(), reverse=True))
    assert ids(from_focus(but(shuffled, x_ExportDateTime="2026-03-01T00:00:00Z", RegionId=None))) == ids(
        from_focus(ROW)
    )


@pytest.mark.parametrize(
    "column", ["BillingAccountId", "ChargePeriodStart", "SkuId", "ResourceId", "BilledCost"]
)
def test_rows_that_differ_in_a_column_are_two_charges(column: str) -> None:
    other = but(ROW, **{column: "2026-01-31T16:00:00Z" if column == "ChargePeriodStart" else "7"})
    assert ids(from_focus(other)) != ids(from_focus(ROW))


def test_a_row_that_brings_its_own_id_keeps_it() -> None:
    assert ids(from_focus(but(ROW, x_EventId="line-7"))) == ["focus/line-7"]


def test_tags_may_be_json_or_an_object_and_columns_of_our_own_come_first() -> None:
    for tags in ('{"Workflow": "a", "user:team": "t"}', {"Workflow": "a", "user:team": "t"}):
        (event,) = from_focus(but(ROW, Tags=tags))
        assert (event["workflow"], event["team"]) == ("a", "t")
    (event,) = from_focus(but(ROW, Tags="{", x_Workflow="b"))
    assert (event["workflow"], event["team"]) == ("b", "platform")


def test_a_tag_without_a_scheme_comes_before_one_with() -> None:
    assert from_focus(but(ROW, Tags={"aws:team": "x", "team": "y"}))[0]["team"] == "y"


@pytest.mark.parametrize(
    ("columns", "reason", "path"),
    [
        ({"BilledCost": None}, Reason.MISSING_FIELD, "BilledCost"),
        ({"BilledCost": "-0.01"}, Reason.NEGATIVE, "BilledCost"),
        ({"BilledCost": "$3"}, Reason.INVALID_AMOUNT, "BilledCost"),
        ({"BilledCost": "1500000"}, Reason.OUT_OF_RANGE, "BilledCost"),
        ({"BillingCurrency": None}, Reason.MISSING_FIELD, "BillingCurrency"),
        ({"BillingCurrency": "JPY"}, Reason.INVALID_VALUE, "BillingCurrency"),
        ({"ChargePeriodStart": None}, Reason.MISSING_FIELD, "ChargePeriodStart"),
        ({"PricingQuantity": "lots"}, Reason.WRONG_TYPE, "PricingQuantity"),
        ({"PricingQuantity": "1e13"}, Reason.OUT_OF_RANGE, "PricingQuantity"),
    ],
)
def test_a_row_that_cannot_be_a_charge_is_refused(columns: dict[str, Any], reason: Reason, path: str) -> None:
    with pytest.raises(Refused) as caught:
        from_focus(but(ROW, **columns))
    assert (caught.value.reason, caught.value.path) == (reason, path)
    with pytest.raises(Refused) as caught:
        from_focus({"rows": [ROW, but(ROW, **columns)]})
    assert (caught.value.reason, caught.value.path) == (reason, f"rows.1.{path}")
