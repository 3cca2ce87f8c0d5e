"""The stand-ins for Slack's Web API, Alertmanager and SMTP refuse what the vendors' documents refuse."""

from __future__ import annotations

import socket
from typing import Any

import orjson
import pytest

from service.demo import smtp, vendor_rules
from service.demo.slack_api import UPDATES_A_MINUTE, SlackApi
from service.demo.smtp import LocalSmtp
from service.runtime.clock import SystemClock

BUTTON = {
    "type": "button",
    "action_id": "a",
    "text": {"type": "plain_text", "text": "Yes"},
    "value": "v",
    "confirm": {part: {"type": "plain_text", "text": "x"} for part in ("title", "text", "confirm", "deny")},
}


def plain(text: str) -> dict[str, str]:
    return {"type": "plain_text", "text": text}


def wrong(*elements: dict[str, Any]) -> list[str]:
    block = {"type": "actions", "block_id": "b", "elements": list(elements)}
    return vendor_rules.slack(orjson.dumps({"text": "t", "blocks": [block]}), "application/json")


@pytest.mark.parametrize(
    "changed",
    [
        {"text": plain("x" * 76)},
        {"text": {"type": "mrkdwn", "text": "x"}},
        {"value": "x" * 2_001},
        {"value": "😀" * 1_001},
        {"action_id": ""},
        {"action_id": "x" * 256},
        {"style": "blue"},
        {"type": "link"},
        {"confirm": {**BUTTON["confirm"], "title": plain("x" * 101)}},  # type: ignore[dict-item]
        {"confirm": {**BUTTON["confirm"], "text": plain("x" * 301)}},  # type: ignore[dict-item]
        {"confirm": {**BUTTON["confirm"], "deny": plain("x" * 31)}},  # type: ignore[dict-item]
        {"confirm": {}},
    ],
)
def test_slack_refuses_a_button_over_its_limits(changed: dict[str, Any]) -> None:
    assert wrong(BUTTON) == []
    assert wrong({**BUTTON, **changed}) != []


def test_slack_refuses_too_many_buttons_and_names_that_are_there_twice() -> None:
    assert wrong(*({**BUTTON, "action_id": str(n)} for n in range(25))) == []
    assert wrong(*({**BUTTON, "action_id": str(n)} for n in range(26))) != []
    assert wrong(BUTTON, BUTTON) != []
    assert wrong() != []


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": {}},
        {"labels": {"a": ""}},
        {"labels": {"a-b": "c"}},
        {"labels": {"a": 1}},
        {"annotations": {"1a": "x"}},
        {"startsAt": "2026-01-31T14:00:00"},
        {"startsAt": "2026-01-31T15:00:00Z", "endsAt": "2026-01-31T14:00:00Z"},
        {"endsAt": 1769868600},
        {"generatorURL": "javascript:x"},
    ],
)
def test_alertmanager_refuses_what_its_document_does(changed: dict[str, Any]) -> None:
    alert = {"labels": {"alertname": "a"}, "annotations": {"b": "c"}}
    assert vendor_rules.alertmanager(orjson.dumps([alert]), "application/json") == []
    assert vendor_rules.alertmanager(orjson.dumps([{**alert, **changed}]), "application/json") != []
    assert vendor_rules.alertmanager(orjson.dumps(alert), "application/json") != []
    assert vendor_rules.alertmanager(orjson.dumps([alert]), "text/plain") != []


def test_slack_s_web_api_knows_its_methods_messages_and_rates() -> None:
    api = SlackApi(SystemClock(), interval_s=60.0)
    headers = {"authorization": f"Bearer {api.token}", "content-type": "application/json"}

    def call(method: str, **said: Any) -> dict[str, Any]:
        return api.call(
            f"/api/{method}", headers, orjson.dumps({"channel": api.channel, "text": "t", **said})
        ).body

    assert call("chat.delete")["error"] == "unknown_method"
    assert call("chat.postMessage", channel="C0")["error"] == "channel_not_found"
    assert call("chat.postMessage", text="")["error"] == "invalid_blocks"
    assert api.call("/api/chat.postMessage", {}, b"{}").body["error"] == "invalid_auth"
    posted = call("chat.postMessage")
    assert posted["ok"]
    assert call("chat.postMessage")["error"] == "ratelimited"
    assert call("chat.update", ts="1.1")["error"] == "message_not_found"
    updates = [call("chat.update", ts=posted["ts"])["ok"] for _ in range(UPDATES_A_MINUTE)]
    assert updates == [True] * (UPDATES_A_MINUTE - 1) + [False]


@pytest.mark.parametrize(
    "lines",
    [
        ["MAIL FROM:<a@example.com>"],
        ["EHLO x", "DATA"],
        ["EHLO x", "RCPT TO:<a@example.com>"],
        ["EHLO x", "MAIL FROM: nobody"],
        ["EHLO x", "AUTH PLAIN AGEAYg=="],
        ["EHLO x", "STARTTLS"],
        ["EHLO x", "VRFY ada"],
        ["EHLO " + "x" * 600],
    ],
)
def test_smtp_complains_of_what_the_protocol_forbids(lines: list[str]) -> None:
    with LocalSmtp() as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        replies = client.makefile("rb")
        replies.readline()
        for line in (*lines, "QUIT"):
            client.sendall(line.encode() + b"\r\n")
            while replies.readline()[3:4] == b"-":
                pass
        replies.close()
    assert server.violations != []


@pytest.mark.parametrize("header", ["Bcc: x@example.com", "Subject: twice", "Message-ID: none"])
def test_a_mail_with_a_header_that_somebody_smuggled_in_is_told(header: str) -> None:
    good = "From: a@x.example\r\nTo: b@x.example\r\nDate: x\r\nSubject: s\r\nMessage-ID: <a@b>"
    assert smtp.complaints(f"{good}\r\n\r\nhello".encode()) == []
    assert smtp.complaints(f"{good}\r\n{header}\r\n\r\nhello".encode()) != []
