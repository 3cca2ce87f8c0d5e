"""Who is told, and how patiently."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from schemas.alerts import Severity
from service.settings.section import Name, Seconds, Section


class Receiver(Section):
    """What every receiver has: the least severity it wants, and how long one attempt may take."""

    min_severity: Severity = "info"
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0

    @model_validator(mode="after")
    def _has_its_secret(self) -> Self:
        for name in ("webhook_url", "routing_key", "bot_token"):
            has_it = name in type(self).model_fields
            if has_it and getattr(self, name) is None and getattr(self, f"{name}_file") is None:
                raise ValueError(f"give {name} or {name}_file")
        return self


class SlackReceiver(Receiver):
    type: Literal["slack"] = "slack"
    webhook_url: SecretStr | None = None
    webhook_url_file: Path | None = None
    changes: bool = False
    """Whether it is told, in one line each, of what is changed in the configuration and of announced launches."""


class PagerDutyReceiver(Receiver):
    type: Literal["pagerduty"] = "pagerduty"
    routing_key: SecretStr | None = None
    routing_key_file: Path | None = None
    base_url: Annotated[str, Field(pattern=r"^https?://")] = "https://events.pagerduty.com"
    changes: bool = True
    """Whether it is told, as change events, of what is changed in the configuration and of announced launches."""


class WebhookReceiver(Receiver):
    type: Literal["webhook"] = "webhook"
    url: Annotated[str, Field(pattern=r"^https?://")]
    hmac_secret: SecretStr | None = None
    hmac_secret_file: Path | None = None
    changes: bool = False
    """Whether it is told of what is changed in the configuration and of announced launches."""


class SlackBotReceiver(Receiver):
    """An app of Slack with a bot token: one message for each incident, kept up to date, with a thread."""

    type: Literal["slack_bot"] = "slack_bot"
    bot_token: SecretStr | None = None
    bot_token_file: Path | None = None
    channel: Annotated[str, Field(pattern=r"^[#A-Za-z0-9._-]{1,80}$")]
    """A channel's id, such as `C024BE91L`: a name works until somebody changes it."""
    base_url: Annotated[str, Field(pattern=r"^https?://")] = "https://slack.com/api"
    buttons: bool = True
    """False where no `tidegate callbacks` runs: a button that nobody answers is worse than none."""
    changes: bool = False
    """Whether it is told, in one line each, of what is changed in the configuration and of announced launches."""


Address = Annotated[str, Field(pattern=r"^[^\s@<>,;:\"\x00-\x1f\x7f]{1,64}@[A-Za-z0-9.-]{1,190}$")]


class EmailReceiver(Receiver):
    type: Literal["email"] = "email"
    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    """tls: from the first byte, as on port 465; none: only for a server on this machine or in its network."""
    ca_file: Path | None = None
    """Who signed the server's certificate, where the system's own authorities did not."""
    username: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    sender: Address
    to: Annotated[list[Address], Field(min_length=1, max_length=50)]
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 30.0

    @model_validator(mode="after")
    def _log_in_safely(self) -> Self:
        has_password = self.password is not None or self.password_file is not None
        if has_password != (self.username is not None):
            raise ValueError("username and password go together")
        if has_password and self.security == "none":
            raise ValueError("a password is not sent in the clear: security must be starttls or tls")
        return self


class AlertmanagerReceiver(Receiver):
    type: Literal["alertmanager"] = "alertmanager"
    urls: Annotated[list[Annotated[str, Field(pattern=r"^https?://")]], Field(min_length=1, max_length=10)]
    """Of every Alertmanager of one cluster, without `/api/v2`: each is told, as Prometheus does."""
    bearer_token: SecretStr | None = None
    bearer_token_file: Path | None = None
    resend_s: Annotated[float, Field(ge=1, le=3_600)] = 60.0
    """What still fires is said again after so long, and ends by itself when that has not been for four times as
    long: an Alertmanager that is restarted has forgotten its alerts."""


ReceiverSettings = Annotated[
    SlackReceiver
    | SlackBotReceiver
    | PagerDutyReceiver
    | WebhookReceiver
    | EmailReceiver
    | AlertmanagerReceiver,
    Field(discriminator="type"),
]


class NotifySettings(Section):
    group_id: Name = "tidegate-notify"
    max_attempts: Annotated[int, Field(ge=1, le=1_000)] = 50
    """Of one notification to one receiver, about 45 minutes at the defaults; then it is parked on a topic, never
    dropped. A resolved alert is said once, so an outage of the vendor must fit in here."""
    backoff_initial_s: Seconds = 1.0
    backoff_max_s: Seconds = 60.0
    group_wait_s: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """A new incident waits so long for what belongs to it. Route records may say otherwise, as of all five."""
    page_wait_s: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    """… if it is critical: at once."""
    group_interval_s: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    """What changes within an incident is told no sooner after the last time."""
    page_interval_s: Annotated[float, Field(ge=0, le=86_400)] = 15.0
    """… if it is critical, or the incident is over."""
    repeat_interval_s: Annotated[float, Field(ge=1, le=604_800)] = 14_400.0
    """How often a receiver is reminded of an incident that still fires and that nobody took."""
    link: Annotated[str, Field(pattern=r"^https?://", max_length=500)] | None = None
    """Where people read more about an incident; `{fingerprint}` and `{workflow}` are filled in."""
    receivers: dict[Name, ReceiverSettings] = {}
    """By the name that routes use. An alert that no route matches goes to all of them."""
