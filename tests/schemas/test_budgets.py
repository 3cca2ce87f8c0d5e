"""Budget records: what is refused, with the path of the field that was wrong, and what is filled in."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest

from schemas.budgets import BudgetSnapshot
from schemas.catalog import EXAMPLES
from schemas.control import Budget
from schemas.decode import decode
from schemas.money import nanos
from schemas.reasons import Reason, Refused

SMALL: dict[str, Any] = {
    "kind": "budget",
    "name": "care",
    "scope": {"kind": "team", "value": "care"},
    "window": "month",
    "amount_usd": "100",
}
INCREASE = {"amount_usd": "5", "expires_at": "2026-03-01T00:00:00Z", "author": "ops"}


def budget(**changes: Any) -> Budget:
    document = {**SMALL, **changes}
    return decode(Budget, orjson.dumps({name: v for name, v in document.items() if v is not ...}))


REFUSED: list[tuple[dict[str, Any], Reason, str]] = [
    ({"amount_usd": ...}, Reason.MISSING_FIELD, "amount_usd"),
    ({"amount_tokens": 5}, Reason.INVALID_VALUE, "amount_usd"),
    ({"amount_usd": 0}, Reason.OUT_OF_RANGE, "amount_usd"),
    ({"amount_usd": -1}, Reason.NEGATIVE, "amount_usd"),
    ({"amount_usd": "1000000000.01"}, Reason.OUT_OF_RANGE, "amount_usd"),
    ({"amount_usd": "ten"}, Reason.INVALID_AMOUNT, "amount_usd"),
    ({"amount_usd": True}, Reason.WRONG_TYPE, "amount_usd"),
    ({"amount_usd": ..., "amount_tokens": 0}, Reason.OUT_OF_RANGE, "amount_tokens"),
    ({"scope": {"kind": "team"}}, Reason.MISSING_FIELD, "scope.value"),
    ({"scope": {"kind": "planet", "value": "x"}}, Reason.INVALID_VALUE, "scope.kind"),
    ({"scope": {"kind": "team", "value": "x", "team": "y"}}, Reason.UNKNOWN_FIELD, "scope.team"),
    ({"window": "year"}, Reason.INVALID_VALUE, "window"),
    ({"timezone": "Mars/Olympus"}, Reason.INVALID_VALUE, "timezone"),
    ({"timezone": "America"}, Reason.INVALID_VALUE, "timezone"),
    ({"timezone": "localtime"}, Reason.INVALID_VALUE, "timezone"),
    ({"timezone": "../../etc/passwd"}, Reason.INVALID_VALUE, "timezone"),
    ({"timezone": "x" * 200}, Reason.INVALID_VALUE, "timezone"),
    ({"anchor_day": 32}, Reason.OUT_OF_RANGE, "anchor_day"),
    ({"anchor_day": 0}, Reason.OUT_OF_RANGE, "anchor_day"),
    ({"window": "week", "anchor_day": 8}, Reason.OUT_OF_RANGE, "anchor_day"),
    ({"window": "day", "anchor_day": 2}, Reason.INVALID_VALUE, "anchor_day"),
    ({"rolling": True, "anchor_day": 2}, Reason.INVALID_VALUE, "anchor_day"),
    ({"rolling": True, "rollover": 0.1}, Reason.INVALID_VALUE, "rollover"),
    ({"pace_at": [0.7, 0]}, Reason.OUT_OF_RANGE, "pace_at.1"),
    ({"alert_at": [0.5, 1.1]}, Reason.OUT_OF_RANGE, "alert_at.1"),
    ({"grace_s": -1}, Reason.NEGATIVE, "grace_s"),
    ({"grace_share": 1.5}, Reason.OUT_OF_RANGE, "grace_share"),
    ({"purpose": "fun"}, Reason.INVALID_VALUE, "purpose"),
    ({"hard": "yes"}, Reason.WRONG_TYPE, "hard"),
    ({"fail": "shut"}, Reason.INVALID_VALUE, "fail"),
    ({"protected": ["a"] * 21}, Reason.TOO_LONG, "protected"),
    ({"protected": ["a", ""]}, Reason.TOO_SHORT, "protected.1"),
    ({"increases": [{**INCREASE, "author": None}]}, Reason.WRONG_TYPE, "increases.0.author"),
    ({"increases": [INCREASE, {"amount_usd": "5", "author": "a"}]}, Reason.MISSING_FIELD, "increases.1.expires_at"),
    ({"increases": [{**INCREASE, "amount_tokens": 4}]}, Reason.INVALID_VALUE, "increases.0.amount_usd"),
    ({"increases": [{**INCREASE, "starts_at": 2_000_000_000}]}, Reason.OUT_OF_RANGE, "increases.0.expires_at"),
    ({"increases": [INCREASE], "amount_usd": ..., "amount_tokens": 9}, Reason.INVALID_VALUE, "increases"),
    ({"reserve": {}}, Reason.MISSING_FIELD, "reserve.amount_usd"),
    ({"reserve": {"amount_tokens": 1_000}}, Reason.INVALID_VALUE, "reserve"),
    ({"hrd": True}, Reason.UNKNOWN_FIELD, "hrd"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason", "path"), REFUSED)
def test_a_budget_that_cannot_be_meant_is_refused_with_its_path(
    changes: dict[str, Any], reason: Reason, path: str
) -> None:
    with pytest.raises(Refused) as caught:
        budget(**changes)
    assert (caught.value.reason, caught.value.path) == (reason, path)


def test_a_small_budget_has_the_default_points() -> None:
    small = budget()
    assert (small.pace_at, small.alert_at, small.alert_on_forecast) == ([0.7, 0.8], [1.0], True)
    assert (small.timezone, small.anchor_day, small.rolling, small.fail) == ("UTC", 1, False, "open")
    assert small.hard is None, "by its purpose"


def test_an_organisation_needs_no_name() -> None:
    assert budget(scope={"kind": "organisation"}).scope.value is None


@pytest.mark.parametrize("amount", ["1000000000", "2500000.25", 5e8, 5_000_000, "0.000000001", "1e-3", 0.5])
def test_a_budget_may_be_larger_than_the_dearest_event_and_is_exact(amount: Any) -> None:
    found = budget(amount_usd=amount).amount_usd
    assert found == Decimal(str(amount))
    assert 0 < nanos(found) <= 10**18 < 2**63


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu"])
def test_places_of_the_zone_database_are_taken(zone: str) -> None:
    assert budget(timezone=zone).timezone == zone


def test_a_snapshot_that_is_over_before_it_begins_is_refused() -> None:
    example = EXAMPLES["budget-snapshot"]
    for change in ({"window_end": example["window_start"]}, {"valid_until": example["issued_at"]}):
        with pytest.raises(Refused) as caught:
            decode(BudgetSnapshot, orjson.dumps({**example, **change}))
        assert caught.value.reason is Reason.OUT_OF_RANGE


def test_a_gateway_takes_a_snapshot_with_fields_it_does_not_know() -> None:
    example = EXAMPLES["budget-snapshot"]
    scope = {**example["scope"], "region": "eu"}
    newer = decode(BudgetSnapshot, orjson.dumps({**example, "scope": scope, "colour": 3}))
    assert newer == decode(BudgetSnapshot, orjson.dumps(example))
