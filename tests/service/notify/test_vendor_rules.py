"""The local receivers notice what the real vendors would."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from service.demo import vendor_rules

KEY = "0123456789abcdef0123456789abcdef"


def mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text}


def section(**changed: Any) -> dict[str, Any]:
    return {"type": "section", "text": mrkdwn("fine"), **changed}


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"blocks": [section()]}, "no top-level text"),
        ({"text": "a", "blocks": [section()] * 51}, "at most 50"),
        ({"text": "a", "blocks": [{"type": "header", "text": mrkdwn("x")}]}, "expected plain_text"),
        (
            {"text": "a", "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]},
            "at most 150",
        ),
        ({"text": "a", "blocks": [section(text=mrkdwn("x" * 3_001))]}, "at most 3000"),
        ({"text": "a", "blocks": [section(fields=[mrkdwn("x")] * 11)]}, "at most 10 fields"),
        ({"text": "a", "blocks": [section(fields=[mrkdwn("x" * 2_001)])]}, "at most 2000"),
        ({"text": "a", "blocks": [section(text=mrkdwn(""))]}, "empty text"),
        ({"text": "a", "blocks": [section(text=mrkdwn("<!channel> wake up"))]}, "not escaped"),
        ({"text": "a", "blocks": [section(text=mrkdwn("fish & chips"))]}, "not escaped"),
        ({"text": "<@U1>"}, "not escaped"),
        ({"text": "a", "blocks": [{"type": "marquee"}]}, "type 'marquee'"),
        ({"text": "a", "blocks": [{"type": "section"}]}, "needs text or fields"),
        ({"text": "a", "blocks": [{"type": "context", "elements": []}]}, "1 to 10 elements"),
        ({"text": "a", "blocks": [section(text=mrkdwn("x" * 2_900))] * 5}, "characters in all"),
    ],
)
def test_slack_rules(message: dict[str, Any], complaint: str) -> None:
    assert complaint in "; ".join(vendor_rules.slack(orjson.dumps(message), "application/json"))


def test_slack_takes_links_and_entities() -> None:
    text = "<https://tide.example/a?b=1&amp;c=2|Open> &lt;b&gt;"
    body = orjson.dumps({"text": "a", "blocks": [section(text=mrkdwn(text))]})
    assert vendor_rules.slack(body, "application/json; charset=utf-8") == []
    assert vendor_rules.slack(body, "text/plain") == ["content type 'text/plain'"]
    assert vendor_rules.slack(b"nope", "application/json") == ["not a JSON object"]


def event(**changed: Any) -> dict[str, Any]:
    payload = {"summary": "s", "source": "w", "severity": "critical"}
    return {"routing_key": KEY, "event_action": "trigger", "dedup_key": "k", "payload": payload, **changed}


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"routing_key": "short"}, "32 characters"),
        ({"routing_key": "f" * 32}, "'routing_key' is invalid"),
        ({"event_action": "open"}, "'event_action' must be"),
        ({"event_action": "resolve", "dedup_key": None}, "'dedup_key' is missing"),
        ({"dedup_key": "k" * 256}, "longer than 255"),
        ({"payload": None}, "'payload' is missing"),
        ({"payload": {"summary": "s", "source": "w", "severity": "page"}}, "'payload.severity'"),
        ({"payload": {"summary": " ", "source": "w", "severity": "info"}}, "'payload.summary' is missing"),
        ({"payload": {"summary": "s" * 1_025, "source": "w", "severity": "info"}}, "longer than 1024"),
        ({"links": [{"text": "no href"}]}, "'links'"),
        ({"padding": "x" * 512_000}, "at most 512000"),
    ],
)
def test_pagerduty_rules(changed: dict[str, Any], complaint: str) -> None:
    found = vendor_rules.pagerduty("/v2/enqueue", orjson.dumps(event(**changed)), KEY)
    assert complaint in "; ".join(found)


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ({"source": "w"}, "'payload.summary' is missing"),
        ({"summary": "s" * 1_025}, "longer than 1024"),
        ({"summary": "s", "severity": "info"}, "'payload.severity' is no field of a change"),
        ({"summary": "s", "timestamp": "yesterday"}, "'payload.timestamp'"),
        ({"summary": "s", "custom_details": ["x"]}, "'payload.custom_details'"),
        (None, "'payload' is missing"),
    ],
)
def test_pagerduty_rules_of_changes(payload: object, complaint: str) -> None:
    body = orjson.dumps({"routing_key": KEY, "payload": payload})
    assert complaint in "; ".join(vendor_rules.pagerduty("/v2/change/enqueue", body, KEY))


def test_a_change_event_is_no_alert() -> None:
    found = vendor_rules.pagerduty("/v2/change/enqueue", orjson.dumps(event()), KEY)
    assert "'event_action' is no field of a change" in found


def test_pagerduty_takes_what_is_right() -> None:
    assert vendor_rules.pagerduty("/v2/enqueue", orjson.dumps(event()), KEY) == []
    bare = {"routing_key": KEY, "event_action": "resolve", "dedup_key": "k"}
    assert vendor_rules.pagerduty("/v2/enqueue", orjson.dumps(bare), KEY) == []
    change = {"routing_key": KEY, "payload": {"summary": "chat launched"}}
    assert vendor_rules.pagerduty("/v2/change/enqueue", orjson.dumps(change), KEY) == []
    assert vendor_rules.pagerduty("/v2/enqueue", b"[", KEY) == ["JSON parse error"]
