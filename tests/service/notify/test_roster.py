"""Receivers out of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.errors import SettingsError
from service.notify import http
from service.notify.roster import Enlisted, enlist
from service.runtime.clock import SystemClock
from service.settings import NotifySettings

EMAIL = {"type": "email", "host": "mx", "sender": "a@example.com", "to": ["b@example.com"]}
BOT = {"type": "slack_bot", "bot_token": "xoxb-s3cret", "channel": "C024BE91L"}
ALERTMANAGER = {"type": "alertmanager", "urls": ["http://am:9093"]}


async def enlisted(**receivers: Any) -> dict[str, Enlisted]:
    async with http.client() as client:
        return enlist(NotifySettings(receivers=receivers).receivers, client, SystemClock())


async def test_each_type_is_its_vendor() -> None:
    found = await enlisted(
        mail=EMAIL,
        bot=BOT,
        am=ALERTMANAGER,
        chat={"type": "slack", "webhook_url": "https://hooks.example/x"},
        pager={"type": "pagerduty", "routing_key": "k"},
        hook={"type": "webhook", "url": "https://x.example"},
        curious={"type": "webhook", "url": "https://x.example", "changes": True},
        team={**BOT, "changes": True},
        quiet={"type": "pagerduty", "routing_key": "k", "changes": False},
    )
    vendors = {name: one.receiver.vendor for name, one in found.items()}
    assert vendors == {
        "mail": "email",
        "bot": "slack_bot",
        "am": "alertmanager",
        "chat": "slack",
        "pager": "pagerduty",
        "hook": "webhook",
        "curious": "webhook",
        "quiet": "pagerduty",
        "team": "slack_bot",
    }
    assert {name for name, one in found.items() if one.changes} == {"pager", "curious", "team"}
    assert {name: one.resend_s for name, one in found.items() if one.resend_s} == {"am": 60.0}


@pytest.mark.parametrize(
    ("receiver", "says"),
    [
        ({**BOT, "bot_token": ""}, "notify.receivers.a.bot_token: is empty"),
        ({**EMAIL, "ca_file": Path("/nowhere")}, "notify.receivers.a.ca_file"),
        ({**EMAIL, "username": "u", "password_file": Path("/nowhere")}, "notify.receivers.a.password_file"),
        ({**ALERTMANAGER, "urls": ["http://"]}, "notify.receivers.a.urls: not an http"),
    ],
)
async def test_what_cannot_be_used_is_named(receiver: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        await enlisted(a=receiver)


@pytest.mark.parametrize(
    "receiver",
    [
        {**EMAIL, "to": ["b@example.com\nBcc: c@example.com"]},
        {**EMAIL, "to": []},
        {**EMAIL, "sender": "Ada <a@example.com>"},
        {**EMAIL, "username": "u"},
        {**EMAIL, "username": "u", "password": "p", "security": "none"},
        {**BOT, "channel": "C1/../x"},
        {"type": "slack_bot", "channel": "C1"},
        {"type": "alertmanager", "urls": []},
    ],
)
def test_half_a_receiver_is_refused(receiver: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="receivers"):
        NotifySettings(receivers={"a": receiver})
