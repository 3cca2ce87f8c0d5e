"""The receivers that the settings name, ready to be sent to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from schemas.alerts import Severity
from service.errors import SettingsError
from service.notify.alertmanager.send import Alertmanager
from service.notify.email.send import Email, Server, context
from service.notify.pagerduty.send import PagerDuty
from service.notify.receiver import Receiver
from service.notify.slack.send import Slack
from service.notify.slack_bot.send import SlackBot
from service.notify.webhook.send import Webhook
from service.runtime.clock import Clock
from service.runtime.logs import hide
from service.settings import (
    AlertmanagerReceiver,
    EmailReceiver,
    PagerDutyReceiver,
    ReceiverSettings,
    SlackBotReceiver,
    SlackReceiver,
)


@dataclass(frozen=True, slots=True)
class Enlisted:
    """`resend_s`: what fires is said again after so long, to a receiver that takes silence for its end. `changes`:
    it is told of changes of the configuration, and of announced launches."""

    min_severity: Severity
    receiver: Receiver
    resend_s: float | None = None
    changes: bool = False


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
        name: Enlisted(
            settings.min_severity,
            _receiver(name, settings, client, clock),
            settings.resend_s if isinstance(settings, AlertmanagerReceiver) else None,
            getattr(settings, "changes", False),
        )
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
    if isinstance(settings, SlackBotReceiver):
        return SlackBot(
            client,
            _secret(name, settings, "bot_token"),
            settings.channel,
            base_url=_url(name, "base_url", settings.base_url),
            timeout_s=settings.timeout_s,
            clock=clock,
            buttons=settings.buttons,
        )
    if isinstance(settings, EmailReceiver):
        return _email(name, settings)
    if isinstance(settings, AlertmanagerReceiver):
        return Alertmanager(
            client,
            [_url(name, "urls", url) for url in settings.urls],
            token=_optional(name, settings, "bearer_token"),
            resend_s=settings.resend_s,
            timeout_s=settings.timeout_s,
            clock=clock,
        )
    secret = _optional(name, settings, "hmac_secret")
    url = hide(_url(name, "url", settings.url))
    return Webhook(client, url, secret=secret, timeout_s=settings.timeout_s, clock=clock)


def _email(name: str, settings: EmailReceiver) -> Email:
    try:
        tls = context(settings.security, settings.ca_file)
    except SettingsError as error:
        raise SettingsError(f"notify.receivers.{name}.{error}") from None
    password = _optional(name, settings, "password")
    server = Server(settings.host, settings.port, settings.security, tls, settings.username, password)
    return Email(server, settings.sender, settings.to, timeout_s=settings.timeout_s)


def _optional(name: str, settings: ReceiverSettings, field: str) -> str | None:
    try:
        value = settings.secret(field)
    except SettingsError as error:
        raise SettingsError(f"notify.receivers.{name}.{error}") from None
    return None if value is None else hide(value)


def _secret(name: str, settings: ReceiverSettings, field: str) -> str:
    value = _optional(name, settings, field)
    if not value:
        raise SettingsError(f"notify.receivers.{name}.{field}: is empty")
    return value


def _url(name: str, field: str, value: str) -> str:
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingsError(f"notify.receivers.{name}.{field}: not an http or https URL")
    return value
