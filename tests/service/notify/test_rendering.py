"""Requests to vendors: golden files by intent, every limit, and anything an alert may hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings

from schemas.alerts import Alert
from schemas.decode import decode
from service.demo import vendor_rules
from service.notify.pagerduty import render as pagerduty
from service.notify.slack import render as slack
from service.notify.template import Link
from service.notify.webhook.render import headers, signature
from tests.service.notify.support import NOW, alert, alerts, labels, largest, resolved

GOLDEN = Path(__file__).parent / "golden"
KEY = "0123456789abcdef0123456789abcdef"
LINK = Link("https://tide.example/incidents/{fingerprint}")

CASES: dict[str, Alert] = {
    "page-for-a-retry-loop": alert(),
    "ticket-with-hostile-names": alert(
        severity="warning",
        workflow="<!channel> & *friends*",
        summary="<@U1> pays\nfor `everything` & more",
        team=None,
    ),
    "notice-of-a-launch": alert(
        severity="info",
        kind="launch",
        workflow="chat",
        summary="chat has 20× its usual traces at its usual cost per trace: looks like a launch.",
        drivers=[],
        evidence=alert().evidence.model_copy(update={"traces": [], "top": []}),
    ),
    "incident-is-over": resolved(),
    "every-field-at-its-bound": largest(),
}


def golden(name: str, rendered: dict[str, Any]) -> None:
    """Compare with the file; TIDEGATE_WRITE_GOLDEN=1 writes it instead."""
    path = GOLDEN / f"{name}.json"
    text = orjson.dumps(rendered, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if os.environ.get("TIDEGATE_WRITE_GOLDEN") == "1":
        path.write_bytes(text)
    assert path.read_bytes() == text


@pytest.mark.parametrize("name", CASES)
def test_slack_messages_are_as_agreed(name: str) -> None:
    body = slack.render(CASES[name], LINK.to(CASES[name]))
    assert vendor_rules.slack(body, "application/json") == []
    golden(f"slack-{name}", orjson.loads(body))


@pytest.mark.parametrize("name", CASES)
def test_pagerduty_events_are_as_agreed(name: str) -> None:
    request = pagerduty.render(CASES[name], KEY, LINK.to(CASES[name]))
    assert vendor_rules.pagerduty(request.path, request.body, KEY) == []
    golden(f"pagerduty-{name}", {"path": request.path, "body": orjson.loads(request.body)})


@settings(max_examples=150, deadline=None)
@given(alerts)
def test_no_alert_breaks_a_rule_of_slack(any_alert: Alert) -> None:
    assert vendor_rules.slack(slack.render(any_alert), "application/json") == []
    assert vendor_rules.slack(slack.render(any_alert, LINK.to(any_alert)), "application/json") == []


@settings(max_examples=150, deadline=None)
@given(alerts)
def test_no_alert_breaks_a_rule_of_pagerduty(any_alert: Alert) -> None:
    request = pagerduty.render(any_alert, KEY, LINK.to(any_alert))
    assert vendor_rules.pagerduty(request.path, request.body, KEY) == []


@pytest.mark.parametrize("character", ["&", "<", "😀", '"', "\\", "W", "`", "\u202e", "\u00a0"])
def test_an_alert_of_nothing_but_long_characters_fits(character: str) -> None:
    longest = largest(character)
    assert (
        vendor_rules.slack(slack.render(longest, "https://x.example/" + "y" * 500), "application/json") == []
    )
    request = pagerduty.render(longest, KEY)
    assert vendor_rules.pagerduty(request.path, request.body, KEY) == []
    assert len(request.body) <= pagerduty.MAX_BYTES


def test_nobody_can_mention_a_channel_through_a_workflow_name() -> None:
    body = slack.render(CASES["ticket-with-hostile-names"])
    assert b"<!channel>" not in body
    assert b"<@U1>" not in body
    assert b"&lt;!channel&gt; &amp; *friends*" in body


def test_the_notification_text_says_the_essential() -> None:
    text = orjson.loads(slack.render(alert()))["text"]
    assert text.startswith("CRITICAL: retry loop in support-agent. support-agent is spending $212/h")


@pytest.mark.parametrize("severity", ["critical", "warning"])
def test_an_incident_triggers_and_resolves_under_its_fingerprint(severity: str) -> None:
    fired = orjson.loads(pagerduty.render(alert(severity=severity), KEY).body)
    over = orjson.loads(pagerduty.render(resolved(severity=severity), KEY).body)
    assert (fired["event_action"], over["event_action"]) == ("trigger", "resolve")
    assert fired["dedup_key"] == over["dedup_key"] == "9f2c64b1d0aa4e17"
    assert fired["payload"]["severity"] == severity


@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_a_launch_is_a_change_and_never_pages(status: str) -> None:
    request = pagerduty.render(alert(severity="info", kind="launch", status=status), KEY)
    assert request.path == "/v2/change/enqueue"
    assert b"event_action" not in request.body


def test_an_incident_that_calmed_down_before_its_end_is_still_closed() -> None:
    request = pagerduty.render(resolved(severity="info"), KEY)
    assert request.path == "/v2/enqueue"
    assert orjson.loads(request.body)["event_action"] == "resolve"


@given(labels)
def test_a_dedup_key_is_short_and_stable(fingerprint: str) -> None:
    key = pagerduty.dedup_key(fingerprint)
    assert len(key.encode("utf-16-le")) // 2 <= 255
    assert key == pagerduty.dedup_key(fingerprint)


def test_a_webhook_gets_the_record_and_a_signature_it_can_check() -> None:
    body = alert().to_json()
    sent = headers(alert(), body, receiver="ops/café", secret="s3cret", now=NOW)
    assert sent["Idempotency-Key"] == "ops%2Fcaf%C3%A9/9f2c64b1d0aa4e17/1"
    assert sent["X-Tidegate-Timestamp"] == "1769868540"
    assert sent["X-Tidegate-Signature"] == signature("s3cret", "1769868540", body)
    lower = {name.lower(): value for name, value in sent.items()}
    assert vendor_rules.webhook(body, lower, "s3cret", NOW.timestamp()) == []
    assert vendor_rules.webhook(body + b" ", lower, "s3cret", NOW.timestamp()) == ["wrong signature"]
    assert vendor_rules.webhook(body, lower, "s3cret", NOW.timestamp() + 600) != []


def test_the_signature_is_the_documented_one() -> None:
    # printf '1769868540.{}' | openssl dgst -sha256 -hmac key
    expected = "sha256=0692b40b891cfdc6887888a83c0da1eba86ebdc6f6cac031a42cad0f0c9069e7"
    assert signature("key", "1769868540", b"{}") == expected


def test_without_a_secret_nothing_is_signed() -> None:
    assert list(headers(alert(), b"{}", receiver="r", secret=None, now=NOW)) == ["Idempotency-Key"]


@settings(max_examples=50, deadline=None)
@given(alerts)
def test_any_alert_survives_the_trip_to_a_webhook(any_alert: Alert) -> None:
    assert decode(Alert, any_alert.to_json(), max_bytes=1_048_576) == any_alert
    sent = headers(any_alert, b"{}", receiver="r", secret=None, now=NOW)
    assert sent["Idempotency-Key"].isascii()
