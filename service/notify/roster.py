"""The receivers that the settings name, ready to be sent to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from schemas.alerts import Severity
from service.errors import SettingsError
from service.notify.pagerduty.send import PagerDuty
from service.notify.receiver import Receiver
from service.notify.slack.send import Slack
from service.notify.webhook.send import Webhook
from service.runtime.clock import Clock
from service.runtime.logs import hide
from service.settings import PagerDutyReceiver, ReceiverSettings, SlackReceiver


@dataclass(frozen=True, slots=True)
class Enlisted:
    min_severity: Severity
    receiver: Receiver


def enlist(
    receivers: Mapping[str, ReceiverSettings],
    client: httpx.AsyncClient,
    clock: Clock,
) -> dict[str, Enlisted]:
    """One receiver per name. Reads the secrets, and hides them from every log line from now on.

    Raises
    ------
    SettingsError
        A secret's file cannot be read, or a URL is none. Never holds the value.
    """
    return {
        name: Enlisted(settings.min_severity, _receiver(name, settings, client, clock))
        for name, settings in receivers.items()
    }


def _receiver(name: str, settings: ReceiverSettings, client: httpx.AsyncClient, clock: Clock) -> Receiver:
    if isinstance(settings, SlackReceiver):
        url = _url(name, "webhook_url", _secret(name, settings, "webhook_url"))
        return Slack(client, url, timeout_s=settings.timeout_s, clock=clock)
    if isinstance(settings, PagerDutyReceiver):
        key = _secret(name, settings, "routing_key")
        base = _url(name, "base_url", settings.base_url)
        return PagerDuty(client, key, base_url=base, timeout_s=settings.timeout_s, clock=clock)
    secret = None if (found := settings.secret("hmac_secret")) is None else hide(found)
    url = hide(_url(name, "url", settings.url))
    return Webhook(client, url, secret=secret, timeout_s=settings.timeout_s, clock=clock)


def _secret(name: str, settings: SlackReceiver | PagerDutyReceiver, field: str) -> str:
    try:
        value = settings.secret(field)
    except SettingsError as error:
        raise SettingsError(f"notify.receivers.{name}.{error}") from None
    if not value:
        raise SettingsError(f"notify.receivers.{name}.{field}: is empty")
    return hide(value)


def _url(name: str, field: str, value: str) -> str:
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingsError(f"notify.receivers.{name}.{field}: not an http or https URL")
    return value
