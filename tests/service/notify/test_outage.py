"""Ten minutes in which a vendor answers 429, 5xx or nothing to everything: nothing is lost, nothing told twice.

Time is simulated, requests are not: the vendors on this machine hold us to limits and rates by the same clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import httpx
import pytest

from service.demo.receivers import Fault, LocalReceivers, Received, Vendor
from service.demo.slack_api import Message
from service.demo.smtp import LocalSmtp, Stage
from service.notify import http
from service.notify.email.send import Email, Server
from service.notify.pagerduty.send import PagerDuty
from service.notify.receiver import Receiver
from service.notify.retry import RetryPolicy
from service.notify.routing import Pace
from service.notify.slack.send import Slack
from service.notify.slack_bot.send import SlackBot
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
    "no answer": Fault(0),
}
REPLIES: dict[str, tuple[Stage, str]] = {
    "421 in the greeting": ("greeting", "421 4.3.2 too busy"),
    "451 after the message": ("end", "451 4.7.1 greylisted"),
}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http.client() as made:
        yield made


def receiver(
    vendor: Vendor, local: LocalReceivers, client: httpx.AsyncClient, clock: ManualClock
) -> Receiver:
    match vendor:
        case "slack":
            return Slack(client, local.slack_url, timeout_s=PATIENCE_S, clock=clock)
        case "slack_bot":
            api = local.slack_api
            return SlackBot(
                client,
                api.token,
                api.channel,
                base_url=local.slack_api_url,
                timeout_s=PATIENCE_S,
                clock=clock,
            )
        case "pagerduty":
            return PagerDuty(
                client, local.routing_key, base_url=local.base_url, timeout_s=PATIENCE_S, clock=clock
            )
    return Webhook(client, local.webhook_url, secret=local.hmac_secret, timeout_s=PATIENCE_S, clock=clock)


def accepted(vendor: Vendor, local: LocalReceivers) -> list[str]:
    """Which incidents a vendor was told of, and whether they begin or end, in order."""
    if vendor == "slack_bot":
        return [line for message in local.slack_api.incidents() for line in _course(message, local)]
    return [_named(vendor, received) for received in local.of(vendor)]


def _course(message: Message, local: LocalReceivers) -> list[str]:
    """What one message has said, by what it says now and by its thread."""
    now = str(message.body["blocks"][0]["text"]["text"])[1:].strip()
    replies = local.slack_api.thread(message.ts)
    assert len(replies) == (1 if now.startswith("RESOLVED") else 0)
    return [now.replace("RESOLVED", "CRITICAL"), now] if replies else [now]


def _named(vendor: Vendor, received: Received) -> str:
    body = received.body
    if vendor == "slack":
        return str(body["blocks"][0]["text"]["text"])[1:].strip()
    if vendor == "pagerduty":
        return str(body["payload"]["summary"]).partition(". ")[0]
    (line,) = (line for line in body["alerts"] if line["change"] is not None)
    word = "RESOLVED" if line["change"] == "resolved" else "CRITICAL"
    return f"{word}: retry loop in {line['alert']['workflow']}"


NAMES = [f"agent-{number}" for number in range(6)]


async def outlast(bench: Bench, refused: Callable[[], int]) -> None:
    """Six incidents begin and one ends while a receiver refuses everything; until all is told."""
    pages = [alert(fingerprint=name, team=name, workflow=name) for name in NAMES]
    async with bench.at_work():
        bench.put(*pages[:4])
        await bench.until(lambda: refused() >= 6)
        # In the middle of it one ends, and others begin.
        bench.put(resolved(fingerprint=NAMES[0], team=NAMES[0], workflow=NAMES[0]), *pages[4:])
        await bench.until(lambda: len(bench.entries) == 7)
    assert bench.parked == []


def all_told(found: list[str]) -> None:
    begins = [f"CRITICAL: retry loop in {name}" for name in NAMES]
    assert sorted(found) == sorted(["RESOLVED: retry loop in agent-0", *begins])
    assert found.index(begins[0]) < found.index("RESOLVED: retry loop in agent-0")


def at_work(to: Receiver, clock: ManualClock) -> Bench:
    # Without reminders: manual time runs as far as the courier would sleep.
    return Bench(to=to, clock=clock, policy=AS_CONFIGURED, pace=Pace(repeat=timedelta(0)))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("vendor", ["slack", "slack_bot", "pagerduty", "webhook"])
async def test_ten_minutes_of_refusals_lose_and_double_nothing(
    vendor: Vendor, fault: str, client: httpx.AsyncClient
) -> None:
    clock = ManualClock(NOW)

    def recover(received: Received) -> None:
        if clock.now() >= END:
            local.fail_always(vendor, None)

    with LocalReceivers(clock=clock, on_receipt=recover) as local:
        local.fail_always(vendor, FAULTS[fault])
        bench = at_work(receiver(vendor, local, client, clock), clock)
        await outlast(bench, lambda: len(local.received))
        assert clock.now() >= END
        assert local.violations == []
        assert len(local.of(vendor, "scripted")) >= 6
        all_told(accepted(vendor, local))


@pytest.mark.parametrize("reply", REPLIES)
async def test_ten_minutes_without_a_mail_server_lose_and_double_nothing(reply: str) -> None:
    clock = ManualClock(NOW)
    with LocalSmtp() as smtp:
        smtp.fail_while(*REPLIES[reply], lambda: clock.now() < END)
        server = Server("127.0.0.1", smtp.port, "none", None)
        mail = Email(server, "tidegate@example.com", ["care@example.com"], timeout_s=PATIENCE_S)
        await outlast(at_work(mail, clock), lambda: smtp.refused)
        assert clock.now() >= END
        assert smtp.violations == []
        all_told([str(one.message["Subject"]).removeprefix("[tidegate] ") for one in smtp.mails])
