"""Real requests to receivers that hold us to the vendors' rules."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from service.demo.receivers import Fault, LocalReceivers, Received
from service.errors import SettingsError
from service.notify import http
from service.notify.pagerduty.send import PagerDuty
from service.notify.receiver import Delivered, Failure, Final, Receiver, Retry
from service.notify.retry import RetryPolicy
from service.notify.roster import enlist
from service.notify.slack.send import Slack
from service.notify.webhook.send import Webhook
from service.runtime.clock import SystemClock
from service.settings import PagerDutyReceiver, ReceiverSettings, SlackReceiver, WebhookReceiver
from tests.service.notify.bench import Bench, page
from tests.service.notify.support import NOW, alert, resolved, told
from tests.support.patience import PATIENCE_S

CLOCK = SystemClock()
VENDORS = ("slack", "pagerduty", "webhook")


@pytest.fixture
def local() -> Iterator[LocalReceivers]:
    with LocalReceivers(slack_interval_s=0.0) as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http.client() as made:
        yield made


def receiver(
    vendor: str, local: LocalReceivers, client: httpx.AsyncClient, timeout_s: float = PATIENCE_S
) -> Receiver:
    if vendor == "slack":
        return Slack(client, local.slack_url, timeout_s=timeout_s, clock=CLOCK, interval_s=0.0)
    if vendor == "pagerduty":
        return PagerDuty(
            client,
            local.routing_key,
            base_url=local.base_url + "/",
            timeout_s=timeout_s,
            clock=CLOCK,
            interval_s=0.0,
        )
    return Webhook(client, local.webhook_url, secret=local.hmac_secret, timeout_s=timeout_s, clock=CLOCK)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_every_vendor_takes_beginning_and_end(
    vendor: str, local: LocalReceivers, client: httpx.AsyncClient
) -> None:
    to = receiver(vendor, local, client)
    assert await to.send(told(alert())) == Delivered()
    assert await to.send(told(resolved())) == Delivered()
    assert local.violations == []
    assert [(r.vendor, r.verdict) for r in local.received] == [(vendor, "accepted")] * 2
    assert abs((local.received[0].at - datetime.now(UTC)).total_seconds()) < 10


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(500), Retry(Failure.SERVER_ERROR, "500 scripted")),
        (Fault(503, retry_after="7"), Retry(Failure.SERVER_ERROR, "503 scripted", 7.0)),
        (Fault(408), Retry(Failure.SERVER_ERROR, "408 scripted")),
        (Fault(429, retry_after="30"), Retry(Failure.RATE_LIMITED, "429 scripted", 30.0)),
        (Fault(429), Retry(Failure.RATE_LIMITED, "429 scripted")),
        (Fault(400, "invalid_payload"), Final(Failure.REJECTED, "400 invalid_payload")),
        (Fault(403, "action_prohibited"), Final(Failure.REJECTED, "403 action_prohibited")),
        (Fault(404, "no_service"), Final(Failure.REJECTED, "404 no_service")),
        (Fault(410, "channel_is_archived"), Final(Failure.REJECTED, "410 channel_is_archived")),
        (Fault(302), Final(Failure.REJECTED, "302 scripted")),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Fault) else None,
)
async def test_answers_mean_retry_or_never(
    vendor: str,
    fault: Fault,
    expected: Retry | Final,
    local: LocalReceivers,
    client: httpx.AsyncClient,
) -> None:
    local.fail(vendor, [fault])  # type: ignore[arg-type]
    assert await receiver(vendor, local, client).send(told(alert())) == expected


@pytest.mark.parametrize("vendor", VENDORS)
async def test_no_answer_is_a_retry(vendor: str, local: LocalReceivers, client: httpx.AsyncClient) -> None:
    local.fail_always(vendor, Fault(200, hang_s=600.0))  # type: ignore[arg-type]
    hasty = receiver(vendor, local, client, timeout_s=0.2)
    assert await hasty.send(told(alert())) == Retry(Failure.TIMEOUT, "no answer within 0.2 s")
    local.fail_always(vendor, Fault(0))  # type: ignore[arg-type]
    broken = await receiver(vendor, local, client, timeout_s=PATIENCE_S).send(told(alert()))
    assert isinstance(broken, Retry)
    assert broken.reason is Failure.UNREACHABLE


async def test_nobody_listening_is_a_retry(client: httpx.AsyncClient) -> None:
    with LocalReceivers() as gone:
        url = gone.slack_url
    result = await Slack(client, url, timeout_s=2.0, clock=CLOCK).send(told(alert()))
    assert result == Retry(Failure.UNREACHABLE, "ConnectError")


@pytest.mark.parametrize(
    ("vendor", "status", "body"),
    [("slack", 200, "<html>sign in</html>"), ("slack", 202, "ok"), ("pagerduty", 200, "{}")],
)
async def test_a_success_that_is_not_the_vendors_is_none(
    vendor: str, status: int, body: str, local: LocalReceivers, client: httpx.AsyncClient
) -> None:
    local.fail(vendor, [Fault(status, body)])  # type: ignore[arg-type]
    result = await receiver(vendor, local, client).send(told(alert()))
    assert isinstance(result, Final)
    assert result.reason is Failure.UNEXPECTED_ANSWER


async def test_a_webhook_may_answer_any_2xx(local: LocalReceivers, client: httpx.AsyncClient) -> None:
    local.fail("webhook", [Fault(204, "")])
    assert await receiver("webhook", local, client).send(told(alert())) == Delivered()


async def test_an_endless_answer_is_not_read_to_its_end(
    local: LocalReceivers, client: httpx.AsyncClient
) -> None:
    local.fail("webhook", [Fault(500, "x" * 5_000_000)])
    result = await receiver("webhook", local, client).send(told(alert()))
    assert isinstance(result, Retry)
    assert len(result.detail) <= 310


FAST = RetryPolicy(max_attempts=10, initial_s=0.01, max_s=0.05)


def bench_to(to: Receiver) -> Bench:
    return Bench(to=to, clock=CLOCK, policy=FAST)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("storm", [500, 429])
async def test_a_storm_ends_in_one_delivery_and_no_loss(
    vendor: str, storm: int, local: LocalReceivers, client: httpx.AsyncClient
) -> None:
    local.fail(vendor, [Fault(storm, retry_after="0")] * 7)  # type: ignore[arg-type]
    bench = bench_to(receiver(vendor, local, client))
    bench.put(*(page(number) for number in range(4)))
    await bench.deliver(4)
    assert len(local.of(vendor)) == 4  # type: ignore[arg-type]
    assert len(local.of(vendor, "scripted")) == 7  # type: ignore[arg-type]
    assert local.violations == []
    assert bench.parked == []
    assert sorted(one.fingerprint for entry in bench.entries for one in entry.firing) == ["0", "1", "2", "3"]


async def test_the_time_slack_asks_for_passes_before_the_next_request(
    local: LocalReceivers, client: httpx.AsyncClient
) -> None:
    local.fail("slack", [Fault(429, retry_after="1")])
    bench = bench_to(receiver("slack", local, client))
    bench.put(page(1), page(2))
    await bench.deliver(2)
    first, second, _ = local.received
    assert (second.at - first.at).total_seconds() >= 1.0


async def test_slack_gets_at_most_one_message_a_second(client: httpx.AsyncClient) -> None:
    with LocalReceivers() as strict:
        bench = bench_to(Slack(client, strict.slack_url, timeout_s=5.0, clock=CLOCK))
        bench.put(*(page(number) for number in range(3)))
        began = time.monotonic()
        await bench.deliver(3)
        assert time.monotonic() - began >= 2.0
        assert [r.verdict for r in strict.received] == ["accepted"] * 3


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("12", 12.0),
        (" 0 ", 0.0),
        ("999999999999", http.MAX_RETRY_AFTER_S),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("Sat, 31 Jan 2026 14:09:30 GMT", 30.0),
        ("Sat, 31 Jan 2026 14:00:00 GMT", 0.0),
        ("Sat, 31 Jan 2026 14:09:30", None),
        ("²", None),
    ],
)
def test_retry_after_in_both_its_forms(header: str | None, seconds: float | None) -> None:
    assert http.retry_after(header, NOW) == seconds


async def test_no_secret_reaches_a_log_or_a_result(
    local: LocalReceivers, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    path = local.slack_url.removeprefix(local.base_url)
    own = {"slack": path, "pagerduty": local.routing_key, "webhook": local.hmac_secret}
    with caplog.at_level(logging.DEBUG):
        for vendor, secret in own.items():
            echo = f"cannot take {secret} and {local.slack_url if vendor == 'slack' else secret}"
            local.fail(vendor, [Fault(500, echo), Fault(0), Fault(404, echo)])  # type: ignore[arg-type]
            bench = bench_to(receiver(vendor, local, client))
            bench.put(alert())
            await bench.deliver(1)
            assert bench.parked[0].detail.startswith("404 cannot take ***")
            assert secret not in repr(bench.parked)
            assert secret not in caplog.text
    assert "again in" in caplog.text


def test_the_roster_reads_secrets_and_takes_the_name(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef0123456789abcdef\n")
    settings: dict[str, ReceiverSettings] = {
        "care": SlackReceiver(webhook_url=SecretStr("https://hooks.slack.example/services/T/B/x")),
        "pager": PagerDutyReceiver(routing_key_file=key, min_severity="critical"),
        "bus": WebhookReceiver(url="https://bus.example/alerts"),
    }
    found = enlist(settings, httpx.AsyncClient(), CLOCK)
    assert {name: (e.receiver.vendor, e.min_severity) for name, e in found.items()} == {
        "care": ("slack", "info"),
        "pager": ("pagerduty", "critical"),
        "bus": ("webhook", "info"),
    }


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            SlackReceiver(webhook_url=SecretStr("hooks.slack.com/services/T/B/secret")),
            "webhook_url: not an http",
        ),
        (SlackReceiver(webhook_url=SecretStr("https:///secret")), "webhook_url: not an http"),
        (SlackReceiver(webhook_url=SecretStr("")), "webhook_url: is empty"),
        (
            PagerDutyReceiver(routing_key_file=Path("/nowhere/key")),
            "routing_key_file: cannot read /nowhere/key",
        ),
    ],
)
def test_a_receiver_that_cannot_work_is_refused_at_the_start(
    settings: ReceiverSettings, complaint: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        enlist({"care": settings}, httpx.AsyncClient(), CLOCK)
    assert f"notify.receivers.care.{complaint}" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_receipts_are_announced_as_they_come() -> None:
    announced: list[Received] = []
    with LocalReceivers(on_receipt=announced.append) as local:
        httpx.post(local.webhook_url, content=b"{}")
        httpx.post(local.base_url + "/services/T0/B0/wrong", content=b"{}")
    assert [(r.vendor, r.verdict) for r in announced] == [("webhook", "violation")]
    assert local.violations == ["webhook: no timestamp"]


def test_half_a_request_is_neither_a_receipt_nor_a_violation(capfd: pytest.CaptureFixture[str]) -> None:
    with LocalReceivers() as local:
        host, port = local.base_url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"POST /hook HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        assert httpx.post(local.webhook_url, content=b"{}").status_code == 400
    assert len(local.received) == 1
    assert capfd.readouterr() == ("", "")


def test_the_local_slack_limits_and_refuses_as_slack_does() -> None:
    with LocalReceivers(slack_interval_s=60.0) as local:
        good = {"text": "hello"}
        assert httpx.post(local.slack_url, json=good).text == "ok"
        limited = httpx.post(local.slack_url, json=good)
        assert (limited.status_code, limited.headers["Retry-After"]) == (429, "1")
        refused = httpx.post(local.slack_url, json={"blocks": []})
        assert (refused.status_code, refused.text) == (400, "invalid_payload")
        assert local.violations == ["slack: no top-level text: the notification would be empty"]
        assert httpx.post(local.base_url + "/services/T0/B0/wrong", json=good).status_code == 404
