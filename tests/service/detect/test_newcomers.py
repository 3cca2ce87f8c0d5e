"""One stranger's key that spends like a crowd pages by that name; a crowd of new customers is a launch."""

from __future__ import annotations

import random
from functools import cache

import pytest

from schemas.alerts import Alert
from service.detect.state import WorkflowState, decode, encode
from tests.service.detect.builders import BUCKET, T0, Doing, Traffic, played

WARM = 16_000
"""Buckets: newcomers are told from the others after a day and six busy hours."""
BEGINS = T0 + WARM * BUCKET
CALL = 5_000_000


@cache
def warm() -> tuple[bytes, int]:
    state, flow = WorkflowState.fresh("support-agent"), Traffic(starts=0.7, deltas=1)
    told = played(state, flow.records(T0, WARM))
    return encode(state), len([a for _, e in told for a in e.alerts if a.severity == "critical"])


def after(extra: list[list[Doing]]) -> list[Alert]:
    flow = Traffic(starts=0.7, deltas=1, seed=2)
    told = played(decode(warm()[0]), flow.records(BEGINS, len(extra), extra=extra))
    return [a for _, e in told for a in e.alerts]


def calls(i: int, n: int, customers: list[str], keys: list[str], seed: int = 3) -> list[Doing]:
    """Traces of one or two calls that cost what calls here do, dealt to customers and keys."""
    dice = random.Random(seed * 100_000 + i)
    found = []
    for k in range(n):
        count = dice.randint(2, 5)
        cost = round(CALL * count * dice.lognormvariate(0.0, 0.6))
        found.append(
            Doing(f"x-{i}-{k}", count, cost, 2_000, dice.choice(customers), "gpt-5", dice.choice(keys))
        )
    return found


def test_two_clean_days_do_not_page() -> None:
    assert warm()[1] == 0


@pytest.mark.parametrize(
    ("customers", "kinds"),
    [
        pytest.param(["stranger"], {"new_api_key", "new_customer"}, id="its own"),
        pytest.param(["customer-1", "customer-2"], {"new_api_key"}, id="of known customers"),
    ],
)
def test_a_new_key_that_spends_like_a_crowd_pages_by_its_name(customers: list[str], kinds: set[str]) -> None:
    found = after([calls(i, 10, customers, ["sk-stolen"]) for i in range(180)])
    pages = [a for a in found if a.severity == "critical"]
    assert pages
    first = pages[0]
    assert first.kind in kinds
    assert "new key sk-stolen" in first.summary
    assert first.started_at.timestamp() >= BEGINS
    assert len({a.fingerprint for a in pages}) == 1


def test_a_launch_of_many_new_customers_is_a_notice_and_no_page() -> None:
    crowd = [f"new-{i}" for i in range(300)]
    keys = [f"key-{i}" for i in range(10)]
    found = after([calls(i, 10, crowd, keys) for i in range(180)])
    assert {(a.kind, a.severity) for a in found} == {("launch", "info")}
