"""Alertmanager: what it is told, how often, and that a real one takes it so."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.demo import vendor_rules
from service.demo.receivers import Fault, LocalReceivers
from service.notify import http
from service.notify.alertmanager.render import render
from service.notify.alertmanager.send import Alertmanager
from service.notify.notification import Change, Line, Notification
from service.notify.receiver import Delivered, Final, Result, Retry
from service.runtime.clock import SystemClock
from tests.service.notify.support import NOW, alert, alerts, largest, line, resolved, told
from tests.service.notify.test_rendering import CASES, golden
from tests.support.debian import program

RESEND = timedelta(seconds=60)
JSON = "application/json"
several = st.lists(alerts.filter(lambda one: one.status != "pending"), min_size=1, max_size=4).map(
    lambda found: told(*found)
)


def posted(said: Notification, now: datetime = NOW) -> list[dict[str, Any]]:
    bodies = render(said, now, RESEND)
    assert [vendor_rules.alertmanager(body, JSON) for body in bodies] == [[] for _ in bodies]
    return [one for body in bodies for one in orjson.loads(body)]


@pytest.mark.parametrize("name", CASES)
def test_alerts_are_as_agreed(name: str) -> None:
    golden(f"alertmanager-{name}", {"alerts": posted(CASES[name])})


@settings(max_examples=40, deadline=None)
@given(several)
def test_no_alerts_break_a_rule(said: Notification) -> None:
    posted(said)


def test_what_fires_ends_by_itself_if_it_is_not_said_again_for_four_times() -> None:
    [found] = posted(told(alert()))
    assert (found["startsAt"], found["endsAt"]) == ("2026-01-31T14:07:30Z", "2026-01-31T14:13:00Z")


def test_what_is_over_ended_when_it_did_and_never_in_the_future() -> None:
    assert posted(told(resolved()), NOW + timedelta(hours=1))[0]["endsAt"] == "2026-01-31T14:21:30Z"
    assert posted(told(resolved()), NOW)[0]["endsAt"] == "2026-01-31T14:09:00Z"


def test_an_alert_keeps_its_labels_until_it_is_over() -> None:
    [first], [second], [over] = (
        posted(told(alert())),
        posted(told(alert(sequence=9))),
        posted(told(resolved())),
    )
    assert first["labels"] == second["labels"] == over["labels"]


def test_what_got_worse_ends_as_what_it_was() -> None:
    warned = posted(told(alert(severity="warning")))[0]["labels"]
    found = posted(told(alert(), firing=(line(alert(), Change.WORSENED),)))
    ended = [one["labels"] for one in found if one["endsAt"] == "2026-01-31T14:09:00Z"]
    assert warned in ended
    assert [one["labels"]["severity"] for one in found if one["labels"] not in ended] == ["critical"]


def test_many_alerts_are_several_requests() -> None:
    said = told(*(largest("😀").model_copy(update={"fingerprint": str(n)}) for n in range(150)))
    assert [len(orjson.loads(body)) for body in render(said, NOW, RESEND)] == [64, 64, 22]


# --- to a stand-in ----------------------------------------------------------------------------------------


@pytest.fixture
def vendors() -> Iterator[LocalReceivers]:
    with LocalReceivers() as found:
        yield found
        assert found.violations == []


async def send(said: Notification, *urls: str, **changed: Any) -> Result:
    options = {"token": None, "resend_s": 60.0, "timeout_s": 5.0, "clock": SystemClock(), **changed}
    async with http.client() as client:
        return await Alertmanager(client, urls, **options).send(said)


async def test_every_one_of_a_cluster_is_told_and_one_is_enough(
    vendors: LocalReceivers, caplog: pytest.LogCaptureFixture
) -> None:
    gone = "http://127.0.0.1:1"
    assert await send(told(alert()), vendors.alertmanager_url, vendors.alertmanager_url + "/") == Delivered()
    assert len(vendors.of("alertmanager")) == 2
    assert await send(told(alert()), gone, vendors.alertmanager_url, token="t0ken") == Delivered()
    assert "one of 2 Alertmanagers was not told: ConnectError" in caplog.text
    assert vendors.of("alertmanager")[-1].headers["authorization"] == "Bearer t0ken"


async def test_when_none_takes_it_it_is_tried_again_unless_all_refuse(vendors: LocalReceivers) -> None:
    refuses = Fault(400, "bad timestamps")
    vendors.fail("alertmanager", [refuses, Fault(503)])
    assert isinstance(await send(told(alert()), *2 * [vendors.alertmanager_url]), Retry)
    vendors.fail("alertmanager", [refuses])
    result = await send(told(alert()), vendors.alertmanager_url)
    assert isinstance(result, Final)
    assert result.detail == "400 bad timestamps"


async def test_a_daily_digest_is_no_alert(vendors: LocalReceivers) -> None:
    assert await send(CASES["daily-digest"], vendors.alertmanager_url) == Delivered()
    assert vendors.received == []


# --- to a real one ----------------------------------------------------------------------------------------


@asynccontextmanager
async def alertmanager(folder: Path) -> AsyncIterator[str]:
    """Debian's, alone and on a free port."""
    command = program("prometheus-alertmanager", "prometheus-alertmanager")
    if command is None:
        pytest.skip("no Alertmanager on the path, and Debian's package is not to be had")
    config = folder / "alertmanager.yml"
    config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--cluster.listen-address=", f"--web.listen-address=127.0.0.1:{port}",
                 f"--storage.path={folder}", f"--config.file={config}"]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, *arguments, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            for _ in range(100):
                try:
                    if (await client.get(f"{url}/-/ready")).status_code == 200:
                        break
                except httpx.TransportError:
                    if process.returncode is not None:
                        pytest.fail(f"it does not start: {(folder / 'log').read_text()[-500:]}")
                await asyncio.sleep(0.1)
        yield url
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def active(url: str) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(trust_env=False) as client:
        found: list[dict[str, Any]] = (await client.get(f"{url}/api/v2/alerts")).json()
        return found


async def test_a_real_alertmanager_shows_begins_and_ends(tmp_path: Path) -> None:
    now = SystemClock().now()
    began = now - timedelta(minutes=5)
    firing = alert(started_at=began, updated_at=now)
    over = alert(status="resolved", sequence=9, started_at=began, updated_at=now, resolved_at=now)
    odd = largest("😀").model_copy(update={"started_at": began, "updated_at": now})
    links = CASES["page-for-a-retry-loop"].links
    async with alertmanager(tmp_path) as url:
        assert await send(told(firing, links=links), url) == Delivered()
        [found] = await active(url)
        assert found["labels"]["alertname"] == "TidegateRetryLoop"
        assert found["annotations"]["summary"].startswith("support-agent is spending $212/h")
        assert found["generatorURL"] == links.console
        ends = datetime.fromisoformat(found["endsAt"])
        assert abs((ends - now).total_seconds() - 240) < 30
        again = told(firing, firing=(Line(firing),), changes=frozenset({Change.REPEATED}))
        assert await send(again, url) == Delivered()
        assert [one["fingerprint"] for one in await active(url)] == [found["fingerprint"]]
        assert datetime.fromisoformat((await active(url))[0]["endsAt"]) > ends
        assert await send(told(over), url) == Delivered()
        assert await active(url) == []
        # Names at their bounds; and what nobody says again is over.
        assert await send(replace(told(odd)), url, resend_s=0.25) == Delivered()
        assert len(await active(url)) == 1
        await asyncio.sleep(1.2)
        assert await active(url) == []
