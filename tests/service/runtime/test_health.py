"""Healthy is progress, ready is being caught up, and the port tells both."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import httpx
import pytest

from service.errors import SettingsError
from service.runtime.clock import ManualClock
from service.runtime.health import Health, serve


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 31, tzinfo=UTC))


@pytest.fixture
def health(clock: ManualClock) -> Health:
    return Health("ingest", clock, stall_after_s=30)


def test_a_loop_that_makes_no_progress_is_unhealthy_until_it_does(health: Health, clock: ManualClock) -> None:
    health.expect("poll")
    clock.advance(30)
    assert health.healthy()[0]
    clock.advance(0.1)
    ok, report = health.healthy()
    assert not ok
    assert report["loops"]["poll"]["stalled"]
    health.beat("poll")
    assert health.healthy()[0]


def test_one_stalled_loop_is_enough(health: Health, clock: ManualClock) -> None:
    health.expect("poll")
    health.expect("commit")
    clock.advance(31)
    health.beat("poll")
    assert not health.healthy()[0]
    health.release("commit")
    assert health.healthy()[0]


def test_a_beat_nobody_expects_changes_nothing(health: Health, clock: ManualClock) -> None:
    health.beat("poll")
    clock.advance(1_000)
    assert health.healthy()[0]
    health.expect("poll")  # counts from now
    assert health.healthy()[0]


def test_ready_is_when_every_named_condition_holds(health: Health) -> None:
    assert not health.ready()[0], "a role that has named none has not come that far"
    health.set_ready("config", False, "reading")
    health.set_ready("state", True)
    ok, report = health.ready()
    assert not ok
    assert report["conditions"] == {"config": {"ok": False, "why": "reading"}, "state": {"ok": True}}
    health.set_ready("config", True)
    assert health.ready()[0]


async def test_the_port_tells_health_readiness_and_metrics(health: Health, clock: ManualClock) -> None:
    health.expect("poll")
    async with (
        serve(health, "127.0.0.1", 0) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz?verbose=1")).status_code == 503
        clock.advance(31)
        stalled = await client.get("/healthz")
        assert stalled.status_code == 503
        assert stalled.json()["loops"]["poll"] == {"silent_s": 31.0, "stalled": True}
        metrics = await client.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain")
        assert "tidegate_ingest_lanes" in metrics.text
        assert (await client.head("/metrics")).content == b""
        assert (await client.get("/")).status_code == 404
        assert (await client.post("/healthz")).status_code == 405


async def test_whoever_talks_nonsense_is_hung_up_on_and_nobody_else_notices(health: Health) -> None:
    async with serve(health, "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 20_000)
        writer.write_eof()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200


async def test_a_port_that_is_taken_is_a_settings_error(health: Health) -> None:
    async with serve(health, "127.0.0.1", 0) as port:
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with serve(health, "127.0.0.1", port):
                pass
