"""What was spent past a limit is told apart by what was known when it was begun."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.callers import Made, Refused, Result
from benchmarks.hard_budget import LIMIT_USD, Snapshot, figures
from schemas.budgets import BudgetSnapshot, SnapshotScope

USD = 10**9


def result(made: list[Made], refused: list[Refused]) -> Result:
    return Result(made, refused, True, 0, 0, 0.1, 0.1, 1.0)


def test_calls_under_way_and_calls_begun_later_are_told_apart() -> None:
    one = result(
        [Made(0.0, 4.0, 12 * USD), Made(4.0, 6.0, 8 * USD), Made(5.0, 7.0, 2 * USD)], [Refused(6.5, "x")]
    )
    other = result([Made(6.1, 8.0, 3 * USD)], [Refused(8.1, "x")])
    told = figures([one, other], [])
    assert told["past_usd"] == pytest.approx(25 - LIMIT_USD)
    assert (told["under_way_usd"], told["begun_after_usd"]) == (2.0, 3.0)
    assert told["refused_from_usd"] == 20.0
    assert told["reached_after_s"] == -0.5


def test_a_limit_that_is_not_reached_is_a_negative_excess() -> None:
    told = figures([result([Made(0.0, 1.0, USD)], [Refused(1.5, "x")])], [])
    assert told["past_usd"] == 1 - LIMIT_USD
    assert told["reached_after_s"] is None


def test_a_snapshot_is_as_old_as_the_first_spend_that_it_does_not_have() -> None:
    made = [Made(0.0, 1.0, USD), Made(0.0, 2.0, USD), Made(0.0, 5.0, USD)]
    wall = datetime.now(UTC)
    told = BudgetSnapshot(
        budget="b",
        scope=SnapshotScope(kind="workflow", value="w"),
        unit="nano_usd",
        window_start=wall,
        window_end=wall + timedelta(hours=1),
        limit=1,
        spent=2 * USD,
        counted_until=wall,
        state="ok",
        hard=True,
        issued_at=wall,
        valid_until=wall + timedelta(minutes=1),
        sequence=1,
    )
    offset = time.time() - time.monotonic()
    ages = figures([result(made, [])], [Snapshot(5.7 + offset, told)])["snapshot_age_s"]
    assert ages["p50"] == pytest.approx(0.7, abs=0.02)
