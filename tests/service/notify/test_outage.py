"""Ten minutes in which a vendor answers 429 or 5xx to everything: nothing is lost, and nothing told twice.

Time is simulated, requests are not: the vendors on this machine hold us to limits and rates by the same clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from service.demo.receivers import Fault, LocalReceivers, Received, Vendor
from service.notify import http
from service.notify.pagerduty.send import PagerDuty
from service.notify.receiver import Receiver
from service.notify.retry import RetryPolicy
from service.notify.routing import Pace
from service.notify.slack.send import Slack
from service.notify.webhook.send import Webhook
from service.runtime.clock import ManualClock
from tests.service.notify.bench import Bench
from tests.service.notify.support import NOW, alert, resolved
from tests.support.patience import PATIENCE_S

END = NOW + timedelta(minutes=10)
AS_CONFIGURED = RetryPolicy(max_attempts=50, initial_s=1.0, max_s=60.0)
FAULTS = {
    "429": Fault(429, "slow down", retry_after="30"),
    "500 without saying how long": Fault(500),
}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http.client() as made:
        yield made


def receiver(
    vendor: Vendor, local: LocalReceivers, client: httpx.AsyncClient, clock: ManualClock
) -> Receiver:
    if vendor == "slack":
        return Slack(client, local.slack_url, timeout_s=PATIENCE_S, clock=clock)
    if vendor == "pagerduty":
        return PagerDuty(
            client, local.routing_key, base_url=local.base_url, timeout_s=PATIENCE_S, clock=clock
        )
    return Webhook(client, local.webhook_url, secret=local.hmac_secret, timeout_s=PATIENCE_S, clock=clock)


def named(vendor: Vendor, received: Received) -> str:
    """Which incident a request is about, and whether it opens or closes it."""
    body = received.body
    if vendor == "slack":
        return str(body["blocks"][0]["text"]["text"])[1:].strip()
    if vendor == "pagerduty":
        return str(body["payload"]["summary"]).partition(". ")[0]
    (line,) = (line for line in body["alerts"] if line["change"] is not None)
    word = "RESOLVED" if line["change"] == "resolved" else "CRITICAL"
    return f"{word}: retry loop in {line['alert']['workflow']}"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("vendor", ["slack", "pagerduty", "webhook"])
async def test_ten_minutes_of_refusals_lose_and_double_nothing(
    vendor: Vendor, fault: str, client: httpx.AsyncClient
) -> None:
    clock = ManualClock(NOW)

    def recover(received: Received) -> None:
        if clock.now() >= END:
            local.fail_always(vendor, None)

    names = [f"agent-{number}" for number in range(6)]
    pages = [alert(fingerprint=name, team=name, workflow=name) for name in names]
    with LocalReceivers(clock=clock, on_receipt=recover) as local:
        local.fail_always(vendor, FAULTS[fault])
        # Without reminders: manual time runs as far as the courier would sleep.
        pace = Pace(repeat=timedelta(0))
        to = receiver(vendor, local, client, clock)
        bench = Bench(to=to, clock=clock, policy=AS_CONFIGURED, pace=pace)
        async with bench.at_work():
            bench.put(*pages[:4])
            await bench.until(lambda: len(local.received) >= 6)
            # In the middle of it one ends, and others begin.
            bench.put(resolved(fingerprint=names[0], team=names[0], workflow=names[0]), *pages[4:])
            await bench.until(lambda: len(bench.entries) == 7)
        accepted = [named(vendor, received) for received in local.of(vendor)]
        assert clock.now() >= END
        assert local.violations == []
        assert len(local.of(vendor, "scripted")) >= 6
    assert sorted(accepted) == sorted(
        ["RESOLVED: retry loop in agent-0", *(f"CRITICAL: retry loop in {name}" for name in names)]
    )
    assert accepted.index("CRITICAL: retry loop in agent-0") < accepted.index(
        "RESOLVED: retry loop in agent-0"
    )
    assert bench.parked == []
