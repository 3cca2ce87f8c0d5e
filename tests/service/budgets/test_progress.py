"""Event time is what is counted everywhere, and never goes back."""

from __future__ import annotations

import pytest

from service.budgets import progress
from service.budgets.progress import Progress, UnreadableProgress, Watermark
from tests.service.budgets.support import tick


def test_time_waits_for_every_source_on_every_partition() -> None:
    watermark = Watermark(2)
    assert watermark.observe(0, tick(100.0, source=0, sources=2), 1.0) is None
    assert watermark.observe(0, tick(90.0, source=1, sources=2), 1.0) is None, "partition 1 is not read yet"
    assert watermark.observe(1, tick(70.0, source=0, sources=2), 1.0) is None
    assert watermark.observe(1, tick(80.0, source=1, sources=2), 1.0) == 70.0
    assert watermark.observe(1, tick(100.0, source=0, sources=2), 2.0) == 80.0


def test_an_idle_source_and_one_that_fell_silent_hold_nobody_back() -> None:
    watermark = Watermark(1)
    watermark.observe(0, tick(50.0, source=0, sources=2, idle=True), 1.0)
    assert watermark.observe(0, tick(90.0, source=1, sources=2), 1.0) == 90.0
    watermark.observe(0, tick(60.0, source=0, sources=2), 2.0)
    assert watermark.observe(0, tick(95.0, source=1, sources=2), 2.0) == 60.0
    assert watermark.observe(0, tick(200.0, source=1, sources=2), 62.0) == 200.0


def test_a_tick_that_is_read_again_says_nothing_new() -> None:
    watermark = Watermark(1)
    watermark.observe(0, tick(500.0, source=0, sources=2), 500.0)
    assert watermark.observe(0, tick(400.0, source=1, sources=2), 500.0) == 400.0
    assert watermark.observe(0, tick(90.0, source=1, sources=2), 100.0) == 400.0


def test_where_all_are_idle_the_latest_tells_the_time() -> None:
    watermark = Watermark(1)
    watermark.observe(0, tick(0.0, source=0, sources=2, idle=True), 1.0)
    assert watermark.observe(0, tick(90.0, source=1, sources=2, idle=True), 1.0) == 90.0


def test_what_is_kept_comes_back() -> None:
    kept = Progress({0: 5, 1: 1 << 60}, 3.5, 4.0, {"late": {0: 9}})
    assert progress.load(progress.dump(kept)) == kept
    for bad in (b"", b"\x09", progress.dump(kept)[:-1]):
        with pytest.raises(UnreadableProgress):
            progress.load(bad)
