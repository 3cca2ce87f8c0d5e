"""Clocks: the machine's own, and the one that moves only when told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from service.runtime.clock import ManualClock, SystemClock

START = datetime(2026, 1, 31, 14, 0, tzinfo=UTC)


async def test_a_sleep_moves_a_manual_clock_and_takes_no_time() -> None:
    clock = ManualClock(START)
    async with asyncio.timeout(60):
        await clock.sleep(3_600)
    assert clock.now() == START + timedelta(hours=1)
    assert clock.monotonic() == 3_600


async def test_a_sleep_lets_others_run() -> None:
    clock, ran = ManualClock(START), asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    await clock.sleep(0)
    assert ran.is_set()


def test_time_does_not_go_back_and_needs_an_offset() -> None:
    with pytest.raises(ValueError, match="go back"):
        ManualClock(START).advance(-1)
    with pytest.raises(ValueError, match="offset"):
        ManualClock(START.replace(tzinfo=None))
    assert ManualClock(START.astimezone(timezone(timedelta(hours=9)))).now().tzinfo is UTC


async def test_the_system_clock_tells_utc_and_advances() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() > before
    assert clock.now().tzinfo is UTC
