"""Requests to vendors: golden files by intent, every limit, and anything an alert may hold."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.alerts import Alert
from schemas.decode import decode
from schemas.notifications import Acknowledgement
from schemas.throttles import Scope, ThrottleEvent
from service.demo import vendor_rules
from service.notify.notification import Change, HeldBack, Line, Links, Notification
from service.notify.pagerduty import render as pagerduty
from service.notify.slack import render as slack
from service.notify.webhook import render as webhook
from service.notify.webhook.render import headers, signature
from tests.service.notify.support import NOW, alert, alerts, largest, measure, resolved, told

GOLDEN = Path(__file__).parent / "golden"
KEY = "0123456789abcdef0123456789abcdef"
LINKS = Links("https://tide.example/incidents/9f2c64b1d0aa4e17", "https://wiki.example/loops")
TAKEN = Acknowledgement(fingerprint="9f2c64b1d0aa4e17", author="ada <ops>", at=NOW, via="cli")
DONE = (
    measure("barred", scope=Scope(kind="customer", value="acme"), proposal="a", why="protected"),
    measure("started", NOW + timedelta(seconds=2)),
    measure(
        "stronger",
        NOW + timedelta(seconds=1),
        scope=Scope(kind="model", value="gpt-4o"),
        action="downgrade",
        mode="dry_run",
        rule="cheaper",
        proposal="b",
        spared_nanos=3_100_000_000,
    ),
)
STOPPED = alert()
HOSTILE = alert(
    severity="warning",
    workflow="<!channel> & *friends*",
    summary="<@U1> pays\nfor `everything` & more",
    team=None,
)
LAUNCH = alert(
    severity="info",
    kind="launch",
    workflow="chat",
    summary="chat has 20× its usual traces at its usual cost per trace: looks like a launch.",
    drivers=[],
    evidence=alert().evidence.model_copy(update={"traces": [], "top": []}),
)
SECOND = alert(fingerprint="second", workflow="chat", severity="warning")

CASES: dict[str, Notification] = {
    "page-for-a-retry-loop": told(alert(), links=LINKS),
    "ticket-with-hostile-names": told(HOSTILE),
    "notice-of-a-launch": told(LAUNCH),
    "incident-is-over": told(resolved(), links=LINKS),
    "every-field-at-its-bound": told(largest(), links=LINKS),
    "second-workflow-joins": told(
        SECOND,
        sequence=2,
        changes=frozenset({Change.JOINED}),
        firing=(Line(alert()), Line(SECOND, Change.JOINED)),
    ),
    "nobody-answered": told(
        alert(), changes=frozenset({Change.ESCALATED, Change.OPENED}), escalated_from=("slack-care",)
    ),
    "somebody-took-it": told(
        alert(),
        sequence=2,
        changes=frozenset({Change.ACKNOWLEDGED}),
        firing=(Line(alert(), Change.ACKNOWLEDGED, TAKEN),),
    ),
    "loop-is-stopped": told(
        STOPPED,
        sequence=2,
        changes=frozenset({Change.THROTTLED}),
        firing=(Line(STOPPED, Change.THROTTLED, None, DONE),),
    ),
    "digest-of-a-storm": told(
        *(alert(fingerprint=f"s{n}", workflow=f"agent-{n}") for n in range(40)),
        occasion="storm",
        group="storm=1769868540",
        labels=(),
        held_back=HeldBack(37, 30, 600.0),
    ),
    "daily-digest": told(
        alert(),
        resolved(fingerprint="b", workflow="chat"),
        group="daily",
        labels=(),
        occasion="daily",
        changes=frozenset({Change.DIGEST}),
        held_back=HeldBack(2),
        since=NOW - timedelta(days=1),
    ),
    "daily-digest-of-a-quiet-day": told(
        group="daily", labels=(), occasion="daily", changes=frozenset({Change.DIGEST}), since=NOW, lead=None
    ),
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
    body = slack.render(CASES[name])
    assert vendor_rules.slack(body, "application/json") == []
    golden(f"slack-{name}", orjson.loads(body))


@pytest.mark.parametrize("name", CASES)
def test_pagerduty_events_are_as_agreed(name: str) -> None:
    request = pagerduty.render(CASES[name], KEY)
    assert vendor_rules.pagerduty(request.path, request.body, KEY) == []
    golden(f"pagerduty-{name}", {"path": request.path, "body": orjson.loads(request.body)})


several = st.lists(alerts.filter(lambda one: one.status != "pending"), min_size=1, max_size=4).map(
    lambda found: told(*found)
)


@settings(max_examples=40, deadline=None)
@given(several)
def test_no_alerts_break_a_rule_of_slack(said: Notification) -> None:
    assert vendor_rules.slack(slack.render(said), "application/json") == []


@settings(max_examples=40, deadline=None)
@given(several)
def test_no_alerts_break_a_rule_of_pagerduty(said: Notification) -> None:
    request = pagerduty.render(said, KEY)
    assert vendor_rules.pagerduty(request.path, request.body, KEY) == []


def _done(character: str) -> tuple[ThrottleEvent, ...]:
    """More than fits, of texts that are too long."""
    label = character * 200
    scope = Scope(kind="customer", value=label, workflow=label)
    return tuple(
        measure("ended", scope=scope, rule=label, proposal=f"{n}", why=character * 4_000) for n in range(50)
    )


@pytest.mark.parametrize("character", ["&", "<", "😀", '"', "\\", "W", "`", "\u202e", "\u00a0"])
def test_alerts_of_nothing_but_long_characters_fit(character: str) -> None:
    longest = largest(character)
    links = Links("https://x.example/" + "y" * 500, "https://x.example/" + "y" * 480)
    for said in (
        told(longest, links=links),
        told(*(longest.model_copy(update={"fingerprint": str(n)}) for n in range(200)), links=links),
        told(longest, links=links, firing=(Line(longest, Change.THROTTLED, None, _done(character)),)),
    ):
        assert vendor_rules.slack(slack.render(said), "application/json") == []
        request = pagerduty.render(said, KEY)
        assert vendor_rules.pagerduty(request.path, request.body, KEY) == []
        assert len(request.body) <= pagerduty.MAX_BYTES


def test_nobody_can_mention_a_channel_through_a_workflow_name() -> None:
    body = slack.render(CASES["ticket-with-hostile-names"])
    assert b"<!channel>" not in body
    assert b"<@U1>" not in body
    assert b"&lt;!channel&gt; &amp; *friends*" in body


def test_the_notification_text_says_the_essential() -> None:
    text = orjson.loads(slack.render(told(alert())))["text"]
    assert text.startswith("CRITICAL: retry loop in support-agent. support-agent is spending $212/h")


@pytest.mark.parametrize("severity", ["critical", "warning"])
def test_an_incident_triggers_and_resolves_under_its_key(severity: str) -> None:
    fired = orjson.loads(pagerduty.render(told(alert(severity=severity)), KEY).body)
    over = orjson.loads(pagerduty.render(told(resolved(severity=severity)), KEY).body)
    assert (fired["event_action"], over["event_action"]) == ("trigger", "resolve")
    assert fired["dedup_key"] == over["dedup_key"] == "5b0c6f1d2e3a49788a61c0de"
    assert fired["payload"]["severity"] == severity


def test_an_incident_of_which_something_goes_on_stays_open() -> None:
    both = told(alert(fingerprint="goes-on", severity="warning"), resolved())
    event = orjson.loads(pagerduty.render(both, KEY).body)
    assert (event["event_action"], event["payload"]["severity"]) == ("trigger", "warning")


def test_an_acknowledgement_is_passed_on() -> None:
    event = orjson.loads(pagerduty.render(CASES["somebody-took-it"], KEY).body)
    assert event["event_action"] == "acknowledge"


@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_a_launch_is_a_change_and_never_pages(status: str) -> None:
    request = pagerduty.render(told(alert(severity="info", kind="launch", status=status)), KEY)
    assert request.path == "/v2/change/enqueue"
    assert b"event_action" not in request.body


def test_an_incident_that_calmed_down_before_its_end_is_still_closed() -> None:
    request = pagerduty.render(told(resolved(severity="info")), KEY)
    assert request.path == "/v2/enqueue"
    assert orjson.loads(request.body)["event_action"] == "resolve"


def test_a_webhook_gets_the_records_and_a_signature_it_can_check() -> None:
    said = told(alert(), receiver="ops/café")
    body = webhook.body(said)
    sent = headers(said, body, secret="s3cret", now=NOW)
    assert sent["Idempotency-Key"] == "ops%2Fcaf%C3%A9/5b0c6f1d2e3a49788a61c0de/1"
    assert sent["X-Tidegate-Timestamp"] == "1769868540"
    assert sent["X-Tidegate-Signature"] == signature("s3cret", "1769868540", body)
    lower = {name.lower(): value for name, value in sent.items()}
    assert vendor_rules.webhook(body, lower, "s3cret", NOW.timestamp()) == []
    assert vendor_rules.webhook(body + b" ", lower, "s3cret", NOW.timestamp()) == ["wrong signature"]
    assert vendor_rules.webhook(body, lower, "s3cret", NOW.timestamp() + 600) != []


def test_a_webhook_s_body_says_what_is_new() -> None:
    golden("webhook-second-workflow-joins", orjson.loads(webhook.body(CASES["second-workflow-joins"])))


def test_the_signature_is_the_documented_one() -> None:
    # printf '1769868540.{}' | openssl dgst -sha256 -hmac key
    expected = "sha256=0692b40b891cfdc6887888a83c0da1eba86ebdc6f6cac031a42cad0f0c9069e7"
    assert signature("key", "1769868540", b"{}") == expected


def test_without_a_secret_nothing_is_signed() -> None:
    assert list(headers(told(alert()), b"{}", secret=None, now=NOW)) == ["Idempotency-Key"]


@settings(max_examples=20, deadline=None)
@given(several)
def test_any_alert_survives_the_trip_to_a_webhook(said: Notification) -> None:
    lines = orjson.loads(webhook.body(said))["alerts"]
    found = [decode(Alert, orjson.dumps(line["alert"]), max_bytes=1_048_576) for line in lines]
    assert found == [line.alert for line in (*said.firing, *said.resolved)]
