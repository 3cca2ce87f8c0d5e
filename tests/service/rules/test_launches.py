"""What an announced launch costs, lately and in all, and which of its promises it does not keep."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from schemas.control import Launch
from service.rules.launches import HALF_LIFE_S, Running

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
T = NOON.timestamp()
USD = 1_000_000_000
FLOOR = USD // 2


def launch(**fields: Any) -> Launch:
    about: dict[str, Any] = {
        "name": "spring",
        "workflow": "shop",
        "starts_at": NOON,
        "ends_at": NOON + timedelta(hours=4),
        "volume_multiple": 10,
        "unit_cost_usd": Decimal("0.01"),
        "cap_usd": Decimal(500),
        "owner": "ada",
    }
    return Launch(**about | fields)


def running(**fields: Any) -> Running:
    return Running.of(launch(**fields), T, 0, known=True)


def test_what_the_record_says_holds_from_when_it_is_read() -> None:
    now = running()
    assert (now.cap, now.multiple, now.unit) == (500 * USD, 10.0, USD // 100)
    now.read(launch(cap_usd=Decimal(50), unit_cost_usd=None, ends_at=NOON + timedelta(hours=9)))
    assert (now.cap, now.unit, now.ends) == (50 * USD, 0, T + 9 * 3_600)
    assert now.within(50 * USD - 1)
    assert not now.within(50 * USD)
    assert now.began == T


def test_a_cap_of_nothing_is_passed_with_the_first_nano_dollar() -> None:
    assert not running(cap_usd=Decimal(0)).within(1)


def test_what_was_half_an_hour_ago_counts_half() -> None:
    now = running()
    now.learn(T + 10.0, 8e9, 40.0)
    cost, traces, seconds = now.lately(T + 10.0 + HALF_LIFE_S, 0.0, 0.0)
    assert (cost, traces) == pytest.approx((4e9, 20.0))
    assert 1_800.0 * 0.7 < seconds < 1_810.0
    assert now.lately(T, 1e9, 1.0)[0] == pytest.approx(9e9), "what comes late is not moved back"


def test_a_running_launch_survives_its_dump() -> None:
    now = running()
    now.learn(T + 10.0, 8e9, 40.0)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(now), type=Running) == now


HOUR = 3_600.0
RATE = USD / HOUR
"""A dollar an hour is usual."""


@pytest.mark.parametrize(
    ("why", "cost", "seconds", "usual", "busy", "known", "told"),
    [
        ("as announced", 10 * USD, HOUR, RATE, 0.0, True, 0.0),
        ("a little more, in dollars", 10.4 * USD, HOUR, RATE, 0.0, True, 0.0),
        ("more", 15 * USD, HOUR, RATE, 0.0, True, 15.0),
        ("more, but as announced of what it keeps up when busy", 15 * USD, HOUR, RATE, 2 * RATE, True, 0.0),
        ("more, in its first minutes", 5 * USD, 500.0, RATE, 0.0, True, 0.0),
        ("more, of nobody knows what", 15 * USD, HOUR, 0.0, 0.0, True, 0.0),
        ("more than it ever did, for it is new", 15 * USD, HOUR, RATE, 0.0, False, 0.0),
    ],
)
def test_volume_is_told_beyond_the_announced_multiple(
    why: str, cost: float, seconds: float, usual: float, busy: float, known: bool, told: float
) -> None:
    now = running()
    now.known = known
    multiple, over = now.volume_over(cost, seconds, usual, busy, FLOOR)
    assert multiple == pytest.approx(told), why
    assert over == (5 * USD if told else 0)


@pytest.mark.parametrize(
    ("each", "traces", "told"),
    [
        (1.0, 10_000, False),
        (1.9, 10_000, False),
        (2.2, 10_000, True),
        (2.2, 400, False),
        (2.4, 400, True),
        (3.0, 9, False),
        (40.0, 4, True),
        (99.0, 3, False),
    ],
)
def test_traces_are_dearer_than_announced_by_more_than_so_few_of_them_may_be(
    each: float, traces: float, told: bool
) -> None:
    now = running()
    ratio, threshold, over = now.unit_over(each * now.unit * traces, traces, 1)
    assert (ratio >= threshold) is told
    assert over == (pytest.approx((each - 1.0) * now.unit * traces, abs=1) if traces > 3 else 0)


def test_cents_are_not_told_whatever_their_ratio() -> None:
    now = running()
    assert now.unit_over(40.0 * now.unit * 1.0, 10.0, FLOOR)[0] == 0.0
    assert now.unit_over(40.0 * now.unit * 10.0, 10.0, FLOOR)[0] == pytest.approx(40.0)


def test_without_an_announced_cost_no_trace_is_too_dear() -> None:
    now = running(unit_cost_usd=None)
    assert now.unit_over(1e18, 100.0, 1)[0] == 0.0
    assert not now.runs_away(10**15)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.4])
def test_traces_that_cost_what_was_announced_on_average_are_hardly_ever_too_dear(sigma: float) -> None:
    """Log-normal costs around the announced mean, in a hundred launches of 2,000 traces, judged with every one."""
    dice = random.Random(7)
    told = 0
    for _ in range(100):
        now, cost = running(), 0.0
        seen = False
        for n in range(1, 2_001):
            cost += now.unit * dice.lognormvariate(-sigma * sigma / 2, sigma)
            ratio, threshold, _ = now.unit_over(cost, float(n), FLOOR)
            seen = seen or ratio >= threshold
        told += seen
    assert told <= 1
